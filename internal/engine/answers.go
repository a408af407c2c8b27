package engine

import (
	"github.com/ebpfnet/ebpfnetreceiver/internal/l7"
)

// answersKept is how many of a connection's last answers are remembered. An answer ends, for whoever wrote
// it, when the socket has taken it; the kernel may still be sending, and losing, parts of it for a while.
const answersKept = 4

// answers remembers which call the bytes belong to that a connection sent last.
type answers struct {
	byConn map[uint64]*lastAnswers
}

// lastAnswers are those of one connection, in a ring.
type lastAnswers struct {
	first [answersKept]uint32 // TCP sequence number of the first byte
	ids   [answersKept]ids
	count int
}

func newAnswers() answers { return answers{byConn: map[uint64]*lastAnswers{}} }

// add remembers the answer to a call that was served here.
func (a answers) add(call *l7.Call, of ids) {
	if !call.Server || !call.ResponseSequenceKnown {
		return
	}
	s := a.byConn[call.ConnID]
	if s == nil {
		s = &lastAnswers{}
		a.byConn[call.ConnID] = s
	}
	s.first[s.count%answersKept], s.ids[s.count%answersKept] = call.ResponseSequence, of
	s.count++
}

// find is the call to which the byte at sequence belongs: the last answer that begins at or before it. It
// may also belong to one that has begun since, which the tracker knows: ask that first for later bytes.
func (a answers) find(connID uint64, sequence uint32) (ids, bool) {
	s := a.byConn[connID]
	if s == nil {
		return ids{}, false
	}
	for i := s.count - 1; i >= max(0, s.count-answersKept); i-- {
		if int32(sequence-s.first[i%answersKept]) >= 0 {
			return s.ids[i%answersKept], true
		}
	}
	return ids{}, false
}

func (a answers) forget(connID uint64) { delete(a.byConn, connID) }

// sweep forgets connections whose end nobody told of.
func (a answers) sweep(known func(connID uint64) bool) {
	for id := range a.byConn {
		if !known(id) {
			delete(a.byConn, id)
		}
	}
}
