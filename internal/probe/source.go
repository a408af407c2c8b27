//go:build linux && (amd64 || arm64)

package probe

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cilium/ebpf/ringbuf"
	"github.com/cilium/ebpf/rlimit"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/ebpfnet/ebpfnetreceiver/internal/counters"
	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

// drainInterval is how long a record may wait in the ring buffer. No program wakes the reader: that would
// cost the traced task 5 to 7 µs per record. To wait longer while nothing comes would save most of what an idle collector
// takes, but whose a record is is asked of /proc when it is read, where processes that live for milliseconds are soon
// gone, and the ring must hold what a burst brings until then.
const drainInterval = 10 * time.Millisecond

// source is the live kernel.
type source struct {
	config   Config
	logger   *zap.Logger
	loader   *loader
	reader   *ringbuf.Reader
	snapshot *iterator
	stages   *stageTable
	counters *counterTable // nil: nobody wants them
	softirqs *softirqTable
	commands *commandTable
	facts    *facts
	closing  sync.Once

	startNs     uint64
	offsetNs    int64
	counts      countTable
	flows       flowTable[wire.FlowKey]
	socketFlows flowTable[wire.SocketFlowKey]
	failing     map[string]bool // parts of the last collection that could not be read
	record      ringbuf.Record  // reused
	unknown     sync.Once       // a record could not be decoded
}

// Open loads and attaches everything that config asks for: from its return on nothing is missed, as long as
// the ring buffer holds what Run has yet to read. What the kernel refuses is left out and told in the status
// and the log; an error means that nothing can be watched at all.
func Open(config Config, logger *zap.Logger) (wire.Source, error) {
	config = config.withDefaults()
	if err := checkPrivilege(); err != nil {
		return nil, err
	}
	if config.Kernel == nil {
		types, err := loadKernelTypes()
		if err != nil {
			return nil, err
		}
		config.Kernel = &Kernel{types: types}
	}
	return open(config, logger)
}

func open(config Config, logger *zap.Logger) (wire.Source, error) {
	kernel := config.Kernel
	config.Kernel = nil // tens of megabytes that nothing needs once the programs run
	types := kernel.types
	constants, err := config.Scope.constants()
	if err != nil {
		return nil, err
	}
	if err := rlimit.RemoveMemlock(); err != nil {
		return nil, fmt.Errorf("%w: raise RLIMIT_MEMLOCK, which kernels before 5.11 need: %v", ErrPrivilege, err)
	}
	config.addLimits(constants)
	s := &source{
		config:      config,
		logger:      logger,
		loader:      newLoader(config, types, constants),
		facts:       newFacts(kernel),
		flows:       peerFlows(),
		socketFlows: socketFlows(),
	}
	if err := s.load(types); err != nil {
		s.Close()
		return nil, err
	}
	s.startNs, s.offsetNs = clocks()
	if err := s.start(); err != nil {
		s.Close()
		return nil, err
	}
	s.loader.types = kernelTypes{}
	s.logStatus()
	for _, warning := range s.facts.Warnings() {
		logger.Warn("Owners are known only in part", zap.String("reason", warning))
	}
	if err := s.facts.Err(); err != nil {
		logger.Warn("Kernel stacks and functions stay without names", zap.Error(err))
	}
	return s, nil
}

