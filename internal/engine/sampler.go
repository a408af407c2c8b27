package engine

import (
	"cmp"
	"encoding/binary"
	"math"
	"net/netip"

	"github.com/ebpfnet/ebpfnetreceiver/internal/conn"
	"github.com/ebpfnet/ebpfnetreceiver/internal/l7"
	"github.com/ebpfnet/ebpfnetreceiver/internal/otlp"
	"github.com/ebpfnet/ebpfnetreceiver/internal/tracecontext"
)

type decision uint8

const (
	sampled decision = iota
	unsampled
	overLimit
)

// sampler gives calls their place in a trace and chooses which become spans.
type sampler struct {
	networks []netip.Prefix
	// threshold: a trace id whose low 56 bits are below it is not sampled (W3C Trace Context level 2, random
	// trace ids; the same bits as OTel's consistent probability sampling).
	threshold  uint64
	bucket     bucket // of spans
	keepErrors bool
	keepNs     uint64 // calls that took longer are kept; 0: none
}

const randomBits = 1<<56 - 1

func newSampler(trace Trace) sampler {
	s := sampler{networks: trace.JoinNetworks, keepErrors: trace.KeepErrors, keepNs: uint64(max(0, trace.KeepSlowerThan))}
	s.threshold = uint64(math.Round((1 - trace.Ratio) * (randomBits + 1)))
	s.bucket = newBucket(trace.PerSecond)
	return s
}

func (s *sampler) decide(trace [16]byte, call *l7.Call) decision {
	if !s.samples(trace) && !s.keeps(call) {
		return unsampled
	}
	if !s.bucket.pass(call.EndNs) {
		return overLimit
	}
	return sampled
}

// samples says whether the calls of a trace become spans, the limit aside.
func (s *sampler) samples(trace [16]byte) bool {
	return binary.BigEndian.Uint64(trace[8:])&randomBits >= s.threshold
}

// keeps says whether a call becomes a span for what it is. Both ends see the same status, so that both keep a
// call that failed. Who gave up waiting, and how long that took, each end sees for itself: of a call that the
// client cancelled, or that the network made slow, the client's span may be all there is.
func (s *sampler) keeps(call *l7.Call) bool {
	if s.keepErrors && failed(call) {
		return true
	}
	return s.keepNs > 0 && call.StartNs != 0 && call.EndNs > call.StartNs && call.EndNs-call.StartNs > s.keepNs
}

// failed says whether a call is an error in the eyes of its client, who takes more for one than the server does
// (a 404, INVALID_ARGUMENT): so both ends agree.
func failed(call *l7.Call) bool {
	return call.Error != "" || call.Status >= 400 || call.RPCStatus != "" && call.RPCStatus != "OK"
}

// identify gives a call's span its ids. They follow from what both ends of the connection know (see
// tracecontext.Derive), so that two collectors that never meet make a client and a server span that are
// parent and child. A request that carries a trace keeps it: then both are children of its sender's span.
func (s *sampler) identify(call *l7.Call, c *conn.Connection) otlp.Identity {
	var client netip.AddrPort
	if c != nil {
		if client = c.Local(); call.Server {
			client = c.Remote()
		}
	}
	var trace [16]byte
	var clientSpan, serverSpan [8]byte
	joins := c != nil && call.SequenceKnown
	if joins {
		trace, clientSpan, serverSpan = tracecontext.Derive(client, call.RequestSequence, call.StreamID)
	} else { // no shared knowledge: ids of this end alone
		trace, clientSpan, serverSpan = local(call)
	}
	identity := otlp.Identity{TraceID: trace, SpanID: clientSpan}
	if call.Server {
		identity.SpanID = serverSpan
		if joins && s.watched(client.Addr()) {
			identity.ParentID = clientSpan
		}
	}
	if carried, ok := tracecontext.FromHeaders(call.Traceparent, call.Tracestate, call.B3); ok {
		identity.TraceID, identity.ParentID = carried.TraceID, carried.SpanID
		identity.TraceState, identity.Flags = carried.TraceState, uint32(carried.Flags)
	}
	return identity
}

func (s *sampler) watched(client netip.Addr) bool {
	for _, network := range s.networks {
		if network.Contains(client) {
			return true
		}
	}
	return false
}

// local makes ids from what only this end knows: which of its connections, and when.
func local(call *l7.Call) (trace [16]byte, clientSpan, serverSpan [8]byte) {
	var address [16]byte
	binary.BigEndian.PutUint64(address[:], call.ConnID)
	binary.BigEndian.PutUint64(address[8:], cmp.Or(call.StartNs, call.EndNs)) // the same before and after its end
	return tracecontext.Derive(netip.AddrPortFrom(netip.AddrFrom16(address), 0), 0, call.StreamID)
}
