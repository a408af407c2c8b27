//go:build linux && (amd64 || arm64)

package kerneltest

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/ebpfnet/ebpfnetreceiver/internal/probe"
)

// The parts of a span, which do not overlap.
const (
	nicToTCP    = "ebpfnet.receive.nic_to_tcp.duration"
	tcpToApp    = "ebpfnet.receive.tcp_to_app.duration"
	appToDevice = "ebpfnet.transmit.app_to_device.duration"
	application = "ebpfnet.application.duration"
	peer        = "ebpfnet.peer.duration"
)

// part is false where the span does not know it.
func part(span ptrace.Span, name string) (time.Duration, bool) {
	v, ok := span.Attributes().Get(name)
	if !ok {
		return 0, false
	}
	return time.Duration(v.Double() * 1e9), true
}

func lasted(span ptrace.Span) time.Duration {
	return span.EndTimestamp().AsTime().Sub(span.StartTimestamp().AsTime())
}

// requirePart: a span that was seen whole knows it.
func requirePart(t *testing.T, span ptrace.Span, name string) time.Duration {
	t.Helper()
	d, known := part(span, name)
	require.True(t, known, "%s of %v", name, span.Attributes().AsRaw())
	return d
}

// assertPartsFit: all parts together are no longer than the whole.
func assertPartsFit(t *testing.T, span ptrace.Span) {
	t.Helper()
	var sum time.Duration
	for _, name := range []string{nicToTCP, tcpToApp, appToDevice, application, peer} {
		d, _ := part(span, name)
		assert.GreaterOrEqual(t, d, time.Duration(0), name)
		sum += d
	}
	assert.LessOrEqual(t, sum, lasted(span)+time.Microsecond, "parts of %v", span.Attributes().AsRaw())
}

// bothSpans are those of the calls with this path.
func (o *observer) bothSpans(path string) (client, server ptrace.Span) {
	o.t.Helper()
	found := map[ptrace.SpanKind][]ptrace.Span{}
	for _, kind := range []ptrace.SpanKind{ptrace.SpanKindClient, ptrace.SpanKindServer} {
		for _, span := range o.spans(kind) {
			if text(span.Attributes(), "url.path") == path {
				found[kind] = append(found[kind], span)
			}
		}
		require.Len(o.t, found[kind], 1, path)
	}
	return found[ptrace.SpanKindClient][0], found[ptrace.SpanKindServer][0]
}

// assertNested: what the client waited for holds all that the server did, network included.
func assertNested(t *testing.T, client, server ptrace.Span) {
	t.Helper()
	assert.LessOrEqual(t, lasted(server), requirePart(t, client, peer)+time.Microsecond,
		"%v within %v", server.Attributes().AsRaw(), client.Attributes().AsRaw())
}

// workers are the processes of a running nginx that serve.
func (s *nginx) workers(master int) (pids []int) {
	s.t.Helper()
	eventually(s.t, "nginx has workers", func() bool {
		children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", master, master))
		require.NoError(s.t, err)
		pids = nil
		for _, field := range strings.Fields(string(children)) {
			pid, err := strconv.Atoi(field)
			require.NoError(s.t, err)
			pids = append(pids, pid)
		}
		return len(pids) == 2
	})
	return pids
}

func (s *nginx) signal(pids []int, signal syscall.Signal) {
	s.t.Helper()
	for _, pid := range pids {
		require.NoError(s.t, syscall.Kill(pid, signal))
	}
}

// assertSlowRead: what was read late in a call is told of, with its trace.
func assertSlowRead(t *testing.T, o *observer, span ptrace.Span) {
	t.Helper()
	waited := requirePart(t, span, tcpToApp)
	for _, event := range o.events("network.socket.read.slow") {
		if event.SpanID() != span.SpanID() {
			continue
		}
		assert.Equal(t, span.TraceID(), event.TraceID())
		took, ok := event.Attributes().Get("network.slow.duration")
		require.True(t, ok)
		within := 0.01
		if inLab() { // an emulated machine may be taken away between the two
			within = 0.03
		}
		assert.InDelta(t, waited.Seconds(), took.Double(), within)
		return
	}
	assert.Failf(t, "no slow read", "of %v, which waited %s", span.Attributes().AsRaw(), waited)
}

