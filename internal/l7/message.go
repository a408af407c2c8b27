package l7

import (
	"bytes"
	"unicode/utf8"

	"github.com/ebpfnet/ebpfnetreceiver/internal/l7/http1"
)

// begin starts a message where the one before it has ended for certain.
func (c *conn) begin(d *direction, cur *cursor) {
	if c.isRequest(d) {
		for len(cur.data) > 0 && (cur.data[0] == '\r' || cur.data[0] == '\n') {
			cur.skip(1) // RFC 9112 section 2.2 has servers ignore empty lines here
		}
		if len(cur.data) > 0 {
			c.beginRequest(d, cur, false)
		}
		return
	}
	if c.awaitsRequest(d) {
		d.blocked = true
		return
	}
	if e := c.pair(d, cur); e != nil {
		c.beginMessage(d, cur, e)
	}
}

func (c *conn) beginRequest(d *direction, cur *cursor, gapBefore bool) {
	if len(c.queue) >= c.t.options.MaxPending && !c.blind {
		c.t.stats.GivenUp[PendingFull]++
		c.blind = true
	}
	if c.blind {
		d.state = finished
		c.emitFinished(cur.timeNs) // nothing in the queue: nothing to stay for
		return
	}
	if c.probation && c.answered > 0 && c.answered == len(c.queue) {
		c.probation, c.sequential = false, true
		c.emitFinished(cur.timeNs)
	}
	e := c.t.newExchange()
	thread := cur.thread
	if cur.beganNs != 0 { // in another record
		thread = 0
	}
	c.beginMessage(d, cur, e)
	e.ConnID, e.Server = c.id, c.requests == receive
	e.RequestSequence, e.SequenceKnown = d.startSequence, true
	e.StartNs, e.TGID = d.startNs, d.startTGID
	if e.Server {
		c.t.serve(thread, e)
	} else {
		e.Within = c.t.within(thread)
	}
	e.gapBefore = gapBefore
	c.probation = c.probation || gapBefore // what was lost may be waiting for an answer too
	switch last := len(c.queue) - 1; {
	case last < 0:
		c.sequential = c.sequential || c.answeredOne && !gapBefore
	case c.answered <= last && c.queue[last].StartNs == e.StartNs:
		c.pipelines = true // both in one record
	}
	c.queue = append(c.queue, e)
	c.response().blocked = false
}

func (c *conn) beginMessage(d *direction, cur *cursor, e *exchange) {
	d.startNs, d.startSequence, d.startTGID = cur.timeNs, cur.sequence, cur.tgid
	if cur.beganNs != 0 {
		d.startNs, d.startTGID = cur.beganNs, cur.beganTGID
		cur.beganNs = 0
	}
	names := c.t.requestNames
	if !c.isRequest(d) {
		names = c.t.responseNames
	}
	if d.head == nil {
		d.head = c.t.newHead()
	}
	d.head.Reset(names, c.t.pool)
	d.state, d.body, d.current, d.began = head, 0, e, true
}

// startLine takes the request line or status line that was just read.
func (c *conn) startLine(d *direction) bool {
	e := d.current
	if c.isRequest(d) {
		if d.head.Status != 0 {
			return false
		}
		if e != nil {
			c.requestLine(e, d.head.Request, d.head.TargetCut)
			e.ProtocolVersion = "1.0"
			if d.head.Minor == 1 {
				e.ProtocolVersion = "1.1"
			}
		}
		return true
	}
	if d.head.Status == 0 {
		return false
	}
	if e != nil && (d.head.Status >= 200 || d.head.Status == 101) {
		if d.head.Status == 101 && !e.tunnel && (!e.requestLost || c.probation) {
			return false // nobody asked for it
		}
		e.Status = d.head.Status
		c.answer(e)
		e.ResponseStartNs = d.startNs
		e.ResponseSequence, e.ResponseSequenceKnown = d.startSequence, true
		c.observePipelining(d)
	}
	return true
}

