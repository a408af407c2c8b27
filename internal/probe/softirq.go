//go:build linux && (amd64 || arm64)

package probe

import (
	"fmt"

	"github.com/cilium/ebpf"

	"github.com/ebpfnet/ebpfnetreceiver/bpf"
	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

// softirqs times the kernel's deferred work. It belongs to no network namespace, cgroup or port.
func softirqs(scope Scope) capability {
	c := capability{
		name: "softirq",
		load: bpf.LoadSoftirq,
		hooks: []hook{{
			name: "tp_btf/softirq_raise+softirq_entry+softirq_exit",
			programs: []attachment{
				tracing("softirq_raise"), tracing("softirq_entry"), tracing("softirq_exit"),
			},
		}},
	}
	if !scope.empty() {
		c.refused = "softirqs belong to nobody: they are watched only where the scope is the whole host"
	}
	return c
}

func (s *Scope) empty() bool {
	return len(s.NetworkNamespaces)+len(s.Cgroups)+len(s.IncludePorts)+len(s.ExcludePorts) == 0
}

// softirqTable reads what the kernel counted.
type softirqTable struct {
	counted *ebpf.Map
	last    [][]seenHistogram // by key and CPU
	times   []wire.SoftirqTimes
	now     []wire.Histogram // reused
}

// newSoftirqTable is nil where softirqs are not watched.
func newSoftirqTable(l *loader) *softirqTable {
	m := l.shared("softirq_times")
	if m == nil {
		return nil
	}
	return &softirqTable{counted: m, last: make([][]seenHistogram, m.MaxEntries())}
}

// read takes what was added since the reading before. Safe on nil.
func (t *softirqTable) read() ([]wire.SoftirqTimes, error) {
	if t == nil {
		return nil, nil
	}
	t.times = t.times[:0]
	for key := range t.last {
		if err := t.counted.Lookup(uint32(key), &t.now); err != nil {
			return t.times, fmt.Errorf("softirq %d: %w", key, err)
		}
		if t.last[key] == nil {
			t.last[key] = make([]seenHistogram, len(t.now))
		}
		for cpu := range t.now {
			first, counts, sumNs := t.last[key][cpu].difference(&t.now[cpu])
			if counts == nil {
				continue
			}
			t.times = append(t.times, wire.SoftirqTimes{
				CPU: uint32(cpu), Vector: uint8(key / wire.SoftirqPhases), Phase: uint8(key % wire.SoftirqPhases),
				SumNs: sumNs, First: first, Counts: counts,
			})
			t.last[key][cpu].keep(&t.now[cpu])
		}
	}
	return t.times, nil
}
