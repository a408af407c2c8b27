package l7

import (
	"unicode/utf8"
	"unsafe"

	"github.com/ebpfnet/ebpfnetreceiver/internal/l7/buffer"
	"github.com/ebpfnet/ebpfnetreceiver/internal/l7/http1"
)

const (
	textSize = 256     // one piece of a call's text
	maxValue = 4 << 10 // longest header value that is kept
)

// exchange is a call in the making.
type exchange struct {
	Call
	text [][]byte // what the strings of Call point into, lent by the pool

	requestDone  bool // its last byte was seen
	requestLost  bool // framing was lost in it: where it ends is not known
	answered     bool // its final response has begun
	responseLost bool // framing was lost in that
	done         bool // nothing more is expected of the response
	tunnel       bool // CONNECT or Upgrade: what follows depends on the answer
	unsynced     bool // it was found, not counted off: answers that precede it in time are not its own
	gapBefore    bool // requests that were not seen may precede it
	unknownAfter bool // requests that were not seen may follow it, before the next exchange
	doneNs       uint64
	thread       uint32 // see Tracker.serve; 0: none

	hostSeen, agentSeen, parentSeen, b3Seen, b3Twice bool
	b3                                               [http1.B3Flags - http1.B3 + 1]string
}

// reset makes e ready for another call. The slices keep their room.
func (e *exchange) reset(pool *buffer.Pool) {
	for i, piece := range e.text {
		pool.Put(piece)
		e.text[i] = nil
	}
	clear(e.Headers)
	*e = exchange{text: e.text[:0], Call: Call{
		Headers: e.Headers[:0], RequestBody: -1, ResponseBody: -1, RequestMessages: -1, ResponseMessages: -1,
	}}
}

// keep copies a value into the call's own text.
func (e *exchange) keep(value []byte, pool *buffer.Pool) (string, bool) {
	if len(value) == 0 {
		return "", true
	}
	last := len(e.text) - 1
	if last < 0 || cap(e.text[last])-len(e.text[last]) < len(value) {
		piece := pool.Get(max(textSize, len(value)))
		if piece == nil {
			return "", false
		}
		e.text = append(e.text, piece)
		last++
	}
	piece := append(e.text[last], value...)
	e.text[last] = piece
	return unsafe.String(&piece[len(piece)-len(value)], len(value)), true
}

func (e *exchange) mark(c Capture) { e.Capture = max(e.Capture, c) }

// switched says that the response turns the connection over to another protocol.
func (e *exchange) switched() bool {
	return e.Status == 101 || e.Method == "CONNECT" && e.Status/100 == 2
}

// fields is the http1.Sink of one message.
type fields struct {
	t        *Tracker
	e        *exchange // nil: nobody wants them
	response bool
}

// Field takes one wanted header field.
func (f *fields) Field(name http1.Name, value []byte, ascii bool) {
	e := f.e
	if e == nil {
		return
	}
	if len(value) > maxValue {
		e.mark(Truncated)
		return
	}
	if !ascii && !utf8.Valid(value) { // nothing that OTLP could carry
		return
	}
	text, ok := e.keep(value, f.t.pool)
	if !ok {
		e.mark(Truncated)
		f.t.stats.GivenUp[BytesFull]++
		return
	}
	switch name {
	case http1.Host:
		single(&e.Authority, &e.hostSeen, text)
	case http1.UserAgent:
		single(&e.UserAgent, &e.agentSeen, text)
	case http1.Traceparent:
		single(&e.Traceparent, &e.parentSeen, text)
	case http1.Tracestate: // may be spread over several fields, in order
		if e.Tracestate == "" {
			e.Tracestate = text
		} else if text != "" {
			e.Tracestate = e.join(f.t.pool, e.Tracestate, ",", text)
		}
	case http1.B3:
		single(&e.B3, &e.b3Seen, text)
	case http1.B3TraceID, http1.B3SpanID, http1.B3ParentSpanID, http1.B3Sampled, http1.B3Flags:
		part := &e.b3[name-http1.B3]
		e.b3Twice = e.b3Twice || *part != "" // of two values neither is certain
		*part = text
	default:
		e.Headers = append(e.Headers, Header{
			Name: f.t.options.Headers[name-http1.Listed], Value: text, Response: f.response,
		})
	}
}

// single sets a field that may occur once; of two values neither is certain.
func single(field *string, seen *bool, value string) {
	if *seen {
		*field = ""
		return
	}
	*field, *seen = value, true
}

func (e *exchange) join(pool *buffer.Pool, parts ...string) string {
	n := 0
	for _, part := range parts {
		n += len(part)
	}
	piece := pool.Get(n)
	if piece == nil || n > maxValue {
		pool.Put(piece)
		return ""
	}
	for _, part := range parts {
		piece = append(piece, part...)
	}
	e.text = append(e.text, piece)
	return unsafe.String(&piece[0], n)
}

// joinB3 makes the single form {trace}-{span}[-{sampled}[-{parent}]] of the multiple headers.
func (e *exchange) joinB3(pool *buffer.Pool) {
	part := func(name http1.Name) string { return e.b3[name-http1.B3] }
	trace, span := part(http1.B3TraceID), part(http1.B3SpanID)
	if e.b3Seen || e.b3Twice || trace == "" || span == "" {
		return
	}
	sampled := part(http1.B3Sampled)
	switch {
	case part(http1.B3Flags) == "1":
		sampled = "d"
	case sampled == "true":
		sampled = "1"
	case sampled == "false":
		sampled = "0"
	}
	parent := part(http1.B3ParentSpanID)
	switch {
	case sampled == "":
		e.B3 = e.join(pool, trace, "-", span)
	case parent == "":
		e.B3 = e.join(pool, trace, "-", span, "-", sampled)
	default:
		e.B3 = e.join(pool, trace, "-", span, "-", sampled, "-", parent)
	}
}
