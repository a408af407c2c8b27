package engine

import (
	"time"

	"github.com/ebpfnet/ebpfnetreceiver/internal/l7"
	"github.com/ebpfnet/ebpfnetreceiver/internal/otlp"
	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

// How many records of a direction are remembered: at first, as one call follows another in one record each; where calls
// take more, or overlap; and where many are under way on one connection. What is older is not known any more.
const (
	momentsAtFirst   = 1
	momentsKept      = 8
	momentsKeptHTTP2 = 64
)

// times remembers when the bytes of each connection's last records came and went, so that a call's time can be
// split once it has ended.
type times struct {
	byConn map[uint64]*connTimes
	lastID uint64 // the connection of the last record: the next one is likely to be of it too
	last   *connTimes
	spare  []*connTimes // of connections that are gone: many are short
}

const spareTimes = 256

// connTimes are those of one connection.
type connTimes struct {
	received, sent         moments
	lastReceived, lastSent moment // of all records
	calls                  [callsKept]span
	callCount              int
}

// callsKept is how many of a connection's last calls are remembered, for what is told of late: an answer ends, for
// whoever wrote it, when the socket has taken it; the kernel may still be sending, and losing, parts of it for a while.
const callsKept = 4

// span is a call that has ended.
type span struct {
	startNs, endNs uint64
	ids            ids
	exported       bool
	received, sent stretch // its bytes
}

// stretch are bytes of a stream, by TCP sequence number; none where both are the same.
type stretch struct{ first, end uint32 }

func (s stretch) holds(sequence uint32) bool {
	return sequence-s.first < s.end-s.first && int32(s.end-s.first) > 0
}

// moments is a ring, of a power of two.
type moments struct {
	ring  []moment
	count int
	calls int // at the end of the last call: count
}

// moment is what a record tells of the time around its bytes. 0: not known.
type moment struct {
	timeNs      uint64 // the record's own: a receive call has returned, a send call begins
	arrivedNs   uint64 // received: its first packet, from the device
	queuedNs    uint64 // and that packet, at TCP
	departedNs  uint64 // sent: the newest bytes, to a device
	sequence    uint32
	length      uint32
	end         uint32 // received: sequence number after that packet; sent: after what had departed
	srttUs      uint32
	retransmits uint32
}

func newTimes() times { return times{byConn: map[uint64]*connTimes{}} }

// note takes a record. Of what is moved in many calls, the first ones hold the beginnings of messages.
func (t *times) note(record *wire.PayloadRecord) {
	c := t.of(record.ConnID)
	if c == nil {
		c = t.begin()
		t.byConn[record.ConnID] = c
	}
	t.lastID, t.last = record.ConnID, c
	last, kept := &c.lastSent, &c.sent
	if record.Direction == wire.DirectionReceive {
		last, kept = &c.lastReceived, &c.received
		last.arrivedNs, last.queuedNs, last.end = record.ArrivedNs, record.QueuedNs, record.ArrivedEnd
	} else {
		last.departedNs, last.end = record.DepartedNs, record.DepartedEnd
	}
	last.timeNs, last.sequence, last.length = record.Header.TimeNs, record.Sequence, record.Length
	last.srttUs, last.retransmits = record.SRTTUs, record.Retransmits
	if record.Captured > 0 {
		kept.add(last)
	}
}

func (t *times) begin() *connTimes {
	n := len(t.spare)
	if n == 0 {
		return &connTimes{}
	}
	c := t.spare[n-1]
	t.spare = t.spare[:n-1]
	*c = connTimes{received: moments{ring: c.received.ring}, sent: moments{ring: c.sent.ring}}
	return c
}

// of is a connection of which a record has come; nil: none has.
func (t *times) of(connID uint64) *connTimes {
	if t.last != nil && t.lastID == connID {
		return t.last
	}
	return t.byConn[connID]
}

// take splits a call that has ended and remembers it, with the ids of its span.
func (t *times) take(call *l7.Call, of ids) (*span, otlp.Parts) {
	ended := t.ended(call)
	parts := t.split(call)
	ended.startNs, ended.endNs, ended.ids = call.StartNs, call.EndNs, of // as split has moved them
	return ended, parts
}

// ended remembers which bytes are a call's, by its times before split moves them.
func (t *times) ended(call *l7.Call) *span {
	c := t.of(call.ConnID)
	if c == nil {
		return &span{}
	}
	ended := &c.calls[c.callCount%callsKept]
	c.callCount++
	*ended = span{}
	request, response := &ended.sent, &ended.received
	asked, lastAsked, answered, lastAnswered := &c.sent, &c.lastSent, &c.received, &c.lastReceived
	if call.Server {
		request, response = response, request
		asked, lastAsked, answered, lastAnswered = answered, lastAnswered, asked, lastAsked
	}
	if call.SequenceKnown {
		// What came after the answer had begun may be another request.
		if last := lastAsked; call.ResponseStartNs == 0 || last.timeNs <= call.ResponseStartNs {
			*request = stretch{call.RequestSequence, last.sequence + last.length}
		} else if first := asked.holding(call.RequestSequence); first != nil {
			*request = stretch{call.RequestSequence, first.sequence + first.length}
		}
	}
	if last := endOf(answered, lastAnswered, call.EndNs); last != nil && call.ResponseSequenceKnown {
		*response = stretch{call.ResponseSequence, last.sequence + last.length}
	}
	return ended
}

// spanAt is the newest of the calls that have ended to which the byte at sequence belongs, nil if there is none.
func (t *times) spanAt(connID uint64, received bool, sequence uint32) *span {
	c := t.of(connID)
	if c == nil {
		return nil
	}
	for i := c.callCount - 1; i >= max(0, c.callCount-callsKept); i-- {
		at := &c.calls[i%callsKept]
		if received && at.received.holds(sequence) || !received && at.sent.holds(sequence) {
			return at
		}
	}
	return nil
}

// during is the call that was under way at that time and has ended since, the newest to begin if there were
// several.
func (t *times) during(connID, timeNs uint64) (of ids, ok bool) {
	c := t.byConn[connID]
	if c == nil {
		return ids{}, false
	}
	var newest *span
	for i := range min(c.callCount, callsKept) {
		at := &c.calls[i]
		if at.startNs != 0 && at.startNs <= timeNs && timeNs <= at.endNs && (newest == nil || at.startNs > newest.startNs) {
			newest = at
		}
	}
	if newest == nil {
		return ids{}, false
	}
	return newest.ids, true
}

// add remembers a moment; none since the end of the last call gives way to it, up to momentsKept.
func (m *moments) add(at *moment) {
	if kept := len(m.ring); kept < momentsKept && m.count-m.calls >= kept {
		m.grow(max(momentsAtFirst, 2*kept))
	}
	m.ring[m.count&(len(m.ring)-1)] = *at
	m.count++
}

// grow makes room for so many moments.
func (m *moments) grow(to int) {
	n := len(m.ring)
	if n >= to {
		return
	}
	grown := make([]moment, to)
	kept := min(m.count, n)
	for i := range kept {
		grown[i] = m.ring[(m.count-kept+i)%n]
	}
	m.calls -= m.count - kept
	m.ring, m.count = grown, kept
}

// growHTTP2 makes room for the moments of many calls at a time.
func (m *moments) growHTTP2() {
	if len(m.ring) > 0 {
		m.grow(momentsKeptHTTP2)
	}
}

// holding is the moment of the record that holds the byte at sequence.
func (m *moments) holding(sequence uint32) *moment {
	for i := m.count - 1; i >= max(0, m.count-len(m.ring)); i-- {
		if at := &m.ring[i&(len(m.ring)-1)]; sequence-at.sequence < at.length {
			return at
		}
	}
	return nil
}

// at is the moment of the newest record of that time.
func (m *moments) at(timeNs uint64) *moment {
	for i := m.count - 1; i >= max(0, m.count-len(m.ring)); i-- {
		if at := &m.ring[i&(len(m.ring)-1)]; at.timeNs == timeNs {
			return at
		}
	}
	return nil
}

// split tells how the time of a call was spent, as far as it is known, and has the call begin when its request
// came to this machine and end when its answer left it.
func (t *times) split(call *l7.Call) otlp.Parts {
	parts := otlp.NoParts()
	c := t.of(call.ConnID)
	if c == nil || !call.SequenceKnown {
		return parts
	}
	if call.StreamID != 0 {
		c.received.growHTTP2()
		c.sent.growHTTP2()
	}
	defer func() { c.received.calls, c.sent.calls = c.received.count, c.sent.count }()
	var begun, ended *moment
	if call.Server {
		if begun = c.received.holding(call.RequestSequence); begun != nil && begun.timeNs != call.StartNs {
			begun = nil // bytes of that number were seen before
		}
		ended = endOf(&c.sent, &c.lastSent, call.EndNs)
		c.served(call, begun, ended, &parts)
	} else {
		if begun = c.sent.holding(call.RequestSequence); begun != nil && begun.timeNs != call.StartNs {
			begun = nil
		}
		ended = endOf(&c.received, &c.lastReceived, call.EndNs)
		c.asked(call, begun, &parts)
	}
	if ended != nil && ended.srttUs != 0 { // else the kernel has not measured any yet
		parts.RTT = time.Duration(ended.srttUs) * time.Microsecond
		// What is sent again of an answer may be sent later than this.
		if begun != nil && (!call.Server || ended.retransmits != begun.retransmits) {
			parts.Retransmits = int64(ended.retransmits - begun.retransmits)
		}
	}
	return parts
}

func endOf(kept *moments, last *moment, timeNs uint64) *moment {
	if timeNs == 0 {
		return nil
	}
	if last.timeNs == timeNs {
		return last
	}
	return kept.at(timeNs)
}

// served splits a call that was answered here.
func (c *connTimes) served(call *l7.Call, begun, ended *moment, parts *otlp.Parts) {
	if begun != nil {
		// To an early answer the rest of the request does not matter. If its end was lost, nothing is known.
		since := call.StartNs
		if call.RequestEndNs != 0 && call.RequestEndNs <= call.ResponseStartNs {
			since = call.RequestEndNs
		}
		if call.ResponseStartNs >= since && (call.RequestEndNs != 0 || call.Capture == l7.Complete) {
			parts.Application = time.Duration(call.ResponseStartNs - since)
		}
		if came := begun.came(call.RequestSequence, parts); came != 0 {
			call.StartNs = came
		}
	}
	if ended != nil {
		if left := ended.left(parts); left > call.EndNs {
			call.EndNs = left
		}
	}
}

// asked splits a call that was made here. Of a request that took several send calls it is not known what was the
// application's, and what the network's, before the last.
func (c *connTimes) asked(call *l7.Call, begun *moment, parts *otlp.Parts) {
	var left uint64
	if begun != nil && call.RequestEndNs == begun.timeNs {
		left = begun.left(parts)
	}
	if !call.ResponseSequenceKnown || call.ResponseStartNs == 0 {
		return
	}
	answered := c.received.holding(call.ResponseSequence)
	if answered == nil || answered.timeNs != call.ResponseStartNs {
		return
	}
	switch came := answered.came(call.ResponseSequence, parts); {
	case left == 0 || came == 0:
	case came > left:
		parts.Peer = time.Duration(came - left)
	default: // it crossed the request
		parts.AppToDevice = otlp.NoParts().AppToDevice
	}
}

// came says when the byte at sequence, which was received, came to this machine, 0 if that is not known: later
// bytes of a call may have come in other packets than its first.
func (m *moment) came(sequence uint32, parts *otlp.Parts) uint64 {
	queued := m.queuedNs
	if queued == 0 || queued > m.timeNs || int32(m.end-sequence) <= 0 {
		return 0
	}
	parts.TCPToApp = time.Duration(m.timeNs - queued)
	if m.arrivedNs == 0 || m.arrivedNs > queued {
		return queued
	}
	parts.NICToTCP = time.Duration(queued - m.arrivedNs)
	return m.arrivedNs
}

// left says when the last byte of a send call had been given to the device, 0 if that is not known.
func (m *moment) left(parts *otlp.Parts) uint64 {
	if m.departedNs < m.timeNs || m.end != m.sequence+m.length {
		return 0
	}
	parts.AppToDevice = time.Duration(m.departedNs - m.timeNs)
	return m.departedNs
}

func (t *times) forget(connID uint64) {
	if t.lastID == connID {
		t.last = nil
	}
	c := t.byConn[connID]
	delete(t.byConn, connID)
	if c != nil && len(t.spare) < spareTimes && max(len(c.received.ring), len(c.sent.ring)) <= momentsKept {
		t.spare = append(t.spare, c)
	}
}

// sweep forgets connections whose end nobody told of.
func (t *times) sweep(known func(connID uint64) bool) {
	for id := range t.byConn {
		if !known(id) {
			t.forget(id)
		}
	}
}
