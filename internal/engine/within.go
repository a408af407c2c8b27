package engine

import (
	"github.com/ebpfnet/ebpfnetreceiver/internal/conn"
	"github.com/ebpfnet/ebpfnetreceiver/internal/l7"
	"github.com/ebpfnet/ebpfnetreceiver/internal/otlp"
	"github.com/ebpfnet/ebpfnetreceiver/internal/tracecontext"
)

// identify gives a call's span its ids, and its place under the request that was served when it was made (see
// l7.Within). Where the other end may be watched too, that end derives its trace from the connection alone: the
// two spans of the call stay together there, and a link leads to the request. Else the call is the request's
// child.
func (p *pipeline) identify(call *l7.Call, c *conn.Connection) otlp.Identity {
	identity := p.sampler.identify(call, c)
	if !call.Within.Known || c == nil || identity.ParentID != [8]byte{} {
		return identity
	}
	serving, known := p.table.Get(call.Within.ConnID)
	if !known {
		return identity
	}
	trace, _, span := tracecontext.Derive(serving.Remote(), call.Within.Sequence, 0)
	if call.Within.TraceID != [16]byte{} {
		trace = call.Within.TraceID
	}
	if p.sampler.watched(c.Remote().Addr()) {
		identity.Within = otlp.Link{TraceID: trace, SpanID: span}
	} else {
		identity.TraceID, identity.ParentID = trace, span
	}
	return identity
}

// ids are those of a call's span that has ended. Where there are no spans, hardly anybody ever asks for them: then
// they are made when somebody does, of what both ends know.
type ids struct {
	otlp.Link
	sequence, stream uint32
	later, server    bool
}

// later are the ids of a call that can do without its headers and without another connection.
func later(call *l7.Call, c *conn.Connection) (of ids, ok bool) {
	if c == nil || !call.SequenceKnown || call.Within.Known || call.Traceparent != "" || call.B3 != "" {
		return ids{}, false
	}
	return ids{sequence: call.RequestSequence, stream: call.StreamID, later: true, server: call.Server}, true
}

// made is the span with those ids.
func (p *pipeline) made(of ids, c *conn.Connection) otlp.Link {
	if of.later && c != nil {
		call := l7.Call{SequenceKnown: true, RequestSequence: of.sequence, StreamID: of.stream, Server: of.server}
		return p.link(&call, c)
	}
	return of.Link
}

// link is the span of a call, with the ids that it has or will have.
func (p *pipeline) link(call *l7.Call, c *conn.Connection) otlp.Link {
	identity := p.identify(call, c)
	return otlp.Link{TraceID: identity.TraceID, SpanID: identity.SpanID}
}
