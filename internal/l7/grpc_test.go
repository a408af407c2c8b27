package l7

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// echoes answers each message with so many, then with a status.
type echoes struct{}

func (echoes) stream(_ any, s grpc.ServerStream) error {
	for {
		var in wrapperspb.Int32Value
		switch err := s.RecvMsg(&in); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case in.Value >= 100:
			return status.Error(codes.Code(in.Value-100), "secret")
		case in.Value < 0:
			<-s.Context().Done()
			return s.Context().Err()
		}
		for range in.Value {
			if err := s.SendMsg(&in); err != nil {
				return err
			}
		}
	}
}

func TestGRPCCallsAreTold(t *testing.T) {
	w := newWiretap()
	l, dial := w.listen(t)
	server := grpc.NewServer()
	server.RegisterService(&grpc.ServiceDesc{ServiceName: "test.v1.Echo", HandlerType: (*any)(nil), Streams: []grpc.StreamDesc{
		{StreamName: "Say", Handler: echoes{}.stream, ServerStreams: true, ClientStreams: true},
	}}, echoes{})
	go func() { _ = server.Serve(l) }()
	client, err := grpc.NewClient("passthrough:///echo.test:50051", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return dial(ctx) }))
	require.NoError(t, err)

	both := &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}
	call := func(ctx context.Context, method string, messages ...int32) error {
		s, err := client.NewStream(ctx, both, method)
		if err != nil {
			return err
		}
		for _, n := range messages {
			if err := s.SendMsg(wrapperspb.Int32(n)); err != nil {
				break
			}
		}
		if err := s.CloseSend(); err != nil {
			return err
		}
		for {
			var out wrapperspb.Int32Value
			if err := s.RecvMsg(&out); err != nil {
				return err
			}
		}
	}
	want := map[string]int{}
	for i := range 20 {
		require.ErrorIs(t, call(t.Context(), "/test.v1.Echo/Say", 1), io.EOF)
		require.ErrorIs(t, call(t.Context(), "/test.v1.Echo/Say", 3, 0, 4), io.EOF)
		want["/test.v1.Echo/Say OK 1/1 "]++
		want["/test.v1.Echo/Say OK 3/7 "]++
		if code := codes.Code(i); code > 0 && code <= codes.Unauthenticated && code != codes.DeadlineExceeded {
			require.Equal(t, code, status.Code(call(t.Context(), "/test.v1.Echo/Say", 100+int32(code))))
			want[fmt.Sprintf("/test.v1.Echo/Say %s 1/0 ", statusNames[i])]++
		}
	}
	require.Equal(t, codes.Unimplemented, status.Code(call(t.Context(), "/test.v1.Echo/None", 1)))
	late, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	require.Equal(t, codes.DeadlineExceeded, status.Code(call(late, "/test.v1.Echo/Say", -1)))
	cancel()
	require.NoError(t, client.Close())
	server.GracefulStop()

	for _, end := range w.ends {
		calls, stats := end.see(t)
		got := map[string]int{}
		for _, c := range calls {
			assert.Equal(t, "grpc", c.RPC)
			assert.Equal(t, "echo.test:50051", c.Authority)
			switch {
			case c.RPCStatus == "UNIMPLEMENTED" && c.Target == "/test.v1.Echo/None":
			case c.Target == "/test.v1.Echo/Say" && (c.Error == "CANCEL" || c.RPCStatus == "DEADLINE_EXCEEDED"):
			default:
				got[fmt.Sprintf("%s %s %d/%d %s", c.Target, c.RPCStatus, c.RequestMessages, c.ResponseMessages, c.Error)]++
				assert.Equal(t, Complete, c.Capture)
			}
		}
		assert.Equal(t, want, got, "client %v", end.client)
		assert.Len(t, calls, 20*2+15+2, "client %v", end.client)
		assert.Equal(t, [Reasons]uint64{}, stats.GivenUp)
	}
}
