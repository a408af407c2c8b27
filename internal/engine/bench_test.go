package engine

import (
	"context"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

// noHost is a source of records of a host of which nothing is known.
type noHost struct{}

func (noHost) Run(context.Context, wire.Handler) error       { return nil }
func (noHost) Facts() wire.Facts                             { return noHost{} }
func (noHost) Close() error                                  { return nil }
func (noHost) CgroupPath(uint64) (string, bool)              { return "", false }
func (noHost) Process(uint32) (wire.Process, bool)           { return wire.Process{Executable: "nginx"}, true }
func (noHost) Namespace(uint32) (wire.Namespace, bool)       { return wire.Namespace{}, false }
func (noHost) Symbol(uint64) (wire.Symbol, bool)             { return wire.Symbol{}, false }
func (noHost) EnumName(enum string, n uint32) (string, bool) { return "", false }

const (
	benchRequest = "GET /api/v1/items/4711?fields=name,price&limit=20 HTTP/1.1\r\n" +
		"Host: shop.example.com\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36\r\n" +
		"Accept: application/json\r\nAccept-Encoding: gzip, deflate, br\r\nConnection: keep-alive\r\n" +
		"Cookie: session=0123456789abcdef0123456789abcdef; theme=dark\r\n" +
		"traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n\r\n"
	benchAnswer = "HTTP/1.1 200 OK\r\nServer: nginx/1.26.0\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\n" +
		"Content-Type: application/json\r\nContent-Length: 2048\r\nConnection: keep-alive\r\n\r\n"
)

// served is a connection on which one call after the other is served.
type served struct {
	*pipeline
	request, answer         wire.PayloadRecord
	requestData, answerData []byte
}

func serve(sink Sink) *served {
	e := &Engine{source: noHost{}, sink: sink, config: Config{Trace: Trace{
		Ratio: 1, PerSecond: 1e9, JoinNetworks: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")},
	}}}
	s := &served{pipeline: newPipeline(context.Background(), e), requestData: []byte(benchRequest),
		answerData: []byte(benchAnswer + string(make([]byte, 2048)))}
	s.Begin(&wire.Begin{TimeNs: 1e9})
	local, remote := netip.MustParseAddrPort("10.0.0.2:80"), netip.MustParseAddrPort("10.0.0.1:40000")
	open := &wire.ConnRecord{
		Header: wire.RecordHeader{TimeNs: 1e9, Kind: wire.RecordConnOpen}, ID: 1, Owner: wire.OwnerRef{Netns: 1, TGID: 80},
		Pair:     wire.AddressPair{Local: local.Addr().As16(), Remote: remote.Addr().As16(), LocalPort: 80, RemotePort: 40000, Protocol: 6},
		OpenedNs: 1e9, EstablishedNs: 1e9, State: 1, Role: wire.RoleServer,
		Flags: wire.ConnEstablished | wire.ConnSequences, FirstReceived: 100, FirstSent: 200,
	}
	s.Conn(open)
	s.request = wire.PayloadRecord{ConnID: 1, Direction: wire.DirectionReceive, Sequence: 100, Length: uint32(len(s.requestData)), Captured: uint32(len(s.requestData))}
	s.answer = wire.PayloadRecord{ConnID: 1, Direction: wire.DirectionTransmit, Sequence: 200, Length: uint32(len(s.answerData)), Captured: 1024}
	s.request.Header.TimeNs = 2e9
	return s
}

func (s *served) next() {
	s.request.Header.TimeNs += 1e6
	s.answer.Header.TimeNs = s.request.Header.TimeNs + 1e5
	s.Payload(&s.request, s.requestData)
	s.Payload(&s.answer, s.answerData[:s.answer.Captured])
	s.request.Sequence += s.request.Length
	s.answer.Sequence += s.answer.Length
}

func metricsAlone() Sink {
	return Sink{Metrics: func(context.Context, pmetric.Metrics) error { return nil }}
}

func TestACallFromItsRecordsIntoMetricsAllocatesNothing(t *testing.T) {
	s := serve(metricsAlone())
	defer s.close()
	for range 100 {
		s.next()
	}
	require.Zero(t, testing.AllocsPerRun(1000, s.next))
	require.Greater(t, s.stats.Spans.Calls, uint64(1000))
}

// BenchmarkCall is all that a call costs between two records and what the Collector gets: its part of metrics,
// or a span as OTLP bytes.
func BenchmarkCall(b *testing.B) {
	b.Run("metrics", func(b *testing.B) {
		s := serve(metricsAlone())
		defer s.close()
		b.ReportAllocs()
		for b.Loop() {
			s.next()
		}
		if s.stats.Spans.Calls != uint64(b.N) {
			b.Fatal(s.stats.Spans.Calls, "calls of", b.N)
		}
	})
	b.Run("span", func(b *testing.B) {
		sink := metricsAlone()
		sink.Traces = func(context.Context, ptrace.Traces) error { return nil }
		s := serve(sink)
		defer s.close()
		marshaler := ptrace.ProtoMarshaler{}
		b.ReportAllocs()
		for b.Loop() {
			s.next()
			if s.spans.Len() >= 500 {
				if _, err := marshaler.MarshalTraces(s.spans.Take()); err != nil {
					b.Fatal(err)
				}
			}
		}
		if s.stats.Spans.Spans != uint64(b.N) {
			b.Fatal(s.stats.Spans.Spans, "spans of", b.N)
		}
	})
}
