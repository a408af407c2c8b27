package otlp

import (
	"cmp"
	"slices"

	"github.com/ebpfnet/ebpfnetreceiver/internal/conn"
	"github.com/ebpfnet/ebpfnetreceiver/internal/conn/histogram"
	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

// counts turns what the kernel counted per process, cgroup and namespace into sums per owner.
type counts struct {
	environment Environment
	reasons     reasons
	owners      *conn.Owners[tallies]
	before      map[wire.CountKey]counted // the kernel's counts as of the last collection
	beforeNs    uint64                    // CLOCK_MONOTONIC of that collection, or of the start
	collection  uint32
	hurt        []hurt // since the last collection
}

// hurt is an event that hit a call: an exemplar of its count.
type hurt struct {
	key    wire.CountKey
	timeNs uint64
	link   Link
}

// maxHurt bounds how many are kept from one collection to the next: there is one exemplar for each sum.
const maxHurt = 256

type counted struct {
	value      uint64
	collection uint32
}

// tallies are the sums of one owner, ascending by kind, reason and direction.
type tallies []tally

type tally struct {
	kind      uint8
	direction uint8
	reason    string
	value     uint64
	exemplar  histogram.Exemplar // the newest since the last collection, if any
}

func (a tally) compare(b tally) int {
	return cmp.Or(cmp.Compare(a.kind, b.kind), cmp.Compare(a.reason, b.reason), cmp.Compare(a.direction, b.direction))
}

func newCounts(limits conn.Limits, environment Environment) counts {
	return counts{
		environment: environment,
		reasons:     newReasons(environment.Facts),
		owners:      conn.NewOwners[tallies](limits),
		before:      map[wire.CountKey]counted{},
	}
}

// add takes the difference of each count to the collection before. A count that got smaller was removed
// from the kernel's map and began anew.
func (c *counts) add(collection *wire.Collection, sinceNs uint64) {
	c.collection++
	for i := range collection.Counts {
		count := &collection.Counts[i]
		before := c.before[count.Key].value
		c.before[count.Key] = counted{count.Value, c.collection}
		if count.Value < before {
			before = 0
		}
		if more := count.Value - before; more > 0 {
			c.raise(&count.Key, more, collection.TimeNs, sinceNs)
		}
	}
	c.beforeNs = collection.TimeNs
	if len(c.before) > len(collection.Counts) {
		for key, last := range c.before {
			if last.collection != c.collection {
				delete(c.before, key)
			}
		}
	}
}

func (c *counts) raise(key *wire.CountKey, more, timeNs, sinceNs uint64) {
	entry := c.owners.Of(c.environment.Owners.ResolveCount(key.Owner, c.beforeNs, timeNs), sinceNs)
	entry.Touch()
	t := c.tally(key)
	at, found := slices.BinarySearchFunc(entry.Value, t, tally.compare)
	if !found {
		entry.Value = slices.Insert(entry.Value, at, t)
	}
	entry.Value[at].value += more
}

// exemplify gives each sum the newest of the calls that its events hit. An event that is not counted yet, because
// the counts were read before it happened, waits.
func (c *counts) exemplify(timeNs, sinceNs uint64, offsetNs int64) {
	waiting := c.hurt[:0]
	for _, h := range c.hurt {
		if h.timeNs > timeNs {
			waiting = append(waiting, h)
			continue
		}
		entry := c.owners.Of(c.environment.Owners.Resolve(h.key.Owner, "", h.timeNs), sinceNs)
		if at, found := slices.BinarySearchFunc(entry.Value, c.tally(&h.key), tally.compare); found {
			entry.Value[at].exemplar = histogram.Exemplar{
				Value: 1, TimeNs: uint64(int64(h.timeNs) + offsetNs), TraceID: h.link.TraceID, SpanID: h.link.SpanID,
			}
		}
	}
	c.hurt = waiting
}

// tally is the empty sum that a count belongs to.
func (c *counts) tally(key *wire.CountKey) tally {
	t := tally{
		kind:      key.Kind,
		direction: key.Direction,
		reason:    c.reasons.name(uint32(key.Kind), key.HasReason, key.Reason, key.Location),
	}
	if key.Kind == wire.RecordRetransmit {
		t.direction = wire.DirectionUnknown // always transmit
	}
	return t
}

// tallies writes retransmits, resets and drops of one owner.
func (w *writer) tallies(entry *conn.Owned[tallies]) {
	for _, what := range [...]struct {
		id        instrument
		kind      uint8
		attribute string
	}{
		{tcpRetransmits, wire.RecordRetransmit, attrRetransmitType},
		{tcpResets, wire.RecordReset, attrResetReason},
		{packetDrops, wire.RecordDrop, attrDropReason},
	} {
		if !w.instrument(what.id, entry.StartNs) {
			continue
		}
		for i := range entry.Value {
			if t := &entry.Value[i]; t.kind == what.kind {
				point := w.point(t.value)
				if t.exemplar.SpanID != ([8]byte{}) {
					writeExemplar(point.Exemplars().AppendEmpty(), &t.exemplar).SetIntValue(1)
					t.exemplar = histogram.Exemplar{}
				}
				to := point.Attributes()
				putStr(to, attrIODirection, at(directions[:], t.direction))
				putStr(to, what.attribute, t.reason)
			}
		}
	}
}