// requestLine takes method and target. Of a target that was cut, the part before the query is kept if
// all of that was seen.
func (c *conn) requestLine(e *exchange, line http1.RequestLine, cut bool) {
	if e.Method = http1.KnownMethod(line.Method); e.Method == "" {
		e.Method, _ = e.keep(line.Method, c.t.pool)
	}
	e.tunnel = e.Method == "CONNECT"
	target := line.Target
	if cut {
		e.mark(Truncated)
		query := bytes.IndexByte(target, '?')
		if query < 0 {
			return
		}
		target = target[:query]
	}
	if !utf8.Valid(target) { // not a URI, and nothing that OTLP could carry
		e.mark(Truncated)
		return
	}
	var ok bool
	if e.Target, ok = e.keep(target, c.t.pool); !ok {
		e.mark(Truncated)
		c.t.stats.GivenUp[BytesFull]++
	}
}

// headDone decides how the content is delimited.
func (c *conn) headDone(d *direction, timeNs uint64) {
	var body http1.Body
	e := d.current
	if e != nil && d.head.Dropped {
		e.mark(Truncated)
	}
	if c.isRequest(d) {
		if e != nil {
			e.joinB3(c.t.pool)
			e.tunnel = e.tunnel || d.head.Upgrade
		}
		if body = d.head.RequestBody(); body != http1.Empty && e != nil && e.Method == "CONNECT" {
			body = http1.Unknown // RFC 9110 section 9.3.6 gives it no content, and servers differ
		}
	} else {
		method := ""
		if e != nil { // nil: it was given up meanwhile
			method = e.Method
		}
		body = d.head.ResponseBody(method)
		if method == "CONNECT" && d.head.Status/100 == 2 {
			body = http1.Empty
		}
	}
	switch body {
	case http1.Empty:
		c.messageDone(d, timeNs)
	case http1.Length:
		d.left, d.body, d.state = d.head.ContentLength, d.head.ContentLength, length
	case http1.Chunked:
		d.chunks, d.state = http1.Chunks{}, chunked
	case http1.UntilClose:
		d.state = untilClose
	default:
		c.malformed(d)
	}
}

// messageDone ends the message at timeNs; 0: it is not known when.
func (c *conn) messageDone(d *direction, timeNs uint64) {
	e := d.current
	defer c.t.freeHead(d)
	d.current, d.state = nil, boundary
	if c.isRequest(d) {
		if d.head.Last() {
			d.state = finished
		}
		if e == nil {
			return
		}
		e.requestDone, e.RequestEndNs, e.RequestBody = true, timeNs, d.body
		d.blocked = e.tunnel && !e.answered
	} else {
		status := d.head.Status
		if status < 200 && status != 101 || e == nil {
			return // an interim response, or one that was given up
		}
		if status == 101 && d.head.H2C && len(c.queue) == 1 {
			c.upgradeHTTP2(e)
			return
		}
		e.EndNs, e.ResponseBody = timeNs, d.body
		c.done(e)
		if e.switched() {
			c.emitAll()
			c.verdict = opaque // another protocol from here on
			return
		}
		if d.head.Last() {
			d.state = finished
		}
		if e.tunnel {
			c.request().blocked = false
		}
	}
	c.emitFinished(c.lastNs)
}

// lose gives up the framing of a direction in the middle of a message, or before one. missing: records
// were lost, so that whole messages may be.
func (c *conn) lose(d *direction, why Capture, missing bool) {
	e, was := d.current, d.state
	d.current, d.state = nil, lost
	d.holed = d.holed || missing
	switch {
	case c.requests == undecided:
	case c.isRequest(d):
		if e != nil {
			if was == head && !d.head.Started() && why != Complete { // else it is malformed
				c.requestLine(e, d.head.Partial(), true)
			}
			e.requestLost = true
			e.mark(why)
		}
		if was == boundary || missing {
			c.requestsMayFollow()
			c.contradict()
		}
		if c.pipelines && !c.blind {
			c.t.stats.GivenUp[PipeliningGap]++
			c.blind = true
		}
		if e != nil {
			c.emitFinished(c.lastNs)
		}
	default:
		if e == nil && missing {
			c.contradict() // there may have been an answer in the hole
		}
		if e == nil && was == boundary && !missing && c.answered < len(c.queue) {
			e = c.queue[c.answered] // its response begins in what was not captured
		}
		if e == nil || was == head && d.interim() {
			break
		}
		if !e.answered {
			c.answerUnseen(e)
		}
		e.responseLost = true
		e.mark(why)
		switch {
		case !e.tunnel || e.Status == 0:
		case e.switched():
			c.done(e)
			c.emitAll()
			c.verdict = opaque
		default:
			c.request().blocked = false
		}
	}
	c.t.freeHead(d)
}
