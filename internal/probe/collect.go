//go:build linux && (amd64 || arm64)

package probe

import (
	"cmp"
	"errors"
	"slices"

	"github.com/cilium/ebpf"
	"go.uber.org/zap"

	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

const (
	statsPerKind   = 4 // STATS_PER_KIND of bpf/maps.h
	statCountsFull = wire.RecordKindMax * statsPerKind
	statConnsFull  = statCountsFull + 1
	statFlowsFull  = statConnsFull + 1
	statMax        = statFlowsFull + 1
)

// collect hands over the live connections, the counts and the kernel half's own books. A part that cannot be
// read now is left out of this collection: sums are cumulative, the next one makes up for it.
func (s *source) collect(handler wire.Handler) {
	collection := wire.Collection{}
	if s.facts.residents != nil {
		s.complain("list processes", s.facts.residents.update())
	}
	if s.counters != nil {
		collection.Namespaces = s.readFiles(handler)
	}
	// From here to the end no record is read: one of a connection that came after would seem to be of one that
	// has gone.
	if s.snapshot != nil {
		err := s.walk(handler)
		collection.Snapshot = err == nil
		s.complain("walk connections", err)
	}
	if s.counters != nil {
		s.complain("read listening sockets", s.counters.readSockets(collection.Namespaces))
	}
	collection.TimeNs, collection.OffsetNs = clocks()
	if m := s.loader.shared("counts"); m != nil {
		s.complain("read counts", s.counts.read(m))
		collection.Counts = s.counts.counts
	}
	var err error
	collection.Stages, err = s.stages.read(&collection.Stats.Stages)
	s.complain("read stages", err)
	collection.Flows, err = s.readFlows()
	s.complain("read flows", err)
	collection.Softirqs, err = s.softirqs.read()
	s.complain("read softirqs", err)
	collection.Commands, err = s.commands.read()
	s.complain("read commands", err)
	s.complain("read statistics", s.readStats(&collection.Stats))
	handler.Collect(&collection)
}

// walk tells of every live connection.
func (s *source) walk(handler wire.Handler) error {
	if s.counters != nil {
		if err := s.counters.clearQueues(); err != nil {
			return err
		}
	}
	return s.snapshot.each(wire.ConnRecordSize, func(record []byte) error { return wire.Dispatch(record, handler) })
}

// complain logs the first of a row of failures.
func (s *source) complain(what string, err error) {
	if s.failing == nil {
		s.failing = map[string]bool{}
	}
	if err != nil && !s.failing[what] {
		s.logger.Warn("A part of the collection is left out", zap.String("part", what), zap.Error(err))
	}
	s.failing[what] = err != nil
}

func (s *source) readStats(stats *wire.KernelStats) error {
	var values [statMax]uint64
	var perCPU []uint64
	for i := range values {
		if err := s.loader.shared("stats").Lookup(uint32(i), &perCPU); err != nil {
			return err
		}
		for _, v := range perCPU {
			values[i] += v
		}
	}
	for kind := range stats.Kinds {
		at := kind * statsPerKind
		stats.Kinds[kind] = wire.KindStats{
			Seen: values[at], Submitted: values[at+1], Suppressed: values[at+2], Lost: values[at+3],
		}
	}
	stats.CountsFull, stats.ConnsFull, stats.FlowsFull = values[statCountsFull], values[statConnsFull], values[statFlowsFull]
	stats.RingBytes, stats.RingSize = uint64(s.reader.AvailableBytes()), uint64(s.reader.BufferSize())
	for _, served := range s.loader.served {
		for name, program := range served.programs {
			cost, err := program.Stats()
			if err != nil {
				continue // before 5.8
			}
			stats.Programs = append(stats.Programs, wire.ProgramStats{
				Name: name, Runs: cost.RunCount, RunNs: uint64(cost.Runtime), Misses: cost.RecursionMisses,
			})
		}
	}
	slices.SortFunc(stats.Programs, func(a, b wire.ProgramStats) int { return cmp.Compare(a.Name, b.Name) })
	return nil
}

// countIdleCollections is after how many collections without a change a count makes room for another: 5 minutes
// at the default interval. It ends the series; if it comes back it starts anew.
const countIdleCollections = 30

// countTable reads the counts map.
type countTable struct {
	counts  []wire.Count
	last    map[wire.CountKey]*seenCount
	reading uint64 // number of this reading
}

// seenCount is what is known of a count. What was taken out of the kernel's map stays in base for as long as
// the count comes back at the next reading, so that it never seems to fall or to stand still.
type seenCount struct {
	value, base uint64
	idle        int
	reading     uint64
}

// read takes all counts, and takes out those that have not changed for long.
func (t *countTable) read(m *ebpf.Map) error {
	if t.last == nil {
		t.last = map[wire.CountKey]*seenCount{}
	}
	t.counts = t.counts[:0]
	t.reading++
	var key wire.CountKey
	var value uint64
	iterator := m.Iterate()
	for iterator.Next(&key, &value) {
		seen := t.last[key]
		if seen == nil {
			seen = &seenCount{}
			t.last[key] = seen
		}
		if seen.idle++; seen.value != value {
			seen.idle = 0
		}
		seen.value, seen.reading = value, t.reading
		if seen.idle > countIdleCollections {
			// From 5.14 both at once; before, what is counted between the two is lost.
			if m.LookupAndDelete(&key, &value) != nil {
				if err := m.Delete(&key); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
					return err
				}
			}
			seen.base, seen.value, seen.idle = seen.base+value, 0, 0
		}
		t.counts = append(t.counts, wire.Count{Key: key, Value: seen.base + seen.value})
	}
	if err := iterator.Err(); err != nil && !errors.Is(err, ebpf.ErrIterationAborted) {
		return err
	}
	for key, seen := range t.last {
		if seen.reading != t.reading {
			delete(t.last, key)
		}
	}
	slices.SortFunc(t.counts, func(a, b wire.Count) int { return compareKeys(a.Key, b.Key) })
	return nil
}

func compareKeys(a, b wire.CountKey) int {
	return cmp.Or(
		cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Owner.Netns, b.Owner.Netns),
		cmp.Compare(a.Owner.CgroupID, b.Owner.CgroupID), cmp.Compare(a.Owner.TGID, b.Owner.TGID),
		cmp.Compare(a.Reason, b.Reason), cmp.Compare(a.Location, b.Location), cmp.Compare(a.Direction, b.Direction),
	)
}
