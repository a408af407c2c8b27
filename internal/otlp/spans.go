package otlp

import (
	"cmp"
	"strings"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/ebpfnet/ebpfnetreceiver/internal/conn"
	"github.com/ebpfnet/ebpfnetreceiver/internal/l7"
	"github.com/ebpfnet/ebpfnetreceiver/internal/owner"
)

// Identity places a span in its trace.
type Identity struct {
	TraceID    [16]byte
	SpanID     [8]byte
	ParentID   [8]byte // zero: the root
	Within     Link    // a span of another trace that this one was made for; zero: none
	TraceState string  // W3C tracestate
	Flags      uint32  // OTLP SpanFlags: W3C trace flags in the low byte, "parent is remote" above
}

// spanAttributes is how many a span seldom has more of: 1000 bytes, which are cleared and collected for each span.
const spanAttributes = 25

// Span is what a span is made of.
type Span struct {
	Call     *l7.Call
	Conn     *conn.Connection // nil: not known any more; then the Resource and the addresses are unknown
	Identity Identity
	Parts    *Parts // nil: nothing is known
}

// Spans accumulates the spans of calls, by Resource.
type Spans struct {
	clock
	options Options
	traces  ptrace.Traces
	scopes  map[owner.Owner]ptrace.SpanSlice
	texts   texts
	count   int
}

// NewSpans makes an empty builder.
func NewSpans(options Options) *Spans {
	return &Spans{options: options, traces: ptrace.NewTraces(), scopes: map[owner.Owner]ptrace.SpanSlice{}}
}

// Len is how many spans Take would hand over.
func (s *Spans) Len() int { return s.count }

// Take hands over what has accumulated. Resources are in the order of their first span.
func (s *Spans) Take() ptrace.Traces {
	taken := s.traces
	s.traces, s.count = ptrace.NewTraces(), 0
	clear(s.scopes)
	return taken
}

func (s *Spans) of(o owner.Owner) ptrace.SpanSlice {
	spans, ok := s.scopes[o]
	if !ok {
		resource := s.traces.ResourceSpans().AppendEmpty()
		resource.SetSchemaUrl(SchemaURL)
		writeResource(o, resource.Resource().Attributes())
		scope := resource.ScopeSpans().AppendEmpty()
		scope.SetSchemaUrl(SchemaURL)
		writeScope(s.options.Version, scope.Scope())
		spans = scope.Spans()
		s.scopes[o] = spans
	}
	return spans
}

// Add makes a span by the HTTP conventions, or by those of RPC.
//
// Its times are those of the first byte of the request and the last byte of the answer; where one of the
// two was not seen, the nearest that was stands in its place, and Capture or Error says that it was not.
func (s *Spans) Add(in Span) {
	call := in.Call
	span := s.of(ownerOf(in.Conn)).AppendEmpty()
	s.count++
	span.SetTraceID(in.Identity.TraceID)
	span.SetSpanID(in.Identity.SpanID)
	span.SetParentSpanID(in.Identity.ParentID)
	span.TraceState().FromRaw(keep(in.Identity.TraceState))
	span.SetFlags(in.Identity.Flags)
	if in.Identity.Within != (Link{}) {
		link := span.Links().AppendEmpty()
		link.SetTraceID(in.Identity.Within.TraceID)
		link.SetSpanID(in.Identity.Within.SpanID)
	}
	span.SetKind(ptrace.SpanKindClient)
	if call.Server {
		span.SetKind(ptrace.SpanKindServer)
	}
	start := cmp.Or(call.StartNs, call.ResponseStartNs, call.EndNs)
	end := max(cmp.Or(call.EndNs, call.ResponseStartNs, call.StartNs), start)
	span.SetStartTimestamp(pcommon.Timestamp(s.wall(start)))
	span.SetEndTimestamp(pcommon.Timestamp(s.wall(end)))

	attributes := span.Attributes()
	attributes.EnsureCapacity(spanAttributes + len(call.Headers))
	if call.RPC != "" {
		span.SetName(s.rpc(call, attributes))
	} else {
		span.SetName(s.request(call, in.Conn, attributes))
		s.response(call, attributes)
	}
	attributes.PutStr(attrProtocolName, "http")
	putStr(attributes, attrProtocolVersion, call.ProtocolVersion)
	putStr(attributes, attrUserAgent, s.texts.keep(call.UserAgent))
	if in.Conn != nil {
		s.ends(call, in.Conn, attributes)
	}
	if failure := errorType(call); failure != "" {
		attributes.PutStr(attrErrorType, failure)
		span.Status().SetCode(ptrace.StatusCodeError)
	}
	if call.Capture != l7.Complete {
		attributes.PutStr(attrCapture, call.Capture.String())
	}
	if in.Parts != nil {
		in.Parts.write(attributes)
	}
	for _, header := range call.Headers {
		putHeader(call, header, attributes)
	}
}

