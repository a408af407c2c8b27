//go:build linux && (amd64 || arm64)

package kerneltest

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

func TestEachOfTenThousandShortConnectionsIsOneClientAndOneServerSpan(t *testing.T) {
	n := newNetwork(t)
	server := startNginx(t, n.server, n.server.at4(80))
	o := observe(t, n.settings())
	requests := scaled(10000)
	shortConnections(t, n.client, server, requests)
	eventually(t, "the log has all requests", func() bool { return server.lines() == requests })
	o.stop()

	requireSpansOf(t, o, server.calls())
	conns := o.engine.Stats().Connections
	o.assertAll(2*requests, int64(conns.Closed), "both ends of each connection")
	o.assertAll(requests, o.sum("network.tcp.connection.opened", "network.tcp.handshake.role", "server"))
}

func TestWhatAFullRingLosesIsInTheBooksAndNothingElseIsWrong(t *testing.T) {
	n := newNetwork(t)
	server := startNginx(t, n.server, n.server.at4(80))
	config := n.settings()
	config.Probe.RingBytes = 64 << 10 // a few dozen requests
	o := observe(t, config)
	o.lossy = true
	requests := scaled(6000)
	shortConnections(t, n.client, server, requests/2)
	conn := n.client.dial(server.at)
	browser := browse(conn)
	for i := range requests / 2 {
		status, err := browser.ask(http.MethodPost, fmt.Sprintf("/kept/%d", i), strings.Repeat("x", 5000))
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, status)
	}
	require.NoError(t, conn.Close())
	o.stop()

	payload := o.engine.Stats().Kernel.Kinds[wire.RecordPayload]
	require.NotZero(t, payload.Lost, "%+v", payload)
	require.Equal(t, payload.Submitted, o.engine.Stats().Calls.Records, "what was not lost has come")
	log := server.calls()
	status := map[string]string{}
	for of := range log {
		status[of.path] = of.status
	}
	for _, kind := range []ptrace.SpanKind{ptrace.SpanKindServer, ptrace.SpanKindClient} {
		told := map[string]bool{}
		for _, span := range o.spans(kind) {
			a := span.Attributes()
			path := text(a, "url.path")
			if path == "" {
				require.NotEmpty(t, text(a, "ebpfnet.capture"))
				continue
			}
			require.Contains(t, status, path)
			require.False(t, told[path], "%s was told twice", path)
			told[path] = true
			if got := text(a, "http.response.status_code"); got != "" {
				require.Equal(t, status[path], got, path)
			} else {
				require.NotEmpty(t, text(a, "ebpfnet.capture"), path)
			}
		}
		t.Logf("%v: %d of %d calls, with %d of %d records lost", kind, len(told), requests, payload.Lost, payload.Seen)
	}
}
