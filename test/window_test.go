//go:build linux && (amd64 || arm64)

package kerneltest

import (
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
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
