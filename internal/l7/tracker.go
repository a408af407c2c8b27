package l7

import (
	"math"

	"github.com/ebpfnet/ebpfnetreceiver/internal/l7/buffer"
	"github.com/ebpfnet/ebpfnetreceiver/internal/l7/http1"
	"github.com/ebpfnet/ebpfnetreceiver/internal/l7/http2"
	"github.com/ebpfnet/ebpfnetreceiver/internal/l7/stream"
	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

// unreadNs is how long after its end a connection waits for what its program has not read yet. A call that is
// told later would not find its connection any more.
const unreadNs = 1e9

// earlyAnswerNs is how long a call whose answer is complete waits for the end of its request.
const earlyAnswerNs = 1e9

// Tracker makes calls of payload records. Not for concurrent use.
type Tracker struct {
	options  Options
	emit     func(*Call)
	windowNs uint64
	idleNs   uint64

	connections map[uint64]entry
	threads     map[uint32]thread
	active      []*conn         // those of connections that have one
	marks       map[uint64]mark // of connections that had no record yet
	others      []uint64        // a ring of entries without one
	oldest      int             // in others
	sweptNs     uint64          // when entries without one, and marks, were last looked through
	lastID      uint64          // the connection of the last record: the next one is likely to be of it too
	last        *conn

	pool          *buffer.Pool
	requestNames  *http1.Names
	responseNames *http1.Names
	sink          fields
	headNames     *http2.Names // of HTTP/2
	block         http2.Block
	spareConns    []*conn
	spare         []*exchange
	spareHeads    []*http1.Head
	spareHTTP2    []*http2Conn
	spareStreams  []*http2Stream
	stats         Stats
}

// entry is a followed connection. Without conn it is known to be none of ours: its records cost one look.
type entry struct {
	conn    *conn
	sinceNs uint64 // when conn was given up
}

// mark is what Mark told of a connection.
type mark struct {
	origin  Origin
	sinceNs uint64 // when Flush first met it
}

// remembered is how many times MaxConnections are remembered of those connections that are not followed: not
// yet, or not any more.
const remembered = 4

// spares is how many unused connections and exchanges are kept for reuse.
const spares = 1024

// NewTracker makes a tracker that hands each finished call to emit, in the order in which the calls of one
// connection were finished. The Call and the strings in it are valid only during emit.
func NewTracker(options Options, emit func(*Call)) *Tracker {
	options = options.withDefaults()
	t := &Tracker{
		options:      options,
		emit:         emit,
		windowNs:     uint64(options.ReorderWindow),
		idleNs:       uint64(options.IdleTimeout),
		connections:  make(map[uint64]entry),
		threads:      make(map[uint32]thread),
		marks:        make(map[uint64]mark),
		pool:         buffer.New(options.MaxBytes),
		requestNames: http1.NewNames(true, options.Headers),
	}
	t.sink.t = t
	t.headNames = http2.NewNames(t.headID)
	t.responseNames = http1.NewNames(false, options.Headers)
	return t
}

// Mark says how a connection begins. It is called before the connection's first record; a connection that
// was not marked is taken to begin with its first record.
func (t *Tracker) Mark(connID uint64, origin Origin) {
	if _, known := t.connections[connID]; known || len(t.marks) >= remembered*t.options.MaxConnections {
		return
	}
	t.marks[connID] = mark{origin: origin}
}

// takeOrigin takes what Mark told of a connection.
func (c *conn) takeOrigin(origin *Origin) {
	c.uncounted = origin.MidStream && !origin.Counted
	c.midStream, c.before = origin.MidStream, [2]uint64{receive: origin.Received, transmit: origin.Sent}
	if origin.Sequences && !origin.MidStream {
		c.probation = false
		c.directions[receive].stream.Begin(origin.Receive)
		c.directions[transmit].stream.Begin(origin.Transmit)
	}
}

// Payload takes one send or receive call of a connection; data is what was captured of it and is not kept.
func (t *Tracker) Payload(rec *wire.PayloadRecord, data []byte) {
	t.stats.Records++
	side := transmit
	switch rec.Direction {
	case wire.DirectionReceive:
		side = receive
	case wire.DirectionTransmit:
	default:
		return
	}
	if rec.Length == 0 {
		return
	}
	c := t.last
	if c == nil || t.lastID != rec.ConnID {
		e, known := t.connections[rec.ConnID]
		if c = e.conn; c == nil {
			if known {
				return
			}
			if c = t.open(rec.ConnID); c == nil {
				t.stats.GivenUp[ConnectionsFull]++
				return
			}
		}
		t.lastID, t.last = rec.ConnID, c
		t.pool.Charge(&c.held, t.options.MaxBytesPerConnection)
	}
	thread := rec.TID
	if side == receive && rec.Flags&wire.PayloadWaits == 0 {
		thread = 0
	}
	c.push(side, stream.Segment{
		Sequence: rec.Sequence,
		Length:   rec.Length,
		Data:     data[:min(len(data), int(rec.Length))],
		TimeNs:   rec.Header.TimeNs,
		TGID:     rec.TGID,
		Thread:   thread,
		Start:    rec.Flags&wire.PayloadContinues == 0,
	})
	switch {
	case c.verdict != follow:
		t.retire(c, rec.Header.TimeNs)
	case c.closed && c.allRead():
		t.endConn(c, c.closedNs, c.closeError)
		delete(t.connections, rec.ConnID)
	}
}

// Totals says how many bytes a connection received and sent since it began, as the kernel counts them. It
// is called right before Close. If that is more than records told of, the last records were lost, and that
// an answer was not seen does not mean that there was none. Without it they are taken to be all there; also
// for a connection that was joined in the middle, unless Mark told where.
func (t *Tracker) Totals(connID, received, sent uint64) {
	c := t.connections[connID].conn
	if c == nil || c.uncounted {
		return
	}
	c.directions[receive].total = received - min(received, c.before[receive])
	c.directions[transmit].total = sent - min(sent, c.before[transmit])
}

// Close ends a connection: content that lasts until then is complete, and requests without an answer are
// emitted with closeError ("connection_closed" if that is empty).
func (t *Tracker) Close(connID, timeNs uint64, closeError string) {
	delete(t.marks, connID)
	e, known := t.connections[connID]
	if !known {
		return
	}
	if c := e.conn; c != nil {
		if c.closed {
			timeNs, closeError = c.closedNs, c.closeError
		}
		t.endConn(c, timeNs, closeError)
	}
	delete(t.connections, connID)
}

// CloseUnread is Close for a connection that has ended with bytes that its program has not read, and still can:
// for a second, or until all that Totals told of was read, their records are taken.
func (t *Tracker) CloseUnread(connID, timeNs uint64, closeError string) {
	delete(t.marks, connID)
	e, known := t.connections[connID]
	switch c := e.conn; {
	case c != nil && !c.closed && !c.allRead():
		c.closed, c.closedNs, c.closeError = true, timeNs, closeError
	case c != nil:
		t.endConn(c, timeNs, closeError)
		t.disown(connID, timeNs)
	case !known:
		t.disown(connID, timeNs)
	}
}

// End waits for nothing that is missing any more, since nothing more will be told: neither records, nor what would
// show that an answer found after a loss goes on.
func (t *Tracker) End() {
	const never = math.MaxUint64
	for i := len(t.active) - 1; i >= 0; i-- {
		c := t.active[i]
		if c.closed {
			t.Close(c.id, c.closedNs, c.closeError)
			continue
		}
		t.turnTo(c)
		c.pump(never, true)
		if c.verdict == follow && c.h2 == nil {
			c.emitFinished(never)
		}
	}
}

func (t *Tracker) endConn(c *conn, timeNs uint64, closeError string) {
	t.turnTo(c)
	c.pump(timeNs, true)
	if c.verdict == follow {
		c.end(max(timeNs, c.lastNs), closeError)
	}
	c.unpair(len(c.queue))
	t.forget(c)
}

// disown has later records of a connection cost one look and mean nothing.
func (t *Tracker) disown(connID, timeNs uint64) {
	t.connections[connID] = entry{sinceNs: timeNs}
	t.remember(connID)
}

// Flush gives up waiting for what is overdue at timeNs: records that are missing, the rest of requests
// that were answered early, connections that were idle for too long.
func (t *Tracker) Flush(timeNs uint64) {
	// Backwards, as forget puts the last connection in the place of the one that goes. Not over the map:
	// what is emitted for the same records must come in the same order.
	for i := len(t.active) - 1; i >= 0; i-- {
		c := t.active[i]
		t.turnTo(c)
		c.pump(timeNs, false)
		switch {
		case c.verdict != follow:
			t.retire(c, timeNs)
		case c.closed && c.closedNs+unreadNs < timeNs:
			id := c.id
			t.endConn(c, c.closedNs, c.closeError)
			t.disown(id, timeNs)
		case c.lastNs+t.idleNs < timeNs:
			t.stats.GivenUp[Idle]++
			c.abandonHTTP2()
			c.unpair(len(c.queue))
			delete(t.connections, c.id)
			t.forget(c)
		case c.h2 != nil:
			c.sweepHTTP2(timeNs)
		default:
			c.emitFinished(timeNs)
		}
	}
	if t.sweptNs+t.idleNs/4 < timeNs {
		t.sweptNs = timeNs
		for id, e := range t.connections {
			if e.conn == nil && e.sinceNs+t.idleNs < timeNs {
				delete(t.connections, id)
			}
		}
		for id, m := range t.marks {
			switch {
			case m.sinceNs == 0:
				t.marks[id] = mark{m.origin, timeNs}
			case m.sinceNs+t.idleNs < timeNs:
				delete(t.marks, id)
			}
		}
	}
}

// turnTo has what follows be on the account of c, and the next record look for its connection anew.
func (t *Tracker) turnTo(c *conn) {
	t.last = nil
	t.pool.Charge(&c.held, t.options.MaxBytesPerConnection)
}

// Stats are the books at this moment.
func (t *Tracker) Stats() Stats {
	s := t.stats
	s.Connections = len(t.connections)
	s.HeldBytes = t.pool.Held()
	return s
}

func (t *Tracker) open(id uint64) *conn {
	if len(t.active) >= t.options.MaxConnections {
		return nil
	}
	var c *conn
	if n := len(t.spareConns); n > 0 {
		c, t.spareConns = t.spareConns[n-1], t.spareConns[:n-1]
	} else {
		c = &conn{}
	}
	c.t, c.id, c.requests, c.probation = t, id, undecided, true
	c.index = len(t.active)
	t.active = append(t.active, c)
	t.connections[id] = entry{conn: c}
	if m, marked := t.marks[id]; marked {
		c.takeOrigin(&m.origin)
		delete(t.marks, id)
	}
	return c
}

// retire stops following a connection that is none of ours, and remembers that.
func (t *Tracker) retire(c *conn, timeNs uint64) {
	c.unpair(len(c.queue))
	t.stats.Opaque++
	t.disown(c.id, timeNs)
	t.forget(c)
}

// remember notes the newest entry without a conn. When there are too many, the oldest is forgotten: should that
// connection go on, it is looked at once more.
func (t *Tracker) remember(id uint64) {
	if len(t.others) < remembered*t.options.MaxConnections {
		t.others = append(t.others, id)
		return
	}
	old := t.others[t.oldest]
	if e, known := t.connections[old]; known && e.conn == nil {
		delete(t.connections, old)
	}
	t.others[t.oldest] = id
	t.oldest = (t.oldest + 1) % len(t.others)
}

func (t *Tracker) forget(c *conn) {
	if t.last == c {
		t.last = nil
	}
	end := len(t.active) - 1
	t.active[c.index] = t.active[end]
	t.active[c.index].index = c.index
	t.active[end] = nil
	t.active = t.active[:end]
	c.release()
	if len(t.spareConns) < spares {
		t.spareConns = append(t.spareConns, c)
	}
}

func (t *Tracker) newExchange() *exchange {
	t.stats.Requests++
	t.stats.Pending++
	if n := len(t.spare); n > 0 {
		e := t.spare[n-1]
		t.spare = t.spare[:n-1]
		return e
	}
	e := &exchange{}
	e.reset(t.pool)
	return e
}

// finish emits an exchange, if there is a call in it, and takes it back.
func (t *Tracker) finish(e *exchange) {
	t.stats.Pending--
	t.leave(e)
	if e.Method == "" && (e.StreamID == 0 || !e.SequenceKnown) {
		t.stats.GivenUp[NoMethod]++
	} else {
		t.stats.Calls++
		t.stats.ByCapture[e.Capture]++
		t.emit(&e.Call)
	}
	e.reset(t.pool)
	if len(t.spare) < spares {
		t.spare = append(t.spare, e)
	}
}

func (t *Tracker) newHead() *http1.Head {
	n := len(t.spareHeads)
	if n == 0 {
		return new(http1.Head)
	}
	h := t.spareHeads[n-1]
	t.spareHeads = t.spareHeads[:n-1]
	return h
}

// freeHead takes back a direction's head, if it has one, with what was kept of it.
func (t *Tracker) freeHead(d *direction) {
	h := d.head
	if h == nil {
		return
	}
	d.head = nil
	h.Release(t.pool)
	if len(t.spareHeads) < spares {
		t.spareHeads = append(t.spareHeads, h)
	}
}
