//go:build linux && (amd64 || arm64)

package kerneltest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// rpcBook is what one end of a gRPC connection says of its calls, through grpc-go's own statistics.
type rpcBook struct {
	mu    sync.Mutex
	calls map[string]*rpcCall // by method: each call has its own
	twice []string
}

type rpcCall struct {
	code           codes.Code
	ended          bool
	received, sent int // messages
}

func (b *rpcBook) TagRPC(ctx context.Context, info *stats.RPCTagInfo) context.Context {
	method := strings.TrimPrefix(info.FullMethodName, "/")
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.calls[method] != nil {
		b.twice = append(b.twice, method)
	}
	c := &rpcCall{}
	b.calls[method] = c
	return context.WithValue(ctx, b, c)
}

func (b *rpcBook) HandleRPC(ctx context.Context, event stats.RPCStats) {
	c := ctx.Value(b).(*rpcCall)
	b.mu.Lock()
	defer b.mu.Unlock()
	switch event := event.(type) {
	case *stats.InPayload:
		c.received++
	case *stats.OutPayload:
		c.sent++
	case *stats.End:
		c.code, c.ended = status.Code(event.Error), true
	}
}

func (b *rpcBook) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }
func (b *rpcBook) HandleConn(context.Context, stats.ConnStats)                       {}

func (b *rpcBook) allEnded() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range b.calls {
		if !c.ended {
			return false
		}
	}
	return true
}

// rpcNames are the names of codes as they are sent and told; Code.String is another spelling.
var rpcNames = []string{"OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND",
	"ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE",
	"UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED"}

// serveRPC answers by what the method is called: its service is the kind of the call.
func serveRPC(_ any, s grpc.ServerStream) error {
	method, _ := grpc.MethodFromServerStream(s)
	var kind string
	var number, code int
	if _, err := fmt.Sscanf(strings.NewReplacer("/", " ", "_", " ").Replace(method), " test.%s Call %d %d", &kind, &number, &code); err != nil {
		return status.Error(codes.Internal, method)
	}
	replies := 0
	for {
		in := &wrapperspb.BytesValue{}
		err := s.RecvMsg(in)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		switch kind {
		case "Bidirectional", "Cancelled":
			if err := s.SendMsg(in); err != nil {
				return err
			}
		case "Late":
			<-s.Context().Done()
			return s.Context().Err()
		case "ServerStreaming":
			replies = 3 + number%3
		case "Refused":
			return status.Error(codes.Code(code), "as you like")
		default: // Unary, ClientStreaming
			replies = 1
		}
	}
	for range replies {
		if err := s.SendMsg(wrapperspb.Bytes(make([]byte, number*97%20000))); err != nil {
			return err
		}
	}
	if code != 0 { // after messages, unlike Refused
		return status.Error(codes.Code(code), "not that well")
	}
	return nil
}

// rpcKinds are what a client does; a call of each comes in turn.
var rpcKinds = []string{"Unary", "ServerStreaming", "ClientStreaming", "Bidirectional", "Refused", "Failing"}

func callRPC(ctx context.Context, client *grpc.ClientConn, kind string, number int) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	code, messages := 0, 1
	switch kind {
	case "ClientStreaming", "Bidirectional":
		messages = 2 + number%4
	case "Refused", "Failing":
		code = 1 + number%16
	case "Late":
		ctx, cancel = context.WithTimeout(ctx, time.Second)
		defer cancel()
	}
	both := &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}
	s, err := client.NewStream(ctx, both, fmt.Sprintf("/test.%s/Call_%d_%d", kind, number, code))
	if err != nil {
		return err
	}
	for range messages {
		if err := s.SendMsg(wrapperspb.Bytes(make([]byte, number*31%9000))); err != nil {
			break // RecvMsg tells why
		}
	}
	out := &wrapperspb.BytesValue{}
	if kind == "Cancelled" {
		if err := s.RecvMsg(out); err != nil {
			return err
		}
		cancel()
	} else if err := s.CloseSend(); err != nil {
		return err
	}
	for err == nil {
		err = s.RecvMsg(out)
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	if want := codes.Code(code); want != 0 && status.Code(err) == want ||
		kind == "Late" && status.Code(err) == codes.DeadlineExceeded || kind == "Cancelled" && status.Code(err) == codes.Canceled {
		return nil
	}
	return err
}

