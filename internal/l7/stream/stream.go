// Package stream puts the records of one direction of a TCP connection into the order of their sequence
// numbers and says what is missing.
//
// The kernel hands records over nearly in order: two CPUs may swap neighbours, a full ring buffer loses
// some, a tap may report bytes twice. So a record that is in order, the normal case, is passed on without
// being copied; one that is ahead is held until what is missing arrives or is given up as lost.
package stream

import "github.com/ebpfnet/ebpfnetreceiver/internal/l7/buffer"

// Segment is a run of bytes of one direction. Only the first len(Data) of its Length bytes were captured.
type Segment struct {
	Sequence uint32 // TCP sequence number of the first byte
	Length   uint32
	Data     []byte
	TimeNs   uint64
	TGID     uint32
	Thread   uint32 // that does one thing at a time; 0: not known
	Start    bool   // begins where a record begins; false for the rest of a record that was seen in part
	Lost     bool   // a hole: no record told of these bytes
}

// Order says where a segment lies.
type Order uint8

const (
	InOrder   Order = iota // next in the stream
	Duplicate              // all of it was seen before
	Ahead                  // something before it is missing
)

// A record can end this far behind what was seen and still be a late one; further back, the stream has
// gone round the 32-bit sequence space while nothing was seen.
const lateness = 1 << 24

// MaxHeld is how many segments a stream holds.
const MaxHeld = 32

// Stream is one direction of a connection. The zero value is ready: its first segment sets the origin.
type Stream struct {
	next   uint32
	begun  bool
	origin bool
	held   []Segment // by sequence number
	bytes  int       // capacity of their data
}

// Begin sets the sequence number of the first byte, so that a loss before the first segment can be told.
func (s *Stream) Begin(sequence uint32) {
	s.next, s.begun, s.origin = sequence, true, true
}

// Origin says whether Begin was called.
func (s *Stream) Origin() bool { return s.origin }

// Next is the sequence number that comes next, meaningful once Begun.
func (s *Stream) Next() uint32 { return s.next }

// Begun says whether anything was seen.
func (s *Stream) Begun() bool { return s.begun }

// Held is how many segments wait.
func (s *Stream) Held() int { return len(s.held) }

// HeldBytes is the memory that waiting segments take.
func (s *Stream) HeldBytes() int { return s.bytes }

// Arrange says where seg lies and cuts off what was seen before.
func (s *Stream) Arrange(seg *Segment) Order {
	if !s.begun {
		s.begun = true
		s.next = seg.Sequence
		return InOrder
	}
	if seg.Sequence == s.next {
		return InOrder
	}
	order := s.locate(seg)
	if order == InOrder {
		behind := s.next - seg.Sequence
		seg.Sequence = s.next
		seg.Length -= behind
		seg.Data = seg.Data[min(int64(behind), int64(len(seg.Data))):]
		seg.Start = false
	}
	return order
}

func (s *Stream) locate(seg *Segment) Order {
	ahead := int32(seg.Sequence - s.next)
	if !s.begun || ahead == 0 {
		return InOrder
	}
	if ahead > 0 {
		return Ahead
	}
	switch over := -int64(ahead) - int64(seg.Length); {
	case over > lateness:
		return Ahead
	case over >= 0:
		return Duplicate
	}
	return InOrder
}

// Advance moves the stream past seg.
func (s *Stream) Advance(seg *Segment) { s.next = seg.Sequence + seg.Length }

// Rewind moves the stream back by n bytes that Advance passed, to hold them after all.
func (s *Stream) Rewind(n uint32) { s.next -= n }

// Hold keeps a copy of seg until Take. limit bounds the memory of this stream; beyond it, or when the
// pool is empty, the length is kept and the data is not, and Hold says false.
func (s *Stream) Hold(seg Segment, pool *buffer.Pool, limit int) bool {
	kept := true
	data := seg.Data
	seg.Data = nil
	if len(s.held) == MaxHeld {
		last := &s.held[MaxHeld-1]
		if seg.Sequence == last.Sequence+last.Length {
			last.Length += seg.Length
		}
		return false
	}
	if len(data) > 0 {
		kept = false
		if s.bytes+len(data) <= limit {
			if b := pool.Get(len(data)); b != nil {
				seg.Data = append(b, data...)
				s.bytes += cap(b)
				kept = true
			}
		}
	}
	at := len(s.held)
	for at > 0 && int32(seg.Sequence-s.held[at-1].Sequence) < 0 {
		at--
	}
	s.held = append(s.held, Segment{})
	copy(s.held[at+1:], s.held[at:])
	s.held[at] = seg
	return kept
}

// Front is the first segment that waits, nil if none does.
func (s *Stream) Front() *Segment {
	if len(s.held) == 0 {
		return nil
	}
	return &s.held[0]
}

// Take returns the next segment: the hole before the first one that waits, or that one without what was
// seen before. ok is false if nothing is left, or if all of the first one was seen before: that one is
// dropped. The caller advances the stream and puts lent into the pool when it is done with the data.
func (s *Stream) Take(pool *buffer.Pool) (seg Segment, lent []byte, ok bool) {
	if len(s.held) == 0 {
		return Segment{}, nil, false
	}
	seg = s.held[0]
	lent = seg.Data
	switch s.Arrange(&seg) {
	case Ahead:
		return Segment{Sequence: s.next, Length: seg.Sequence - s.next, TimeNs: seg.TimeNs, Lost: true}, nil, true
	case InOrder:
		s.drop()
		return seg, lent, true
	}
	s.drop()
	pool.Put(lent)
	return Segment{}, nil, false
}

// Contiguous says whether the first segment that waits is next, or was seen before.
func (s *Stream) Contiguous() bool { return len(s.held) > 0 && s.locate(&s.held[0]) != Ahead }

// Reset forgets everything and gives buffers back.
func (s *Stream) Reset(pool *buffer.Pool) {
	for i := range s.held {
		pool.Put(s.held[i].Data)
		s.held[i] = Segment{}
	}
	*s = Stream{held: s.held[:0]}
}

func (s *Stream) drop() {
	s.bytes -= cap(s.held[0].Data)
	copy(s.held, s.held[1:])
	s.held[len(s.held)-1] = Segment{}
	s.held = s.held[:len(s.held)-1]
}
