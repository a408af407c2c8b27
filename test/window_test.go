//go:build linux && (amd64 || arm64)

package kerneltest

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/ebpfnet/ebpfnetreceiver/internal/probe"
)

// stuff writes until the reader's window is closed and what waits at this end has nowhere to go; it returns how
// much was written.
func stuff(t *testing.T, conn *net.TCPConn, closed func() bool) (bytes int) {
	t.Helper()
	chunk := make([]byte, 64<<10)
	eventually(t, "the window is closed", func() bool {
		require.NoError(t, conn.SetWriteDeadline(time.Now().Add(10*time.Millisecond)))
		n, _ := conn.Write(chunk) // a timeout is what is waited for
		bytes += n
		return closed()
	})
	require.NoError(t, conn.SetWriteDeadline(time.Time{}))
	return bytes
}

// A reader that does not read closes its window; the sender then asks now and then whether it is open again.
func TestAClosedWindowIsSeenFromBothEnds(t *testing.T) {
	for name, listen := range map[string]func(*network) net.Listener{
		"ipv4": func(n *network) net.Listener { return n.server.listen("tcp4", n.server.at4(7600)) },
		"ipv6": func(n *network) net.Listener { return n.server.listen("tcp6", n.server.at6(7600)) },
	} {
		t.Run(name, func(t *testing.T) {
			n := newNetwork(t)
			n.server.set("ipv4/tcp_rmem", "4096 32768 65536")
			o := observe(t, n.settings())
			clientBefore, serverBefore := n.client.nstat(), n.server.nstat()
			p := n.connect(listen(n))
			fine := n.connect(n.server.listen("tcp4", n.server.at4(7601)))
			require.NoError(t, move(fine.client, fine.server, 1000))

			// ss shows the timer that asks, "persist", when nothing is left that could be acknowledged.
			written := stuff(t, p.client, func() bool {
				return strings.Contains(n.client.run("ss", "-Htno", "dport", "=", ":7600"), "timer:(persist")
			})
			eventually(t, "the sender has asked", func() bool { return n.client.since(clientBefore)["TcpExtTCPWinProbe"] > 0 })
			require.Positive(t, n.server.since(serverBefore)["TcpExtTCPToZeroWindowAdv"])
			closed := func(role, direction string, port int) int64 {
				return o.sum("network.tcp.zero_window", "network.tcp.handshake.role", role,
					"network.io.direction", direction, "server.port", port)
			}
			eventually(t, "both ends are stopped", func() bool {
				return closed("client", "transmit", 7600) == 1 && closed("server", "receive", 7600) == 1
			})
			assert.EqualValues(t, 2, o.sum("network.tcp.zero_window"), "and no other")
			n.requireAgreement(o, 7600)

			done := make(chan error, 1)
			go func() { done <- p.client.CloseWrite() }()
			read := drain(t, p.server)
			require.NoError(t, <-done)
			assert.Equal(t, written, read)
			eventually(t, "nobody is stopped", func() bool { return o.sum("network.tcp.zero_window") == 0 })
			n.requireAgreement(o, 7600)
			assert.EqualValues(t, written, o.transfer("client", 7600).Sent)
			assert.EqualValues(t, written, o.transfer("server", 7600).Received)
			client, server := n.client.since(clientBefore), n.server.since(serverBefore)
			o.stop()
			// A segment that came when there was no room for it is lost; a question is not.
			o.requireNoDrops(map[string]int64{"TCP_ZEROWINDOW": server["TcpExtTCPZeroWindowDrop"]}, client, server)
			assert.Zero(t, o.sum("network.tcp.resets"), summary(o))
		})
	}
}

// drain reads to the end.
func drain(t *testing.T, conn *net.TCPConn) (bytes int) {
	t.Helper()
	buffer := make([]byte, 64<<10)
	for {
		n, err := conn.Read(buffer)
		bytes += n
		if err != nil {
			return bytes
		}
	}
}

// The answer is larger than the client's buffer, and the client does not read it for a while.
func TestAClosedWindowIsToldOfWithTheCallThatItHolds(t *testing.T) {
	n := newNetwork(t)
	n.client.set("ipv4/tcp_rmem", "4096 32768 65536")
	config := n.settings()
	config.Probe.Stages = true
	config.Probe.Slow = probe.Slow{ZeroWindow: 1, PerSecond: unlimited}
	o := observe(t, config)
	before, beforeServer := n.client.nstat(), n.server.nstat()
	p := n.connect(n.server.listen("tcp4", n.server.at4(7602)))
	server := &answerer{t, p.server, bufio.NewReader(p.server)}
	client := browse(p.client)
	const held, next = "/held", "/next"
	done := make(chan struct{})
	go func() {
		defer close(done)
		for _, body := range []int{4 << 20, 10} { // the first is more than both sockets hold
			server.read()
			server.answer(strings.Repeat("x", body))
		}
	}()
	began := time.Now()
	_, err := io.WriteString(p.client, "GET "+held+" HTTP/1.1\r\nHost: server.test\r\n\r\n")
	require.NoError(t, err)
	found := func(direction, state string) []plog.LogRecord {
		return o.events("network.tcp.window.closed", "network.io.direction", direction, "network.tcp.window.state", state)
	}
	eventually(t, "the sender has asked, and both ends know that the window is closed", func() bool {
		return n.server.since(beforeServer)["TcpExtTCPWinProbe"] > 0 &&
			len(found("transmit", "closed")) > 0 && len(found("receive", "closed")) > 0
	})
	response, err := http.ReadResponse(client.in, nil)
	require.NoError(t, err)
	_, err = io.Copy(io.Discard, response.Body)
	require.NoError(t, err)
	lasted := time.Since(began)
	_, err = client.ask("GET", next, "") // that the window was opened last is seen when something follows
	require.NoError(t, err)
	<-done
	opened := n.client.since(before)["TcpExtTCPFromZeroWindowAdv"]
	o.stop()

	calling, serving := o.bothSpans(held)
	for direction, span := range map[string]ptrace.Span{"transmit": serving, "receive": calling} {
		longest := time.Duration(0)
		for _, state := range []string{"closed", "opened"} {
			events := found(direction, state)
			require.NotEmpty(t, events, "%s %s", direction, state)
			for _, event := range events {
				took, _ := event.Attributes().Get("network.slow.duration")
				longest = max(longest, time.Duration(took.Double()*float64(time.Second)))
				assert.Equal(t, span.TraceID(), event.TraceID(), event.Body().Str())
				assert.Equal(t, span.SpanID(), event.SpanID(), event.Body().Str())
			}
		}
		assert.Greater(t, longest, 100*time.Millisecond, "%s: the sender asks for the first time after 200 ms", direction)
		assert.LessOrEqual(t, longest, lasted, direction)
	}
	// As often as the kernel counted it.
	require.Positive(t, opened)
	o.assertAll(int(opened), int64(len(found("receive", "opened"))), "opened")
}
