//go:build linux && (amd64 || arm64)

package kerneltest

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

var errands = []struct {
	method, path string
	body         int // bytes of the request's
}{
	{"GET", "/", 0},
	{"HEAD", "/", 0},
	{"POST", "/", 100},
	{"PUT", "/", 10000}, // more than is captured
	{"DELETE", "/nothing/", 0},
	{"GET", "/missing/", 0},
	{"GET", "/moved/", 0},
	{"PATCH", "/broken/", 10},
	{"GET", "/file/", 0},
	{"OPTIONS", "/", 0},
}

// runErrands asks for `each` different things on each of `connections` connections at the same time.
func runErrands(t *testing.T, from *namespace, server *nginx, connections, each int) {
	t.Helper()
	var busy sync.WaitGroup
	for c := range connections {
		conn := from.dial(server.at)
		busy.Go(func() {
			defer conn.Close()
			browser := browse(conn)
			for i := range each {
				errand := errands[i%len(errands)]
				path := fmt.Sprintf("%s%d/%d?secret=%d", errand.path, c, i, i)
				if _, err := browser.ask(errand.method, path, strings.Repeat("x", errand.body)); err != nil {
					assert.NoErrorf(t, err, "%s %s", errand.method, path)
					return
				}
			}
		})
	}
	busy.Wait()
	require.False(t, t.Failed())
}

func TestEachRequestIsOneClientAndOneServerSpan(t *testing.T) {
	withEachTap(t, func(t *testing.T, avoid []string) {
		n := newNetwork(t)
		server := startNginx(t, n.server, n.server.at4(80))
		config := n.settings()
		config.Probe.AvoidHooks = avoid
		o := observe(t, config)
		requireTap(t, o, avoid)

		connections, each := 50, scaled(100)
		runErrands(t, n.client, server, connections, each)
		eventually(t, "the log has all requests", func() bool { return server.lines() == connections*each })
		o.stop()

		requireSpansOf(t, o, server.calls())
		require.NotZero(t, o.engine.Stats().Kernel.Kinds[wire.RecordPayload].Seen)
	})
}

// requireSpansOf: each line of the log has one client and one server span, the former the latter's parent,
// and there are no others.
func requireSpansOf(t *testing.T, o *observer, log map[call]int) {
	t.Helper()
	servers := o.spansByCall(ptrace.SpanKindServer, "client.port")
	clients := o.spansByCall(ptrace.SpanKindClient, "network.local.port")
	if skipped := o.skipped(); skipped > 0 {
		t.Logf("the kernel skipped %d runs; of %d calls %d and %d were seen whole", skipped, len(log), len(clients), len(servers))
	}
	requireSameCalls(t, o, log, count(servers), "server spans")
	requireSameCalls(t, o, log, count(clients), "client spans")
	ids, joined := map[string]bool{}, 0
	for at, spans := range servers {
		if len(spans) != 1 || len(clients[at]) != 1 {
			continue // the log does not tell such calls apart
		}
		client, server := clients[at][0], spans[0]
		require.Equal(t, client.TraceID(), server.TraceID(), "%v", at)
		require.Equal(t, client.SpanID(), server.ParentSpanID(), "%v", at)
		require.True(t, client.ParentSpanID().IsEmpty(), "%v", at)
		ids[client.SpanID().String()], ids[server.SpanID().String()] = true, true
		joined++
	}
	require.Len(t, ids, 2*joined, "span ids are used once")
	require.NotZero(t, joined)
}

// spansByCall are the spans of calls that were seen whole. There are no others, unless the kernel skipped runs: on one
// connection for each at most.
func (o *observer) spansByCall(kind ptrace.SpanKind, port string) map[call][]ptrace.Span {
	o.t.Helper()
	calls, partly := map[call][]ptrace.Span{}, map[string][]string{}
	for _, span := range o.spans(kind) {
		a := span.Attributes()
		of := call{text(a, port), text(a, "http.request.method"), text(a, "url.path"), text(a, "http.response.status_code")}
		if capture := text(a, "ebpfnet.capture"); capture != "" {
			partly[of.port] = append(partly[of.port], fmt.Sprintf("%v was not seen whole: %s", of, capture))
			continue
		}
		calls[of] = append(calls[of], span)
		require.LessOrEqual(o.t, span.StartTimestamp(), span.EndTimestamp())
		_, queried := a.Get("url.query")
		require.False(o.t, queried, "a query string is nobody's business unless asked for")
	}
	require.LessOrEqual(o.t, uint64(len(partly)), o.skipped(), "%v", partly)
	return calls
}

func count(calls map[call][]ptrace.Span) map[call]int {
	counts := map[call]int{}
	for of, spans := range calls {
		counts[of] = len(spans)
	}
	return counts
}

// requireSameCalls: none more, and none less but on one connection for each run that the kernel skipped: what follows a
// hole may be lost up to the connection's end. It shows the first few differences: there may be thousands.
func requireSameCalls(t *testing.T, o *observer, want, got map[call]int, what string) {
	t.Helper()
	var differences []string
	short := map[string]bool{}
	for of := range want {
		if got[of] < want[of] {
			short[of.port] = true
		}
	}
	excused := uint64(len(short)) <= o.skipped()
	for of := range want {
		if got[of] > want[of] || got[of] < want[of] && !excused {
			differences = append(differences, fmt.Sprintf("%v: %d lines, %d spans", of, want[of], got[of]))
		}
	}
	for of := range got {
		if want[of] == 0 {
			differences = append(differences, fmt.Sprintf("%v: no line, %d spans", of, got[of]))
		}
	}
	slices.Sort(differences)
	if len(differences) > 0 {
		require.Failf(t, what+" differ from the log", "%d times:\n%s", len(differences),
			strings.Join(differences[:min(len(differences), 30)], "\n"))
	}
}
