package l7

import (
	"github.com/ebpfnet/ebpfnetreceiver/internal/l7/stream"
)

// Indices of conn.directions.
const (
	receive   = 0
	transmit  = 1
	undecided = 2
)

// Records without a head at their start after which a connection is taken to speak something else. One
// that was joined may have to finish its present message first.
const (
	missesFresh     = 4
	missesMidStream = 64
)

// maxReordered is how many records are held for a missing one before it is taken as lost.
const maxReordered = 8

// verdict says what becomes of a connection.
type verdict uint8

const (
	follow verdict = iota
	opaque         // not HTTP, or no longer
)

// conn is one end of a connection that speaks HTTP, or may yet turn out to.
type conn struct {
	t          *Tracker
	id         uint64
	index      int // in Tracker.active
	held       int // bytes that the pool has lent for it
	directions [2]direction
	requests   uint8 // which direction carries the requests
	verdict    verdict
	midStream  bool      // was joined after its beginning
	before     [2]uint64 // bytes moved before that, by direction
	uncounted  bool      // they are not known
	misses     uint8

	// queue holds the exchanges that are not finished, in the order of their requests. The first answered
	// of them have had (the beginning of) their final response.
	queue    []*exchange
	answered int

	sequential  bool // once a request came after the answer to all before it
	pipelines   bool // once a request came before such an answer
	probation   bool // neither was seen since pairing began in the middle, or was lost
	answeredOne bool // an exchange was seen whole
	blind       bool // later requests cannot be paired: finish those in the queue
	lastNs      uint64

	closed     bool // see Tracker.CloseUnread
	closedNs   uint64
	closeError string

	h2 *http2Conn // once it speaks HTTP/2; then the queue is empty
}

func (c *conn) release() {
	c.releaseHTTP2()
	for i := range c.directions {
		c.directions[i].release(c.t.pool)
		c.t.freeHead(&c.directions[i])
	}
	*c = conn{queue: c.queue[:0], directions: [2]direction{
		{stream: c.directions[receive].stream}, {stream: c.directions[transmit].stream},
	}}
}

func (c *conn) request() *direction  { return &c.directions[c.requests] }
func (c *conn) response() *direction { return &c.directions[1-c.requests] }

// push takes a record.
func (c *conn) push(side int, seg stream.Segment) {
	t := c.t
	d := &c.directions[side]
	c.lastNs = max(c.lastNs, seg.TimeNs)
	order := d.stream.Arrange(&seg)
	switch order {
	case stream.Duplicate:
		t.stats.Duplicates++
		return
	case stream.Ahead:
		t.stats.Reordered++
		c.hold(d, seg)
	case stream.InOrder:
		other := &c.directions[1-side]
		if d.blocked || other.behind() && other.stream.Front().TimeNs < seg.TimeNs {
			c.hold(d, seg)
		} else {
			c.deliver(d, &seg)
		}
	}
	if c.directions[receive].stream.Held()+c.directions[transmit].stream.Held() > 0 && c.verdict == follow {
		c.pump(seg.TimeNs, false)
	}
}

func (c *conn) hold(d *direction, seg stream.Segment) {
	if !d.stream.Hold(seg, c.t.pool, c.t.options.MaxBytesPerConnection/4) {
		c.t.stats.GivenUp[BytesFull]++
	}
}

// deliver parses a segment that is next in its direction. If that direction has to wait for the other in
// the middle of it, the rest is held.
func (c *conn) deliver(d *direction, seg *stream.Segment) {
	if seg.Lost {
		c.t.stats.Gaps++
		c.t.stats.GapBytes += uint64(seg.Length)
	}
	rest := c.feed(d, seg)
	d.moved += uint64(seg.Length - rest)
	d.stream.Advance(seg)
	d.stream.Rewind(rest)
}

// pump parses what was held and can be parsed now, in the order in which it happened: while one direction
// waits for a missing record, the other one waits too. force gives up all waiting.
func (c *conn) pump(nowNs uint64, force bool) {
	for c.verdict == follow {
		var next *direction
		ready := false
		for i := range c.directions {
			d := &c.directions[i]
			front := d.stream.Front()
			if front == nil {
				continue
			}
			overdue := force || d.stream.Held() > maxReordered || front.TimeNs+c.t.windowNs < nowNs
			if d.blocked && !c.unblock(d, overdue, force) {
				continue
			}
			if next == nil || front.TimeNs < next.stream.Front().TimeNs {
				next, ready = d, overdue || d.stream.Contiguous()
			}
		}
		if !ready {
			return
		}
		seg, lent, ok := next.stream.Take(c.t.pool)
		if ok {
			c.deliver(next, &seg)
		}
		c.t.pool.Put(lent)
	}
}

