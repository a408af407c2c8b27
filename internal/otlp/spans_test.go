package otlp

import (
	"strings"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/ebpfnet/ebpfnetreceiver/internal/l7"
	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

var identity = Identity{
	TraceID: [16]byte{1, 2, 3}, SpanID: [8]byte{4, 5}, ParentID: [8]byte{6}, TraceState: "vendor=1", Flags: 0x301,
}

// bothEnds is a connection's client end (1) and server end (2).
func bothEnds() *pipeline {
	p := newPipeline(Options{})
	p.Conn(client(1, startNs+1e9, wire.RecordConnOpen))
	p.Conn(serverEnd(2, startNs+1e9, wire.RecordConnOpen))
	return p
}

func newSpans(options Options) *Spans {
	s := NewSpans(options)
	s.SetOffset(offsetNs)
	return s
}

// spanOf is the span of one call on the end that it belongs to.
func spanOf(t *testing.T, options Options, call *l7.Call) (ptrace.Span, map[string]any) {
	t.Helper()
	p := bothEnds()
	s := newSpans(options)
	s.Add(Span{Call: call, Conn: p.get(call.ConnID), Identity: identity})
	traces := s.Take()
	require.Equal(t, 1, traces.SpanCount())
	span := traces.ResourceSpans().At(0).ScopeSpans().At(0).Spans().At(0)
	return span, span.Attributes().AsRaw()
}

func TestSpansAreAsTheGoldenFileSays(t *testing.T) {
	p := bothEnds()
	s := newSpans(Options{Version: "1.2.3", Query: true})
	add := func(call *l7.Call) { s.Add(Span{Call: call, Conn: p.get(call.ConnID), Identity: identity}) }
	add(get(1, false))
	add(get(2, true))
	broken := get(2, true)
	broken.Method, broken.Status, broken.EndNs, broken.ResponseStartNs = "BREW", 0, 0, 0
	broken.Error, broken.Capture, broken.RequestBody, broken.ResponseBody = "connection_reset", l7.Gap, -1, -1
	broken.Headers = []l7.Header{{Name: "x-tenant", Value: "a"}, {Name: "x-tenant", Value: "b"}, {Name: "server", Value: "nginx", Response: true}}
	add(broken)
	orphan := get(9, false)
	orphan.Authority = ""
	add(orphan)
	add(echo(1, false, "NOT_FOUND"))
	add(echo(2, true, "OK"))
	assert.Equal(t, 6, s.Len())
	traces := s.Take()
	assert.Zero(t, s.Len())
	goldenTraces(t, "spans", traces)
}

func TestTheStatusOfASpanIsThatOfItsSide(t *testing.T) {
	for _, c := range []struct {
		status         int
		failure        string
		client, server string // error.type
	}{
		{200, "", "", ""},
		{302, "", "", ""},
		{404, "", "404", ""},
		{500, "", "500", "500"},
		{0, "connection_reset", "connection_reset", "connection_reset"},
		{200, "truncated_body", "truncated_body", "truncated_body"},
	} {
		for id, want := range map[uint64]string{1: c.client, 2: c.server} {
			call := get(id, id == 2)
			call.Status, call.Error = c.status, c.failure
			span, attributes := spanOf(t, Options{}, call)
			if want == "" {
				assert.Equal(t, ptrace.StatusCodeUnset, span.Status().Code())
				assert.NotContains(t, attributes, attrErrorType)
				continue
			}
			assert.Equal(t, ptrace.StatusCodeError, span.Status().Code())
			assert.Equal(t, want, attributes[attrErrorType])
		}
	}
}

func TestNamesComeFromKnownMethodsAlone(t *testing.T) {
	for sent, want := range map[string]struct{ name, method, original any }{
		"GET":   {"GET", "GET", nil},
		"QUERY": {"QUERY", "QUERY", nil},
		"get":   {"HTTP", "_OTHER", "get"},
		"BREW":  {"HTTP", "_OTHER", "BREW"},
		"":      {"HTTP", nil, nil},
	} {
		call := get(2, true)
		call.Method = sent
		span, attributes := spanOf(t, Options{}, call)
		assert.Equal(t, want.name, span.Name())
		assert.Equal(t, want.method, attributes[attrMethod])
		assert.Equal(t, want.original, attributes[attrMethodOriginal])
	}
}

func TestACallThatWasNotSeenWholeSaysSoAndInventsNothing(t *testing.T) {
	call := &l7.Call{ConnID: 2, Server: true, Capture: l7.MidStream, EndNs: startNs + 5e9, RequestBody: -1, ResponseBody: -1, Status: 200}
	span, attributes := spanOf(t, Options{}, call)
	assert.Equal(t, "HTTP", span.Name())
	assert.Equal(t, span.EndTimestamp(), span.StartTimestamp())
	assert.Equal(t, map[string]any{
		attrCapture: "mid_stream", attrURLScheme: "http", attrProtocolName: "http", attrStatusCode: int64(200),
		attrServerAddress: "10.0.0.2", attrServerPort: int64(80),
		attrPeerAddress: "10.0.0.1", attrPeerPort: int64(40000), attrLocalAddress: "10.0.0.2", attrLocalPort: int64(80),
		attrClientAddress: "10.0.0.1", attrClientPort: int64(40000),
	}, attributes)
}

func TestSpansOfOneOwnerShareAResource(t *testing.T) {
	p := bothEnds()
	s := newSpans(Options{})
	for range 3 {
		for _, id := range []uint64{1, 2} {
			s.Add(Span{Call: get(id, id == 2), Conn: p.get(id), Identity: identity})
		}
	}
	traces := s.Take()
	require.Equal(t, 2, traces.ResourceSpans().Len())
	assert.Equal(t, 3, traces.ResourceSpans().At(0).ScopeSpans().At(0).Spans().Len())
	s.Add(Span{Call: get(1, false), Conn: p.get(1), Identity: identity})
	assert.Equal(t, 1, s.Take().SpanCount())
	assert.Equal(t, 6, traces.SpanCount(), "what was taken is the taker's")
}

func TestStatusTextIsTheNumber(t *testing.T) {
	assert.Equal(t, "100", statusText(100))
	assert.Equal(t, "404", statusText(404))
	assert.Equal(t, "999", statusText(999))
	assert.Equal(t, methodOther, statusText(1000))
}

// BenchmarkSpanToOTLP is what the engine does for one call of which a span is made: socket to OTLP, without parsing.

func TestSpansOutliveTheirCalls(t *testing.T) {
	memory := []byte("BREW|/pot|host.example|agent|value")
	text := unsafe.String(&memory[0], len(memory)) // as package l7 lends it: valid during the call
	part := strings.Split(text, "|")
	call := get(1, false)
	call.Method, call.Target, call.Authority, call.UserAgent = part[0], part[1], part[2], part[3]
	call.Headers = []l7.Header{{Name: "x-tenant", Value: part[4]}}
	p := bothEnds()
	s := newSpans(Options{})
	s.Add(Span{Call: call, Conn: p.get(1), Identity: Identity{TraceState: part[4]}})
	clear(memory)
	encoded, err := (&ptrace.JSONMarshaler{}).MarshalTraces(s.Take())
	require.NoError(t, err)
	assert.NotContains(t, string(encoded), `\u0000`)
}