// waitingBytes is an established connection in what ss prints, with something in its receive queue.
var waitingBytes = regexp.MustCompile(`(?m)^ESTAB +[1-9]`)

func TestASpanTellsWhereTheTimeWent(t *testing.T) {
	const stopped = 150 * time.Millisecond
	n := newNetwork(t)
	server := startNginx(t, n.server, n.server.at4(80))
	slow := &http.Server{Handler: http.HandlerFunc(func(out http.ResponseWriter, in *http.Request) {
		time.Sleep(60 * time.Millisecond)
		_, _ = io.WriteString(out, "done")
	})}
	listener := n.server.listen("tcp4", n.server.at4(8080))
	go func() { _ = slow.Serve(listener) }()
	defer slow.Close()
	config := n.settings()
	config.Probe.Stages = true // which has arrivals stamped
	config.Probe.Slow = probe.Slow{Read: stopped / 2, PerSecond: unlimited}
	o := observe(t, config)

	conn := n.client.dial(server.at)
	browser := browse(conn)
	const calls = 40
	for i := range calls {
		_, err := browser.ask("GET", fmt.Sprintf("/%d", i), "")
		require.NoError(t, err)
	}

	master, err := os.ReadFile(server.pidFile())
	require.NoError(t, err)
	pid, err := strconv.Atoi(strings.TrimSpace(string(master)))
	require.NoError(t, err)
	workers := server.workers(pid)
	server.signal(workers, syscall.SIGSTOP)
	ask := func(path string) {
		_, err := io.WriteString(conn, "GET "+path+" HTTP/1.1\r\nHost: server.test\r\n\r\n")
		require.NoError(t, err)
	}
	answered := func() time.Time {
		response, err := http.ReadResponse(browser.in, nil)
		require.NoError(t, err)
		_, err = io.Copy(io.Discard, response.Body)
		require.NoError(t, err)
		return time.Now()
	}
	ask("/stopped")
	eventually(t, "the request has arrived", func() bool { return waitingBytes.MatchString(n.server.run("ss", "-Htn")) })
	time.Sleep(stopped)
	resumed := time.Now()
	server.signal(workers, syscall.SIGCONT)
	running := answered().Sub(resumed)

	const late = 130 * time.Millisecond
	ask("/late")
	time.Sleep(late)
	answered()

	_, err = browse(n.client.dial(n.server.at4(8080))).ask("GET", "/slow", "")
	require.NoError(t, err)
	o.stop()

	for i := range calls {
		client, server := o.bothSpans(fmt.Sprintf("/%d", i))
		for _, span := range []ptrace.Span{client, server} {
			assertPartsFit(t, span)
			requirePart(t, span, nicToTCP)
			requirePart(t, span, tcpToApp)
			requirePart(t, span, appToDevice)
			rtt, ok := span.Attributes().Get("ebpfnet.tcp.rtt")
			require.True(t, ok)
			assert.Positive(t, rtt.Double())
			again, ok := span.Attributes().Get("ebpfnet.tcp.retransmits")
			require.Equal(t, span.Kind() == ptrace.SpanKindClient, ok, "of an answer it is not known yet")
			assert.True(t, !ok || again.Int() == 0)
		}
		requirePart(t, server, application)
		assertNested(t, client, server)
	}

	// The kernel had the request, and nobody read it.
	client, served := o.bothSpans("/stopped")
	assertNested(t, client, served)
	assertPartsFit(t, served)
	waited := requirePart(t, served, tcpToApp)
	assert.GreaterOrEqual(t, waited, stopped*99/100, "the stopped server did not read")
	assert.LessOrEqual(t, requirePart(t, served, application), running, "and it is not the application that took long")

	assertSlowRead(t, o, served)

	// The answer was there, and the client was elsewhere.
	client, served = o.bothSpans("/late")
	assertNested(t, client, served)
	assertPartsFit(t, client)
	assert.GreaterOrEqual(t, requirePart(t, client, tcpToApp)+requirePart(t, client, peer)+requirePart(t, client, appToDevice), late)
	assertSlowRead(t, o, client)

	client, served = o.bothSpans("/slow")
	assertNested(t, client, served)
	assertPartsFit(t, served)
	assert.GreaterOrEqual(t, requirePart(t, served, application), 60*time.Millisecond)
}
