//go:build linux && (amd64 || arm64)

package probe

import (
	"time"

	"github.com/cilium/ebpf"
	"go.uber.org/zap"

	"github.com/ebpfnet/ebpfnetreceiver/internal/counters"
	"github.com/ebpfnet/ebpfnetreceiver/internal/owner"
	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

// maxNamespaces is how many network namespaces are read at a collection, those that are oldest by number.
const maxNamespaces = 1024

// counterTable reads the counters of all network namespaces in scope.
type counterTable struct {
	reader    *counters.Reader
	listeners *listenTable                     // nil: not wanted, or the kernel does not tell
	queues    *ebpf.Map                        // likewise
	told      struct{ qdiscs, processes bool } // why they are missing
}

// readFiles gives what is counted for each namespace. They are read beside the ring buffer, which is emptied
// meanwhile.
func (s *source) readFiles(handler wire.Handler) []wire.NamespaceCounters {
	var targets []counters.Target
	processes := map[uint32][]uint32{}
	if s.config.Counters.Processes {
		for i := range s.facts.residents.list {
			if task := &s.facts.residents.list[i]; task.Flags&wire.TaskKernel == 0 {
				processes[task.Netns] = append(processes[task.Netns], task.TGID)
			}
		}
	}
	for _, namespace := range s.facts.residents.All() {
		if namespace.InScope && len(targets) < maxNamespaces {
			targets = append(targets, counters.Target{
				Inode: namespace.Inode, Identity: namespace.Identity, Host: namespace.Host,
				TGID: namespace.First.TGID, ZeroNs: namespace.First.StartNs,
				Processes: processes[namespace.Inode],
			})
		}
	}
	done := make(chan []wire.NamespaceCounters)
	go func() {
		done <- s.counters.reader.Read(targets, func(t *counters.Target) bool { return t.Host || owner.Lives("", t.TGID, t.ZeroNs) })
	}()
	ticker := time.NewTicker(drainInterval)
	defer ticker.Stop()
	for {
		select {
		case read := <-done:
			s.tellRefusal()
			s.complain("read counters", s.counters.reader.Failed())
			return read
		case <-ticker.C:
			s.complain("read the ring buffer", s.drain(handler))
		}
	}
}

// tellRefusal says once why something is missing.
func (s *source) tellRefusal() {
	if refused := s.counters.reader.Refused(); refused != nil && !s.counters.told.qdiscs {
		s.counters.told.qdiscs = true
		s.logger.Warn("Queueing disciplines are told of this collector's own network namespace only: others take "+
			"CAP_SYS_ADMIN and CAP_SYS_PTRACE, or leave qdisc out of counters::groups", zap.Error(refused))
	}
	if hidden := s.counters.reader.Hidden(); hidden != nil && !s.counters.told.processes {
		s.counters.told.processes = true
		s.logger.Warn("What processes have open, read and write is not told: those of other users take CAP_SYS_PTRACE, "+
			"or set counters::processes to false", zap.Error(hidden))
	}
}

// readSockets adds what the kernel half knows of sockets. A snapshot comes before it.
func (t *counterTable) readSockets(namespaces []wire.NamespaceCounters) error {
	byInode := make(map[uint32]*wire.NamespaceCounters, len(namespaces))
	for i := range namespaces {
		byInode[namespaces[i].Inode] = &namespaces[i]
	}
	if t.queues != nil {
		var inode uint32
		var bytes wire.QueueBytes
		for iterator := t.queues.Iterate(); iterator.Next(&inode, &bytes); {
			if to := byInode[inode]; to != nil {
				to.Counters = append(to.Counters,
					wire.Counter{Group: wire.CounterQueue, Name: "receive", Value: bytes.Receive},
					wire.Counter{Group: wire.CounterQueue, Name: "transmit", Value: bytes.Transmit})
			}
		}
	}
	if t.listeners == nil {
		return nil
	}
	return t.listeners.read(byInode)
}

// clearQueues makes room for the sums of the next snapshot.
func (t *counterTable) clearQueues() error {
	if t.queues == nil {
		return nil
	}
	var inodes []uint32
	var inode uint32
	var bytes wire.QueueBytes
	for iterator := t.queues.Iterate(); iterator.Next(&inode, &bytes); {
		inodes = append(inodes, inode)
	}
	for _, inode := range inodes {
		if err := t.queues.Delete(&inode); err != nil {
			return err
		}
	}
	return nil
}

// listenTable reads all listening sockets. Several may listen at one port, and each has its own count of
// connections that it turned away: the sum of them goes on when one closes.
type listenTable struct {
	sockets *iterator
	last    map[uint64]uint32 // drops by socket
	drops   map[listenKey]uint64
}

// listenSums are of the sockets that listen at one port.
type listenSums struct {
	namespace             *wire.NamespaceCounters
	backlog, limit, drops uint64
}

type listenKey struct {
	namespace uint64 // wire.NamespaceCounters.Identity
	port      uint16
}

func newListenTable(s *served) (*listenTable, error) {
	sockets, err := newIterator(s, nil)
	return &listenTable{sockets: sockets, drops: map[listenKey]uint64{}}, err
}

func (l *listenTable) read(namespaces map[uint32]*wire.NamespaceCounters) error {
	found := map[uint64]wire.ListenerRecord{}
	err := l.sockets.each(wire.ListenerRecordSize, func(raw []byte) error {
		listener, err := wire.Decode[wire.ListenerRecord](raw)
		if err == nil {
			found[listener.Socket] = *listener // as many times as processes hold it
		}
		return err
	})
	if err != nil {
		return err
	}
	ports := map[listenKey]*listenSums{}
	last := make(map[uint64]uint32, len(found))
	for socket, listener := range found {
		namespace := namespaces[listener.Netns]
		if namespace == nil {
			continue
		}
		key := listenKey{namespace.Identity, listener.Port}
		of := ports[key]
		if of == nil {
			of = &listenSums{namespace: namespace, drops: l.drops[key]}
			ports[key] = of
		}
		before := l.last[socket]
		if before > listener.Drops { // another socket at the same address
			before = 0
		}
		last[socket] = listener.Drops
		of.drops += uint64(listener.Drops - before)
		of.backlog += uint64(listener.Backlog)
		of.limit += uint64(listener.MaxBacklog)
	}
	l.last = last
	clear(l.drops)
	for key, of := range ports {
		l.drops[key] = of.drops
		add := func(name string, value uint64) {
			of.namespace.Counters = append(of.namespace.Counters,
				wire.Counter{Group: wire.CounterListener, Port: key.port, Name: name, Value: value})
		}
		add("backlog", of.backlog)
		add("max_backlog", of.limit)
		add("drops", of.drops)
	}
	return nil
}