// load serves the capabilities. The order matters in one respect: whether state can live in the sockets
// must be known before the first map is filled.
func (s *source) load(types kernelTypes) error {
	l := s.loader
	trial := newLoader(s.config, types, l.constants)
	l.byAddress = trial.serve(connections()) == nil
	trial.close()
	if s.config.Payload.Enabled {
		if tap := l.serve(payload(s.config.Payload.CaptureBytes, s.config.RingBytes, types)); tap != nil && tap.hook.byAddress {
			l.byAddress = true
		}
	}
	var conns, snapshots *served
	if s.config.Connections || s.config.Payload.Enabled || s.config.Stages {
		conns = l.serve(connections())
		snapshots = l.serve(snapshot(l.byAddress, s.wants(wire.CounterQueue)))
		l.serve(adoption(l.byAddress))
	}
	if s.config.Payload.Enabled || s.config.Stages {
		received, sent := times()
		l.serve(received)
		if s.config.Payload.Enabled {
			l.serve(sent)
		}
	}
	if s.config.Datagrams.Flows || s.config.Datagrams.DNS {
		served := l.serve(datagrams(s.config, types))
		if served != nil && served.hook.name != datagramTracepoints && s.config.Datagrams.Flows && hasSCTP(types) {
			l.serve(sctp(s.config, types))
		}
	}
	if s.config.Drops.Enabled {
		l.serve(drops(newNoise(types.enum("skb_drop_reason"), s.facts.Lookup)))
	}
	if s.config.Resets.Enabled {
		for _, c := range resets() {
			l.serve(c)
		}
	}
	if s.config.Retransmits.Enabled {
		for _, c := range retransmits() {
			l.serve(c)
		}
	}
	if s.config.Stages {
		traced := types.hasTracepoint("tcp_sendmsg_locked")
		for _, c := range append(stages(traced, l.byAddress), waits(traced)...) {
			l.serve(c)
		}
		l.serve(softirqs(s.config.Scope))
		if hasVirtio() {
			l.serve(virtio(s.config.Scope))
		}
	}
	if len(l.statuses) == 0 && !s.config.Counters.Enabled {
		return errors.New("nothing is enabled: enable one of connections, drops, resets, retransmits, stages, flows, dns, http and counters")
	}
	if len(l.served) == 0 && len(l.statuses) > 0 {
		return fmt.Errorf("the kernel refused every probe: %s", refusals(l.statuses))
	}
	if err := s.loadNamespaces(); err != nil {
		return err
	}
	if len(l.served) == 0 {
		return fmt.Errorf("the kernel refused every probe: %s", refusals(l.statuses))
	}
	if conns != nil && snapshots != nil {
		var err error
		if s.snapshot, err = newIterator(snapshots, l.connMap()); err != nil {
			return fmt.Errorf("snapshot: %w", err)
		}
	}
	if s.counters != nil && s.wants(wire.CounterQueue) {
		s.counters.queues = l.shared("queues")
	}
	if len(s.config.NAT) > 0 {
		s.openNAT()
	}
	var err error
	if s.stages, err = newStageTable(l); err != nil {
		return fmt.Errorf("stages: %w", err)
	}
	s.softirqs = newSoftirqTable(l)
	if s.commands, err = newCommandTable(l); err != nil {
		return fmt.Errorf("virtio: %w", err)
	}
	if s.reader, err = ringbuf.NewReader(l.shared("records")); err != nil {
		return fmt.Errorf("ring buffer: %w", err)
	}
	s.reader.SetDeadline(time.Unix(1, 0)) // in the past: read what is there, wait for nothing
	return nil
}

// loadNamespaces is for the owners of packets without a socket, and for the counters.
func (s *source) loadNamespaces() error {
	l := s.loader
	tasks := l.serve(namespaces())
	if tasks == nil {
		return nil
	}
	var err error
	if s.facts.residents, err = newResidents(tasks, s.facts.Proc); err != nil {
		return fmt.Errorf("namespaces: %w", err)
	}
	if !s.config.Counters.Enabled {
		return nil
	}
	s.counters = &counterTable{reader: counters.NewReader(counters.Options{
		Groups:          counters.Named(s.config.Counters.Groups),
		Complete:        s.config.Counters.Complete,
		Processes:       s.config.Counters.Processes,
		SkipHostDevices: s.config.Counters.SkipHostDevices,
	})}
	if !s.wants(wire.CounterListener) {
		return nil
	}
	if sockets := l.serve(listeners()); sockets != nil {
		if s.counters.listeners, err = newListenTable(sockets); err != nil {
			return fmt.Errorf("listeners: %w", err)
		}
	}
	return nil
}

// wants says whether counters of a group are to be read.
func (s *source) wants(group wire.CounterGroup) bool {
	return s.config.Counters.Enabled && slices.Contains(counters.Named(s.config.Counters.Groups), group)
}

// start attaches: connections first, then what is already open is adopted, then the rest, so that an event
// finds its connection.
func (s *source) start() error {
	for _, served := range s.loader.served {
		if served.capability == "connections" {
			if err := served.attach(); err != nil {
				return fmt.Errorf("connections: %w", err)
			}
		}
	}
	if err := s.adopt(); err != nil {
		s.logger.Warn("Connections that are older than this receiver are met when they next send or receive",
			zap.Error(err))
	}
	s.loader.attach("connections")
	return nil
}

