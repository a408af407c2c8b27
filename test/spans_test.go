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

// taps are the ways to see payload, in the loader's order of preference.
var taps = []string{
	"fexit/tcp_sendmsg_locked+tcp_recvmsg",
	"tp_btf/sock_send_length+sock_recv_length",
	"kprobe/tcp_sendmsg_locked+tcp_recvmsg",
	"raw_tp/sys_exit",
}

// withEachTap runs a test once per tap, by switching off those that would be preferred.
func withEachTap(t *testing.T, test func(t *testing.T, avoid []string)) {
	for i, tap := range taps {
		t.Run(strings.ReplaceAll(tap, "/", "_"), func(t *testing.T) { test(t, taps[:i]) })
	}
}

// requireTap skips the test where the kernel refused the tap, and says why. The lab's kernels may not, unless
// the hook is newer than they are.
func requireTap(t *testing.T, o *observer, avoid []string) {
	t.Helper()
	want := taps[len(avoid)]
	hook, refused := o.hook("payload")
	if hook == want {
		return
	}
	reasons := ""
	for _, r := range refused {
		if r.Hook == want {
			reasons = r.Reason
		}
	}
	// sock_send_length is a tracepoint since 6.3; trampolines came to arm64 in 6.4.
	absent := strings.HasPrefix(want, "tp_btf/") && olderThan(t, 6, 3) ||
		strings.HasPrefix(want, "fexit/") && arm64 && olderThan(t, 6, 4)
	require.NotEmpty(t, reasons)
	if inLab() {
		require.True(t, absent, "a stock kernel refused %s: %s", want, reasons)
		require.Contains(t, taps[len(avoid)+1:], hook, "the next best, which the next of these tests is about")
	}
	t.Skipf("this kernel refuses %s: %s", want, reasons)
}

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

// spansByCall are the spans of calls that were seen whole. There are no others, unless the kernel skipped runs.
func (o *observer) spansByCall(kind ptrace.SpanKind, port string) map[call][]ptrace.Span {
	o.t.Helper()
	calls := map[call][]ptrace.Span{}
	for _, span := range o.spans(kind) {
		a := span.Attributes()
		of := call{text(a, port), text(a, "http.request.method"), text(a, "url.path"), text(a, "http.response.status_code")}
		if text(a, "ebpfnet.capture") != "" {
			require.NotZerof(o.t, o.skipped(), "%v was not seen whole: %s", of, text(a, "ebpfnet.capture"))
			continue
		}
		calls[of] = append(calls[of], span)
		require.LessOrEqual(o.t, span.StartTimestamp(), span.EndTimestamp())
		_, queried := a.Get("url.query")
		require.False(o.t, queried, "a query string is nobody's business unless asked for")
	}
	return calls
}

func count(calls map[call][]ptrace.Span) map[call]int {
	counts := map[call]int{}
	for of, spans := range calls {
		counts[of] = len(spans)
	}
	return counts
}

// requireSameCalls shows the first few differences: there may be thousands.
func requireSameCalls(t *testing.T, o *observer, want, got map[call]int, what string) {
	t.Helper()
	var differences []string
	for of := range want {
		if got[of] > want[of] || got[of] < want[of] && o.skipped() == 0 {
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
