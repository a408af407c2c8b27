//go:build linux && (amd64 || arm64)

package kerneltest

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/ptrace"
	xhttp2 "golang.org/x/net/http2"
)

// atATime are how many streams are open on a connection.
var atATime = []int{1, 2, 10, 100}

func startHTTP2Nginx(t *testing.T, n *namespace, at netip.AddrPort) *nginx {
	t.Helper()
	return startNginxListening(t, n, at.String()+" http2", at)
}

// requireJoined: each of these calls has one client and one server span, the former the latter's parent, and
// there are no others.
func requireJoined(t *testing.T, o *observer, log map[call]int) {
	t.Helper()
	servers, clients := o.spans(ptrace.SpanKindServer), o.spans(ptrace.SpanKindClient)
	requireSameCalls(t, o, log, count(o.spansByCall(ptrace.SpanKindServer, "client.port")), "server spans")
	requireSameCalls(t, o, log, count(o.spansByCall(ptrace.SpanKindClient, "network.local.port")), "client spans")
	parents := map[string]string{} // of client spans, the port
	for _, span := range clients {
		parents[span.TraceID().String()+span.SpanID().String()] = text(span.Attributes(), "network.local.port")
		require.Equal(t, "2", text(span.Attributes(), "network.protocol.version"))
	}
	require.Len(t, parents, len(clients), "span ids are used once")
	alone := map[string]bool{} // the connections of spans without the other one
	for _, span := range servers {
		parent := span.TraceID().String() + span.ParentSpanID().String()
		if parents[parent] == "" {
			alone[text(span.Attributes(), "client.port")] = true
		}
		delete(parents, parent)
	}
	for _, port := range parents {
		alone[port] = true
	}
	require.LessOrEqual(t, uint64(len(alone)), o.skipped(), "a call may lack one of its spans after a skipped run")
}

func TestEachHTTP2RequestOfNginxIsOneClientAndOneServerSpan(t *testing.T) {
	need(t, "h2load")
	for _, streams := range atATime {
		t.Run(fmt.Sprint(streams), func(t *testing.T) {
			n := newNetwork(t)
			server := startHTTP2Nginx(t, n.server, n.server.at4(80))
			o := observe(t, n.settings())
			requests := scaled(3000)
			args := []string{"-n", fmt.Sprint(requests), "-c", "4", "-m", fmt.Sprint(streams)}
			for _, path := range []string{"/a", "/b?secret=1", "/missing/c", "/nothing/d", "/moved/e", "/broken/f", "/file/g"} {
				args = append(args, "http://"+server.at.String()+path)
			}
			n.client.run("h2load", args...)
			eventually(t, "the log has all requests", func() bool { return server.lines() == requests })
			o.stop()
			requireJoined(t, o, server.calls())
		})
	}
}

// goCalls is what a Go server says of the requests that it had.
type goCalls struct {
	mu    sync.Mutex
	calls map[call]int
}

func (c *goCalls) ServeHTTP(out http.ResponseWriter, in *http.Request) {
	_, _ = io.Copy(io.Discard, in.Body)
	status := []int{200, 404, 503, 204}[len(in.URL.Path)%4]
	out.WriteHeader(status)
	if status != http.StatusNoContent {
		_, _ = out.Write(make([]byte, len(in.URL.Path)*997%30000))
	}
	_, port, _ := net.SplitHostPort(in.RemoteAddr)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls[call{port, in.Method, in.URL.Path, fmt.Sprint(status)}]++
}

func TestEachHTTP2RequestOfAGoServerIsOneClientAndOneServerSpan(t *testing.T) {
	for _, streams := range atATime {
		t.Run(fmt.Sprint(streams), func(t *testing.T) {
			n := newNetwork(t)
			log := &goCalls{calls: map[call]int{}}
			var plain http.Protocols
			plain.SetUnencryptedHTTP2(true)
			server := &http.Server{Handler: log, Protocols: &plain}
			at := n.server.at4(8080)
			ended := make(chan error, 1)
			listener := n.server.listen("tcp4", at)
			go func() { ended <- server.Serve(listener) }()
			o := observe(t, n.settings())

			client, err := (&xhttp2.Transport{}).NewClientConn(n.client.dial(at))
			require.NoError(t, err)
			each := scaled(1200)
			next := make(chan int)
			var busy sync.WaitGroup
			for range streams {
				busy.Go(func() {
					for i := range next {
						body := strings.NewReader(strings.Repeat("x", i*31%20000))
						request, err := http.NewRequest([]string{"GET", "POST", "PUT"}[i%3], fmt.Sprintf("http://server.test/%s/%d", strings.Repeat("p", i%17), i), body)
						assert.NoError(t, err)
						response, err := client.RoundTrip(request)
						if assert.NoError(t, err) {
							_, err = io.Copy(io.Discard, response.Body)
							assert.NoError(t, err)
							response.Body.Close()
						}
					}
				})
			}
			for i := range each {
				next <- i
			}
			close(next)
			busy.Wait()
			require.NoError(t, client.Close())
			require.NoError(t, server.Shutdown(context.Background()))
			require.ErrorIs(t, <-ended, http.ErrServerClosed)
			o.stop()
			requireJoined(t, o, log.calls)
		})
	}
}
