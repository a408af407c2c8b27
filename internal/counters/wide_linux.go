package counters

import "github.com/ebpfnet/ebpfnetreceiver/internal/wire"

// wideKey is a counter of one processor.
type wideKey struct {
	group wire.CounterGroup
	cpu   int
	name  string
}

// wide follows a counter of 32 bits beyond its end.
type wide struct {
	last  uint32
	total uint64
}

// widen gives what a counter of 32 bits would be if it had more. identity tells namespaces apart, so that it
// never begins anew.
func (r *Reader) widen(identity uint64, key wideKey, value uint32) uint64 {
	of := r.wide[identity]
	if of == nil {
		of = map[wideKey]*wide{}
		r.wide[identity] = of
	}
	w := of[key]
	if w == nil {
		if value == 0 {
			return 0
		}
		w = &wide{}
		of[key] = w
	}
	w.total += uint64(value - w.last)
	w.last = value
	return w.total
}

// forget drops what is known of namespaces that are not there any more.
func (r *Reader) forget(targets []Target) {
	here := make(map[uint64]bool, len(targets))
	for i := range targets {
		here[targets[i].Identity] = true
	}
	for identity := range r.wide {
		if !here[identity] {
			delete(r.wide, identity)
		}
	}
	for identity := range r.io {
		if !here[identity] {
			delete(r.io, identity)
		}
	}
}