func TestEachGRPCCallIsOneClientAndOneServerSpan(t *testing.T) {
	for _, streams := range atATime {
		t.Run(fmt.Sprint(streams), func(t *testing.T) {
			n := newNetwork(t)
			at := n.server.at4(50051)
			served, made := &rpcBook{calls: map[string]*rpcCall{}}, &rpcBook{calls: map[string]*rpcCall{}}
			server := grpc.NewServer(grpc.StatsHandler(served), grpc.UnknownServiceHandler(serveRPC))
			listener := n.server.listen("tcp4", at)
			var busy sync.WaitGroup
			busy.Go(func() { assert.NoError(t, server.Serve(listener)) })
			o := observe(t, n.settings())

			client, err := grpc.NewClient("passthrough:///calls.test:50051",
				grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithStatsHandler(made),
				grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return n.client.tryDial(ctx, at) }))
			require.NoError(t, err)
			next := make(chan func() error)
			var callers sync.WaitGroup
			for range streams {
				callers.Go(func() {
					for call := range next {
						assert.NoError(t, call())
					}
				})
			}
			calls := scaled(1200)
			for i := range calls {
				kind := rpcKinds[i%len(rpcKinds)]
				switch {
				case i%200 == 100: // on a connection that stands: else the server may never hear of it
					kind = "Late"
				case i%20 == 15:
					kind = "Cancelled"
				}
				next <- func() error { return callRPC(t.Context(), client, kind, i) }
			}
			close(next)
			callers.Wait()
			eventually(t, "the server has ended all calls", served.allEnded)
			require.NoError(t, client.Close())
			server.GracefulStop()
			busy.Wait()
			o.stop()

			require.Len(t, served.calls, calls)
			require.Len(t, made.calls, calls)
			require.Empty(t, served.twice)
			clients := requireRPCs(t, o, ptrace.SpanKindClient, made)
			servers := requireRPCs(t, o, ptrace.SpanKindServer, served)
			for method, span := range servers {
				if parent, ok := clients[method]; ok {
					require.Equal(t, parent.TraceID(), span.TraceID(), method)
					require.Equal(t, parent.SpanID(), span.ParentSpanID(), method)
				}
			}
		})
	}
}

// requireRPCs: each call of the book has one span, with its status and messages, and there are no others.
func requireRPCs(t *testing.T, o *observer, kind ptrace.SpanKind, book *rpcBook) map[string]ptrace.Span {
	t.Helper()
	spans := map[string]ptrace.Span{}
	for _, span := range o.spans(kind) {
		a := span.Attributes()
		method := text(a, "rpc.method")
		excused := o.skipped() > 0 && text(a, "ebpfnet.capture") != ""
		if excused && method == "" { // what a skipped run would have told was needed to read its name
			continue
		}
		require.NotContains(t, spans, method, "%v: two spans", kind)
		_, called := book.calls[method]
		require.True(t, called, "%v: nobody made this call: %v", kind, a.AsRaw())
		spans[method] = span
		if excused {
			continue
		}
		require.Empty(t, text(a, "ebpfnet.capture"), "%v %s", kind, method)
		require.Equal(t, "grpc", text(a, "rpc.system.name"))
		require.Equal(t, "calls.test", text(a, "server.address"))
		require.Equal(t, method, span.Name())
		requireOutcome(t, kind, method, a, book.calls[method])
	}
	if o.skipped() == 0 {
		require.Len(t, spans, len(book.calls), "%v spans", kind)
	}
	return spans
}

// requireOutcome holds what a span says of a call's end against what that end's own gRPC says.
func requireOutcome(t *testing.T, kind ptrace.SpanKind, method string, a pcommon.Map, of *rpcCall) {
	t.Helper()
	told, failure := text(a, "rpc.status_code"), text(a, "error.type")
	if of.code == codes.Canceled || of.code == codes.DeadlineExceeded {
		// Whoever gives up says so to itself: on the wire there is a reset, or the answer that it crossed.
		if told == "" {
			require.Contains(t, []string{"CANCEL", "NO_ERROR"}, failure, "%v %s", kind, method)
			return
		}
	}
	require.Equal(t, rpcNames[of.code], told, "%v %s", kind, method)
	in, out := of.received, of.sent
	if kind == ptrace.SpanKindClient {
		in, out = out, in
	}
	requests, responses := text(a, "ebpfnet.rpc.request.message.count"), text(a, "ebpfnet.rpc.response.message.count")
	require.Equal(t, fmt.Sprint(out), responses, "%v %s", kind, method)
	if of.code == codes.OK { // else the server may have ended the call before it had read all
		require.Equal(t, fmt.Sprint(in), requests, "%v %s", kind, method)
	}
}
