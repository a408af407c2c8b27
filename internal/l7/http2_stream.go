package l7

import "github.com/ebpfnet/ebpfnetreceiver/internal/l7/http2"

// The two parts of a call.
const (
	request  = 0
	response = 1
)

// missedNs is how long a stream waits for another frame after frames of its answer may have been missed.
const missedNs = 60e9

// http2Stream is a call on a stream.
type http2Stream struct {
	*exchange
	id          uint32
	lastNs      uint64 // last frame
	requestSeen bool
	missed      bool // frames of its answer may have been
	body        [2]int64
	bodyLost    [2]bool
	messages    [2]http2.Messages
}

func (st *http2Stream) ended(part int) bool {
	if part == request {
		return st.requestDone
	}
	return st.done
}

// find is the open stream of that id, nil if there is none.
func (h *http2Conn) find(id uint32) *http2Stream {
	for i, other := range h.ids {
		if other == id {
			return h.streams[i]
		}
	}
	return nil
}

func (h *http2Conn) open(id uint32) bool { return h.find(id) != nil }

func (h *http2Conn) inFlight() (*Call, bool) {
	var newest *http2Stream
	for _, st := range h.streams {
		if st.requestSeen && !st.done && (newest == nil || st.lastNs >= newest.lastNs) {
			newest = st
		}
	}
	if newest == nil {
		return nil, false
	}
	return &newest.Call, true
}

// openStream begins to follow a stream; nil: there are too many.
func (c *conn) openStream(id uint32) *http2Stream {
	t, h := c.t, c.h2
	if len(h.ids) >= t.options.MaxStreams {
		t.stats.GivenUp[StreamsFull]++
		return nil
	}
	return c.newStream(t.newExchange(), id)
}

func (c *conn) newStream(e *exchange, id uint32) *http2Stream {
	t, h := c.t, c.h2
	var st *http2Stream
	if n := len(t.spareStreams); n > 0 {
		st, t.spareStreams = t.spareStreams[n-1], t.spareStreams[:n-1]
	} else {
		st = &http2Stream{}
	}
	*st = http2Stream{exchange: e, id: id, lastNs: c.lastNs}
	st.ConnID, st.Server, st.StreamID, st.ProtocolVersion = c.id, c.requests == receive, id, "2"
	h.ids, h.streams = append(h.ids, id), append(h.streams, st)
	return st
}

// endStream ends a part of a call at timeNs; 0: it is not known when.
func (c *conn) endStream(st *http2Stream, part int, timeNs uint64) {
	if st.ended(part) {
		return
	}
	if part == request {
		st.requestDone, st.RequestEndNs = true, timeNs
	} else {
		st.done, st.doneNs, st.EndNs = true, c.lastNs, timeNs
		if timeNs == 0 || !st.answered && st.Capture == Complete {
			st.mark(Gap)
		}
	}
	if st.done && st.requestDone && st.requestSeen {
		c.finishStream(st)
	}
}

// reset ends a call with RST_STREAM. After the answer's end it only says that the rest of the request is
// not wanted.
func (c *conn) reset(st *http2Stream, name string, timeNs uint64) {
	if !st.done {
		st.Error, st.EndNs = name, timeNs
		if timeNs == 0 {
			st.mark(Gap)
		}
	}
	c.finishStream(st)
}

// goAway ends the calls that the server says it has not begun to look at.
func (c *conn) goAway(last uint32, timeNs uint64) {
	for i := len(c.h2.streams) - 1; i >= 0; i-- {
		if st := c.h2.streams[i]; st.id > last && !st.done {
			c.reset(st, "REFUSED_STREAM", timeNs)
		}
	}
}

// finishStream emits the call of a stream.
func (c *conn) finishStream(st *http2Stream) {
	h, t := c.h2, c.t
	// Without the head, what was sent after it may have been missed with it.
	if st.requestDone && st.requestSeen && !st.bodyLost[request] {
		st.RequestBody = st.body[request]
	}
	if st.done && st.answered && !st.bodyLost[response] {
		st.ResponseBody = st.body[response]
	}
	if st.RPC != "" {
		st.RequestMessages, st.ResponseMessages = st.messages[request].Count(), st.messages[response].Count()
	}
	for i, id := range h.ids {
		if id == st.id {
			n := len(h.ids) - 1
			copy(h.ids[i:], h.ids[i+1:])
			copy(h.streams[i:], h.streams[i+1:])
			h.streams[n] = nil
			h.ids, h.streams = h.ids[:n], h.streams[:n]
			break
		}
	}
	t.finish(st.exchange)
	st.exchange = nil
	if len(t.spareStreams) < spares {
		t.spareStreams = append(t.spareStreams, st)
	}
}

// sweepHTTP2 ends the calls of which nothing more is expected.
func (c *conn) sweepHTTP2(nowNs uint64) {
	for i := len(c.h2.streams) - 1; i >= 0; i-- {
		st := c.h2.streams[i]
		switch {
		case st.done && !st.requestSeen:
			if st.doneNs+c.t.windowNs < nowNs {
				c.finishStream(st)
			}
		case st.done:
			if st.doneNs+earlyAnswerNs < nowNs {
				st.mark(Gap) // the request's end was not seen
				c.finishStream(st)
			}
		case st.missed && st.lastNs+missedNs < nowNs:
			c.finishStream(st)
		}
	}
}

// endHTTP2 ends what is in flight when the connection ends.
func (c *conn) endHTTP2(timeNs uint64, failure string) {
	cut := false
	if c.requests != undecided {
		d := c.response()
		cut = d.total > d.moved || d.moved > 0 && c.h2.sides[1-c.requests].state == unframed
	}
	for len(c.h2.streams) > 0 {
		st := c.h2.streams[0]
		switch {
		case st.done && st.requestDone:
		case st.done, cut || st.missed:
			st.mark(Gap)
		default:
			st.Error, st.EndNs = failure, timeNs
		}
		c.finishStream(st)
	}
}

// abandonHTTP2 emits what is in flight with what was seen of it.
func (c *conn) abandonHTTP2() {
	if c.h2 == nil {
		return
	}
	for len(c.h2.streams) > 0 {
		st := c.h2.streams[0]
		if !st.done {
			st.mark(Gap)
			c.t.stats.GivenUp[NotPaired]++
		}
		c.finishStream(st)
	}
}
