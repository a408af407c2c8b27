//go:build linux && (amd64 || arm64)

package kerneltest

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/ptrace"
	xhttp2 "golang.org/x/net/http2"
)

// service is an address that is nobody's: what goes there is sent on to a server, as kube-proxy does it.
var service = netip.MustParseAddr("10.96.0.10")

const kubeProxy = `
table ip nat {
	chain services {
		type nat hook prerouting priority dstnat;
		ip daddr 10.96.0.10 tcp dport 80 dnat to 10.77.0.2:8081
		ip daddr 10.96.0.10 tcp dport 81 dnat to 10.77.0.2:8082
	}
}
`

// ownNamespace watches what a collector's own network namespace holds, and makes a span of each call.
const ownNamespace = `
collection_interval: 200ms
scope: {network_namespaces: [self]}
http:
  capture_bytes: 65536 # all of every answer: these are chunked
  spans: {ratio: 1, per_second: 1e6}
ring_buffer: {size: 67108864}
`

// startGoServer serves HTTP/1 or, in clear text, HTTP/2.
func startGoServer(t *testing.T, n *namespace, at netip.AddrPort, handler http.Handler, version int) {
	t.Helper()
	var protocols http.Protocols
	protocols.SetHTTP1(version == 1)
	protocols.SetUnencryptedHTTP2(version == 2)
	server := &http.Server{Handler: handler, Protocols: &protocols}
	listener := n.listen("tcp4", at)
	var serving sync.WaitGroup
	serving.Go(func() { assert.ErrorIs(t, server.Serve(listener), http.ErrServerClosed) })
	t.Cleanup(func() {
		assert.NoError(t, server.Shutdown(context.Background()))
		serving.Wait()
	})
}

// carried is the trace that every third request carries.
func carried(i int) (trace, span string, ok bool) {
	return fmt.Sprintf("4bf92f3577b34da6a3ce929d0e%06x", i), fmt.Sprintf("00f067aa0b%06x", i), i%3 == 0
}

func request(t *testing.T, i int) *http.Request {
	t.Helper()
	request, err := http.NewRequest(http.MethodGet, fmt.Sprintf("http://service.test/%d", i), nil)
	require.NoError(t, err)
	if trace, span, ok := carried(i); ok {
		request.Header.Set("traceparent", "00-"+trace+"-"+span+"-01")
	}
	return request
}

func TestTwoCollectorsThatNeverMeetJoinEachCallAcrossDNAT(t *testing.T) {
	n := newNetwork(t)
	n.client.ip("route", "add", service.String()+"/32", "via", n.server.v4.String())
	n.server.firewall(kubeProxy)
	log := &goCalls{calls: map[call]int{}}
	startGoServer(t, n.server, n.server.at4(8081), log, 1)
	startGoServer(t, n.server, n.server.at4(8082), log, 2)
	clients, servers := n.client.collect(ownNamespace), n.server.collect(ownNamespace)

	http2, err := (&xhttp2.Transport{}).NewClientConn(n.client.dial(netip.AddrPortFrom(service, 81)))
	require.NoError(t, err)
	each := scaled(600)
	next := make(chan int)
	var busy sync.WaitGroup
	for range 8 {
		conn := n.client.dial(netip.AddrPortFrom(service, 80))
		browser := browse(conn)
		busy.Go(func() {
			for i := range next {
				request := request(t, i)
				if i%2 == 0 {
					response, err := http2.RoundTrip(request)
					if assert.NoError(t, err) {
						_, err = io.Copy(io.Discard, response.Body)
						assert.NoError(t, err)
						response.Body.Close()
					}
					continue
				}
				_, err := browser.ask(request.Method, request.URL.Path, "", "traceparent: "+request.Header.Get("traceparent"))
				assert.NoError(t, err)
			}
			assert.NoError(t, conn.Close())
		})
	}
	for i := range each {
		next <- i
	}
	close(next)
	busy.Wait()
	require.NoError(t, http2.Close())
	clients.stop()
	servers.stop()

	require.Len(t, log.calls, each)
	require.Empty(t, clients.spans(ptrace.SpanKindServer))
	require.Empty(t, servers.spans(ptrace.SpanKindClient))
	made := clients.spansByCall(ptrace.SpanKindClient, "network.local.port")
	served := servers.spansByCall(ptrace.SpanKindServer, "client.port")
	requireSameCalls(t, &clients.observer, log.calls, count(made), "client spans")
	requireSameCalls(t, &servers.observer, log.calls, count(served), "server spans")
	ids := map[string]bool{}
	for of, spans := range served {
		if len(made[of]) == 0 {
			continue // skipped by the kernel
		}
		client, server := made[of][0], spans[0]
		require.Equal(t, service.String(), text(client.Attributes(), "network.peer.address"))
		require.Equal(t, n.server.v4.String(), text(server.Attributes(), "network.local.address"))
		ids[client.SpanID().String()], ids[server.SpanID().String()] = true, true
		var i int
		_, err := fmt.Sscanf(of.path, "/%d", &i)
		require.NoError(t, err)
		require.Equal(t, client.TraceID(), server.TraceID(), "%v", of)
		if trace, parent, ok := carried(i); ok {
			require.Equal(t, trace, client.TraceID().String(), "%v", of)
			require.Equal(t, parent, client.ParentSpanID().String(), "%v", of)
			require.Equal(t, parent, server.ParentSpanID().String(), "%v", of)
			continue
		}
		require.Equal(t, client.SpanID(), server.ParentSpanID(), "%v", of)
		require.True(t, client.ParentSpanID().IsEmpty(), "%v", of)
	}
	if clients.skipped()+servers.skipped() == 0 {
		require.Len(t, ids, 2*each, "span ids are used once")
	}
}
