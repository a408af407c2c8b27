package conn

import (
	"cmp"
	"slices"

	"github.com/ebpfnet/ebpfnetreceiver/internal/owner"
)

// Limits bound what is kept per owner.
type Limits struct {
	// Owners is how many have an entry of their own, all others share one; 0: 2000. Processes outside of
	// containers, which may be short-lived and many, get half of them at most.
	Owners          int
	IdleCollections int // an owner without activity for so many collections is forgotten; 0: 30
}

// Owners keeps one T per owner, as many as its Limits permit. Whoever holds cumulative sums per owner
// keeps them here, so that all begin, overflow and end alike.
type Owners[T any] struct {
	limits   Limits
	byOwner  map[owner.Owner]*Owned[T]
	sorted   []*Owned[T]
	overflow *Owned[T]
	outside  int // of those in byOwner, how many are not in a container
}

// Owned is the T of one owner.
type Owned[T any] struct {
	Owner    owner.Owner
	Overflow bool   // stands for all owners beyond the limit; Owner is empty
	StartNs  uint64 // CLOCK_REALTIME: sums were zero then and count everything since
	Value    T

	active bool
	idle   int
}

// NewOwners makes an empty set.
func NewOwners[T any](limits Limits) *Owners[T] {
	limits.Owners = cmp.Or(limits.Owners, 2000)
	limits.IdleCollections = cmp.Or(limits.IdleCollections, 30)
	return &Owners[T]{limits: limits, byOwner: map[owner.Owner]*Owned[T]{}}
}

// Of is the entry of o, made with the start startNs where there is none yet.
func (s *Owners[T]) Of(o owner.Owner, startNs uint64) *Owned[T] {
	if entry, ok := s.byOwner[o]; ok {
		return entry
	}
	if s.hasRoom(&o) {
		if !o.InContainer() {
			s.outside++
		}
		entry := &Owned[T]{Owner: o, StartNs: startNs, active: true}
		s.byOwner[o] = entry
		at, _ := slices.BinarySearchFunc(s.sorted, o, func(e *Owned[T], o owner.Owner) int { return CompareOwners(e.Owner, o) })
		s.sorted = slices.Insert(s.sorted, at, entry)
		return entry
	}
	return s.Overflowing(startNs)
}

// Overflowing is the entry of those who have none of their own, made with the start startNs where there is none yet.
func (s *Owners[T]) Overflowing(startNs uint64) *Owned[T] {
	if s.overflow == nil {
		s.overflow = &Owned[T]{Overflow: true, StartNs: startNs}
	}
	return s.overflow
}

func (s *Owners[T]) hasRoom(o *owner.Owner) bool {
	return len(s.byOwner) < s.limits.Owners && (o.InContainer() || s.outside < (s.limits.Owners+1)/2)
}

// All yields the entries in the order of their owners, the overflow entry last.
func (s *Owners[T]) All(yield func(*Owned[T]) bool) {
	for _, entry := range s.sorted {
		if !yield(entry) {
			return
		}
	}
	if s.overflow != nil {
		yield(s.overflow)
	}
}

// Touch marks the entry as active in this collection.
func (e *Owned[T]) Touch() { e.active = true }

// Sweep ends a collection: what was idle for too long is forgotten. If its owner comes back, its sums
// begin anew with a new start.
func (s *Owners[T]) Sweep() {
	s.sorted = slices.DeleteFunc(s.sorted, func(e *Owned[T]) bool {
		if e.active {
			e.active, e.idle = false, 0
			return false
		}
		if e.idle++; e.idle < s.limits.IdleCollections {
			return false
		}
		delete(s.byOwner, e.Owner)
		if !e.Owner.InContainer() {
			s.outside--
		}
		return true
	})
}

// CompareOwners is a total order of owners, so that what is emitted is in the same order each time.
func CompareOwners(a, b owner.Owner) int {
	return cmp.Or(
		cmp.Compare(a.PodUID, b.PodUID),
		cmp.Compare(a.ContainerID, b.ContainerID),
		cmp.Compare(a.Runtime, b.Runtime),
		cmp.Compare(a.ServiceName, b.ServiceName),
		cmp.Compare(a.Executable, b.Executable),
		cmp.Compare(a.PID, b.PID),
		cmp.Compare(a.Netns, b.Netns),
		compareBools(a.Host, b.Host),
	)
}

func compareBools(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}