// unblock says whether a direction that waits for the other may go on.
func (c *conn) unblock(d *direction, overdue, force bool) bool {
	if c.isRequest(d) {
		// What follows CONNECT or an upgrade waits for the answer, which may take its time.
		if !force && d.stream.Held() < stream.MaxHeld || c.response().stream.Front() != nil {
			return false
		}
		d.blocked, d.state, c.blind = false, finished, true
		return true
	}
	if !overdue {
		return false
	}
	d.blocked, d.waited = false, true
	return true
}

// allRead says that records told of all that was received, as far as is known.
func (c *conn) allRead() bool {
	d := &c.directions[receive]
	return d.moved >= d.total && d.stream.Held() == 0
}

// end finishes what is in flight when the connection ends.
func (c *conn) end(timeNs uint64, closeError string) {
	failure := closeError
	if failure == "" {
		failure = "connection_closed"
	}
	if c.h2 != nil {
		c.endHTTP2(timeNs, failure)
		return
	}
	if c.requests == undecided {
		return
	}
	if d := c.request(); d.current != nil && d.state == head && !d.head.Started() {
		c.requestLine(d.current, d.head.Partial(), true)
	}
	d := c.response()
	cut := d.total > d.moved
	r := c.request()
	requestsCut := r.total > r.moved
	if c.probation && (requestsCut || cut) {
		c.contradict()
	}
	for i, e := range c.queue {
		switch {
		case e.done:
		case cut, i >= c.answered && d.state == lost && d.lastNs >= e.StartNs:
			e.mark(Gap) // the answer, or the rest of it, may be in what was not seen or not understood
		case i >= c.answered:
			e.Error, e.EndNs = failure, timeNs
		case e.responseLost:
			e.Error = closeError
			if i == len(c.queue)-1 && r.state != lost && !requestsCut {
				e.EndNs = d.endOfLost(timeNs)
			}
		case d.current == e && d.state == untilClose:
			e.Error, e.EndNs = closeError, d.lastNs
			if closeError == "" {
				e.ResponseBody = d.body
			} else {
				e.EndNs = timeNs
			}
		default:
			e.Error, e.EndNs = failure, timeNs
		}
		e.done = true
		c.t.finish(e)
	}
	c.queue, c.answered = c.queue[:0], 0
}

// unpair emits the first n exchanges with what was seen of them.
func (c *conn) unpair(n int) {
	for _, e := range c.queue[:n] {
		c.abandon(e)
	}
	c.shift(n)
}

// abandon emits an exchange; its answer, unless it was complete, is not known.
func (c *conn) abandon(e *exchange) {
	for i := range c.directions {
		if d := &c.directions[i]; d.current == e {
			d.current = nil
		}
	}
	c.leaveTunnel(e)
	if !e.done {
		e.mark(Gap)
		c.t.stats.GivenUp[NotPaired]++
	}
	c.t.finish(e)
}

// shift takes n exchanges off the front of the queue.
func (c *conn) shift(n int) {
	rest := copy(c.queue, c.queue[n:])
	clear(c.queue[rest:])
	c.queue = c.queue[:rest]
	c.answered = max(0, c.answered-n)
}

// emitFinished emits the exchanges at the front of the queue of which nothing more is expected: at once if
// the end of the request was seen too, else after a while.
func (c *conn) emitFinished(nowNs uint64) {
	n := 0
	for n < len(c.queue) {
		e := c.queue[n]
		if !e.done || !e.requestDone && !e.requestLost && e.doneNs+earlyAnswerNs >= nowNs {
			break
		}
		if c.probation && n == len(c.queue)-1 && e.doneNs+earlyAnswerNs >= nowNs {
			break
		}
		if d := c.request(); d.current == e {
			d.current = nil
		}
		c.t.finish(e)
		n++
	}
	if n > 0 {
		c.shift(n)
	}
	if c.blind && len(c.queue) == 0 {
		c.verdict = opaque
	}
}
