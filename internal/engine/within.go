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

// link is the span of a call, with the ids that it has or will have.
func (p *pipeline) link(call *l7.Call, c *conn.Connection) otlp.Link {
	identity := p.identify(call, c)
	return otlp.Link{TraceID: identity.TraceID, SpanID: identity.SpanID}
}