// Run implements wire.Source.
func (s *source) Run(ctx context.Context, handler wire.Handler) error {
	handler.Begin(&wire.Begin{
		TimeNs:   s.startNs,
		OffsetNs: s.offsetNs,
		Kernel:   kernelRelease(),
		Arch:     runtime.GOARCH,
		Probes:   s.loader.statuses,
	})
	ticker := time.NewTicker(drainInterval)
	defer ticker.Stop()
	flushAt := time.Now().Add(s.config.FlushInterval)
	collectAt := time.Now().Add(s.config.CollectionInterval)
	for {
		select {
		case <-ctx.Done():
			return s.finish(handler)
		case at := <-ticker.C:
			s.complain("follow the clock", s.stages.tick())
			// Read first: whoever is told the time takes what has not come by then for missing.
			now, _ := clocks()
			if err := s.drain(handler); err != nil {
				return err
			}
			if at.After(flushAt) {
				flushAt = at.Add(s.config.FlushInterval)
				handler.Flush(now)
			}
			if at.After(collectAt) {
				// Keeps the rhythm; after a pause it does not try to catch up.
				if collectAt = collectAt.Add(s.config.CollectionInterval); collectAt.Before(at) {
					collectAt = at.Add(s.config.CollectionInterval)
				}
				s.collect(handler)
			}
		}
	}
}

// finish stops the programs, so that nothing is added any more, and hands over what is left.
func (s *source) finish(handler wire.Handler) error {
	s.detach()
	time.Sleep(drainInterval) // a program may be under way still
	if err := s.drain(handler); err != nil {
		return err
	}
	s.collect(handler)
	now, _ := clocks()
	handler.Flush(now)
	return nil
}

// drain hands over the records that are in the ring buffer now; not those that come meanwhile, or a host that
// makes them as fast as they are read would get nothing else done. For a program that was interrupted between reserving
// its record and submitting it the reader waits, busily.
func (s *source) drain(handler wire.Handler) error {
	const recordHeader = 8 // BPF_RINGBUF_HDR_SZ
	left := s.reader.AvailableBytes()
	for left > 0 {
		err := s.reader.ReadInto(&s.record)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return nil
		case err != nil:
			return fmt.Errorf("read ring buffer: %w", err)
		}
		left -= recordHeader + (len(s.record.RawSample)+7)&^7
		if err := wire.Dispatch(s.record.RawSample, handler); err != nil {
			// The two halves are built together, so this is a fault of this program and not of the host.
			s.unknown.Do(func() {
				s.logger.Error("A kernel record cannot be read; it and others like it are lost", zap.Error(err))
			})
		}
	}
	return nil
}

func (s *source) detach() {
	for _, served := range s.loader.served {
		served.detach()
	}
}

// Facts implements wire.Source.
func (s *source) Facts() wire.Facts { return s.facts }

// Close implements wire.Source.
func (s *source) Close() error {
	s.closing.Do(func() {
		if s.reader != nil {
			s.reader.Close()
		}
		if s.snapshot != nil {
			s.snapshot.close()
		}
		s.stages.close()
		if s.counters != nil && s.counters.listeners != nil {
			s.counters.listeners.sockets.close()
		}
		if s.facts.residents != nil {
			s.facts.residents.close()
		}
		s.loader.close()
		if s.facts.conntrack != nil {
			s.facts.conntrack.close()
		}
		s.facts.Close()
	})
	return nil
}

// logStatus tells in one table what is active, and why something better is not.
func (s *source) logStatus() {
	var table strings.Builder
	for _, status := range s.loader.statuses {
		hook := status.Hook
		if hook == "" {
			hook = "not available"
		}
		fmt.Fprintf(&table, "\n  %-20s %s", status.Capability, hook)
		for _, refused := range status.Refused {
			fmt.Fprintf(&table, "\n  %-20s   not %s: %s", "", refused.Hook, refused.Reason)
		}
	}
	for _, served := range s.loader.served {
		if served.capability == sharedCapability {
			fmt.Fprintf(&table, "\n  %-20s %s", sharedCapability, served.hook.name)
		}
	}
	for _, refused := range s.loader.unshared {
		fmt.Fprintf(&table, "\n  %-20s   not %s: %s", sharedCapability, refused.Hook, refused.Reason)
	}
	s.logger.Info("Probes on kernel " + kernelRelease() + table.String())
}

func refusals(statuses []wire.ProbeStatus) string {
	var reasons []string
	for _, status := range statuses {
		for _, refused := range status.Refused {
			reasons = append(reasons, refused.Hook+": "+refused.Reason)
		}
	}
	return strings.Join(reasons, "; ")
}

func kernelRelease() string {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return ""
	}
	return unix.ByteSliceToString(name.Release[:])
}

// clocks reads CLOCK_MONOTONIC, and how far CLOCK_REALTIME is ahead of it.
func clocks() (monotonicNs uint64, offsetNs int64) {
	var before, wall, after unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &before)
	_ = unix.ClockGettime(unix.CLOCK_REALTIME, &wall)
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &after)
	return uint64(after.Nano()), wall.Nano() - (before.Nano()+after.Nano())/2
}
