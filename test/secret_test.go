//go:build linux && (amd64 || arm64)

package kerneltest

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
	xhttp2 "golang.org/x/net/http2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

const (
	secret  = "kR7tQz9LwX2vBn5M" // in whatever nobody asked for
	visible = "Yh3pVd8JsC6gFk1T" // in what is told
)

// leak answers with the secret wherever an answer can hold one.
func leak(out http.ResponseWriter, in *http.Request) {
	_, _ = io.Copy(io.Discard, in.Body)
	for _, name := range []string{"Set-Cookie", "X-Secret", "Location", "Server", "Trailer:X-After"} {
		out.Header().Set(name, secret)
	}
	out.WriteHeader(http.StatusUnauthorized)
	_, _ = io.WriteString(out, secret)
}

// betray asks with the secret wherever a request can hold one.
func betray(t *testing.T, version int, body io.Reader) *http.Request {
	t.Helper()
	request, err := http.NewRequest(http.MethodPost, fmt.Sprintf("http://server.test/%s/%d?%s&token=%s#%s", visible, version, secret, secret, secret), body)
	require.NoError(t, err)
	request.SetBasicAuth(secret, secret)
	for _, name := range []string{"Cookie", "Referer", "X-Api-Key", "X-Forwarded-For", "Origin"} {
		request.Header.Set(name, secret)
	}
	return request
}

func TestASecretIsInNoExportedByte(t *testing.T) {
	n := newNetwork(t)
	n.server.firewall(fmt.Sprintf(wall, "input"))
	startGoServer(t, n.server, n.server.at4(8081), http.HandlerFunc(leak), 1)
	startGoServer(t, n.server, n.server.at4(8082), http.HandlerFunc(leak), 2)
	refuse := func(_ any, s grpc.ServerStream) error {
		s.SetTrailer(metadata.Pairs("x-trailer", secret))
		if err := s.SendHeader(metadata.Pairs("x-header", secret)); err != nil {
			return err
		}
		if err := s.SendMsg(wrapperspb.String(secret)); err != nil {
			return err
		}
		return status.Error(codes.PermissionDenied, secret)
	}
	calls := grpc.NewServer(grpc.UnknownServiceHandler(refuse))
	listener := n.server.listen("tcp4", n.server.at4(8083))
	var serving sync.WaitGroup
	serving.Go(func() { assert.NoError(t, calls.Serve(listener)) })
	o := observe(t, n.settings())

	conn := n.client.dial(n.server.at4(8081))
	browser := browse(conn)
	for _, target := range []string{"", "http://" + secret + ":" + secret + "@server.test"} {
		request := betray(t, 1, strings.NewReader(secret))
		request.URL.Opaque = target + "/" + visible + "/1"
		require.NoError(t, request.Write(browser.out))
		require.NoError(t, browser.out.Flush())
		response, err := http.ReadResponse(browser.in, request)
		require.NoError(t, err)
		_, err = io.Copy(io.Discard, response.Body)
		require.NoError(t, err)
		require.Equal(t, http.StatusUnauthorized, response.StatusCode)
	}
	// A request that is cut off, a method and a message that are none.
	_, err := io.WriteString(conn, "GET /"+visible+"?"+secret+" HTTP/1.1\r\nX-Secret: "+secret)
	require.NoError(t, err)
	require.NoError(t, conn.Close())
	other := n.client.dial(n.server.at4(8081))
	_, err = io.WriteString(other, "GET /"+visible+"?"+secret+" HTTP/1.1\r\n"+secret+"\r\n\r\n"+secret)
	require.NoError(t, err)
	_, _ = io.Copy(io.Discard, other)
	require.NoError(t, other.Close())

	http2, err := (&xhttp2.Transport{}).NewClientConn(n.client.dial(n.server.at4(8082)))
	require.NoError(t, err)
	for range 3 { // the first fills HPACK's table, the others point into it
		response, err := http2.RoundTrip(betray(t, 2, strings.NewReader(secret)))
		require.NoError(t, err)
		_, err = io.Copy(io.Discard, response.Body)
		require.NoError(t, err)
		response.Body.Close()
	}
	require.NoError(t, http2.Close())

	client, err := grpc.NewClient("passthrough:///server.test:8083", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return n.client.tryDial(ctx, n.server.at4(8083))
		}))
	require.NoError(t, err)
	for range 3 {
		with := metadata.AppendToOutgoingContext(t.Context(), "authorization", secret, "x-blob-bin", secret, "x-tenant", secret)
		err = client.Invoke(with, "/"+visible+".Service/Call", wrapperspb.String(secret), &wrapperspb.StringValue{})
		require.Equal(t, codes.PermissionDenied, status.Code(err))
	}
	require.NoError(t, client.Close())
	calls.GracefulStop()
	serving.Wait()
	// Drops, for a packet's bytes are nobody's business either.
	n.client.do(func() {
		socket, err := net.Dial("udp", n.server.at4(7001).String())
		if assert.NoError(t, err) {
			_, err = io.WriteString(socket, secret)
			assert.NoError(t, err)
			assert.NoError(t, socket.Close())
		}
	})
	eventually(t, "the firewall saw the datagram", func() bool { return n.server.counted()["udp4"] == 1 })
	o.stop()

	require.NotEmpty(t, o.events("network.packet.drop"))
	lacking := 3 * int(o.skipped()) // a hole may take all calls of a connection
	require.GreaterOrEqual(t, len(o.spans(ptrace.SpanKindServer))+lacking, 2+1+1+3+3)
	found := 0
	for signal, batches := range map[string][]string{
		"metrics": texts(t, (&pmetric.ProtoMarshaler{}).MarshalMetrics, o.metrics),
		"logs":    texts(t, (&plog.ProtoMarshaler{}).MarshalLogs, o.logs),
		"traces":  texts(t, (&ptrace.ProtoMarshaler{}).MarshalTraces, o.traces),
	} {
		require.NotEmpty(t, batches, signal)
		for _, batch := range batches {
			require.NotContains(t, batch, secret, signal)
			found += strings.Count(batch, visible)
		}
	}
	require.GreaterOrEqual(t, found, max(1, 20-4*lacking), "what may be seen, is")
}
