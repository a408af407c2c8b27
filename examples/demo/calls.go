package main

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

// end is one end of a call: a client or a server span, with what a reader wants of it.
type end struct {
	owner    owner
	server   bool
	trace    pcommon.TraceID
	span     pcommon.SpanID
	parent   pcommon.SpanID
	method   string
	path     string
	status   int64
	failure  string // error.type
	capture  string // why the call was not seen whole
	address  string // of the peer
	start    time.Time
	duration time.Duration
}

func endOf(span ptrace.Span, o owner) end {
	attribute := func(name string) string {
		value, ok := span.Attributes().Get(name)
		if !ok {
			return ""
		}
		return value.AsString()
	}
	e := end{
		owner:    o,
		server:   span.Kind() == ptrace.SpanKindServer,
		trace:    span.TraceID(),
		span:     span.SpanID(),
		parent:   span.ParentSpanID(),
		method:   cmp.Or(attribute("http.request.method"), "HTTP"),
		path:     attribute("url.path"),
		failure:  attribute("error.type"),
		capture:  attribute("ebpfnet.capture"),
		address:  attribute("network.peer.address"),
		start:    span.StartTimestamp().AsTime(),
		duration: span.EndTimestamp().AsTime().Sub(span.StartTimestamp().AsTime()),
	}
	if status, ok := span.Attributes().Get("http.response.status_code"); ok {
		e.status = status.Int()
	}
	return e
}

// contains says whether another span lies within this one, as a server's must within its client's.
func (e *end) contains(other *end) bool {
	return !other.start.Before(e.start) && !other.start.Add(other.duration).After(e.start.Add(e.duration))
}

// call is one call as seen from one end or both.
type call struct {
	client, server *end
	since          time.Time // when the first of the two came
	shown          bool      // told of as a call of one span
}

func (c *call) first() *end {
	if c.client != nil {
		return c.client
	}
	return c.server
}

// shape is what makes calls alike for a reader.
func (c *call) shape() string {
	e := c.first()
	text := fmt.Sprintf("%s %s %s", e.method, e.path, status(e))
	if c.client != nil {
		text += ", " + c.client.owner.name
	}
	if c.server != nil {
		text += " to " + c.server.owner.name
	}
	return text
}

// status is the status code, or why there is none.
func status(e *end) string {
	if e.status == 0 {
		return cmp.Or(e.failure, "no answer")
	}
	return fmt.Sprint(e.status)
}

// partnerWait is how long a span waits for the one of the other end: the two are sent in batches of their own
// each second.
const partnerWait = 3 * time.Second

// pairing joins the spans of the two ends of a call.
type pairing struct {
	waiting map[pcommon.SpanID]*call // by the client's span

	joined  int // calls with both spans
	outside int // of these, calls whose server span does not lie within the client's
}

// add gives the call that the span completes, nil while the other end is awaited.
func (p *pairing) add(e end, now time.Time) *call {
	if p.waiting == nil {
		p.waiting = map[pcommon.SpanID]*call{}
	}
	key := e.span
	if e.server {
		if e.parent.IsEmpty() {
			return &call{server: &e}
		}
		key = e.parent
	}
	c, ok := p.waiting[key]
	if !ok {
		c = &call{since: now}
		p.waiting[key] = c
	}
	if e.server {
		c.server = &e
	} else {
		c.client = &e
	}
	if c.client == nil || c.server == nil || c.client.trace != c.server.trace {
		return nil
	}
	delete(p.waiting, key)
	p.joined++
	if !c.client.contains(c.server) {
		p.outside++
	}
	if c.shown {
		return nil
	}
	return c
}

// alone gives the calls whose other end has not come in time, oldest first.
func (p *pairing) alone(now time.Time) []*call {
	var calls []*call
	for _, c := range p.waiting {
		if c.shown || now.Sub(c.since) < partnerWait {
			continue
		}
		c.shown = true // and still counted as joined if it comes: a slow reader takes the answer long after it was given
		calls = append(calls, c)
	}
	slices.SortFunc(calls, func(a, b *call) int { return a.first().start.Compare(b.first().start) })
	return calls
}

// tree is a call as two lines: the client's span and, below it, the server's.
func (c *call) tree(t *terminal) (text string, below []string) {
	e := c.first()
	trace := t.paint(dim, e.trace.String()[:8])
	if c.client == nil {
		return trace + "  " + c.server.line(t, "server"), []string{t.paint(dim, "          (no client span seen)")}
	}
	text = trace + "  " + c.client.line(t, "client")
	if c.server == nil {
		return text, []string{t.paint(dim, "          (no server span seen)")}
	}
	return text, []string{"       └─ " + c.server.line(t, "server")}
}

func (e *end) line(t *terminal, role string) string {
	shown := status(e)
	text := fmt.Sprintf("%s  %-4s %-12s %s  %s  %s", role, e.method, e.path, t.paint(statusStyle(e), shown),
		pad(seconds(e.duration.Seconds()), 8)+seconds(e.duration.Seconds()), e.owner.name)
	if e.owner.pid != 0 {
		text += fmt.Sprintf(" %d", e.owner.pid)
	}
	if e.status != 0 && e.failure != "" && e.failure != shown {
		text += ", " + e.failure
	}
	if e.capture != "" {
		text += ", " + e.capture
	}
	return text
}

func statusStyle(e *end) style {
	switch {
	case e.status == 0, e.status >= 500:
		return red
	case e.status >= 400:
		return yellow
	}
	return green
}