// request writes the attributes of the request and returns the span's name: the method alone, as no
// template of the path is known.
func (s *Spans) request(call *l7.Call, c *conn.Connection, to pcommon.Map) (name string) {
	name = "HTTP"
	switch method := knownMethod(call.Method); method {
	case "":
	case methodOther:
		to.PutStr(attrMethod, methodOther)
		to.PutStr(attrMethodOriginal, keep(call.Method))
	default:
		to.PutStr(attrMethod, method)
		name = method
	}
	target := targetOf(call)
	to.PutStr(attrURLScheme, target.scheme)
	path, query := s.texts.keep(target.path), ""
	putStr(to, attrURLPath, path)
	if s.options.Query && target.query != "" {
		query = text(redactQuery(target.query))
		to.PutStr(attrURLQuery, query)
	}
	server := serverOf(call, &target, c)
	putStr(to, attrServerAddress, s.texts.keep(server.name()))
	putPort(to, attrServerPort, server.port)
	if !call.Server && path != "" && server.host != "" {
		to.PutStr(attrURLFull, fullURL(call, &target, path, query))
	}
	if call.RequestBody >= 0 {
		to.PutInt(attrRequestBodySize, call.RequestBody)
	}
	return name
}

// fullURL writes the URL with the authority as it was sent, without what may be secret.
func fullURL(call *l7.Call, target *target, path, query string) string {
	authority, userinfo := target.authority, target.userinfo
	if authority == "" {
		authority, userinfo = cutUserinfo(call.Authority)
	}
	url := make([]byte, 0, 64+len(authority)+len(path)+len(query))
	url = append(append(url, target.scheme...), "://"...)
	if userinfo {
		url = append(url, redacted+":"+redacted+"@"...)
	}
	url = append(append(url, text(authority)...), path...)
	if query != "" {
		url = append(append(url, '?'), query...)
	}
	return string(url)
}

func (s *Spans) response(call *l7.Call, to pcommon.Map) {
	if call.Status != 0 {
		to.PutInt(attrStatusCode, int64(call.Status))
	}
	if call.ResponseBody >= 0 && call.Status != 0 {
		to.PutInt(attrResponseBodySize, call.ResponseBody)
	}
}

// ends writes the two ends of the connection, as this side sees them.
func (s *Spans) ends(call *l7.Call, c *conn.Connection, to pcommon.Map) {
	local, remote := c.Local(), c.Remote()
	peer := s.texts.address(remote.Addr())
	to.PutStr(attrPeerAddress, peer)
	putPort(to, attrPeerPort, remote.Port())
	to.PutStr(attrLocalAddress, s.texts.address(local.Addr()))
	putPort(to, attrLocalPort, local.Port())
	if call.Server {
		to.PutStr(attrClientAddress, peer)
		putPort(to, attrClientPort, remote.Port())
	}
}

// keep is text for a span, which outlives its call: a call's strings point into what the next one is read
// into.
func keep(s string) string { return strings.Clone(text(s)) }

func putHeader(call *l7.Call, header l7.Header, to pcommon.Map) {
	var name string
	switch {
	case call.RPC != "" && header.Response:
		name = attrRPCResponseMetadata
	case call.RPC != "":
		name = attrRPCRequestMetadata
	case header.Response:
		name = attrResponseHeader
	default:
		name = attrRequestHeader
	}
	name += header.Name
	values, ok := to.Get(name)
	if !ok {
		values = to.PutEmpty(name)
		values.SetEmptySlice()
	}
	values.Slice().AppendEmpty().SetStr(keep(header.Value))
}
