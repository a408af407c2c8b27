//go:build linux && (amd64 || arm64)

package kerneltest

import (
	"net"
	"net/netip"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestResetsAgreeWithNstat(t *testing.T) {
	n := newNetwork(t)
	o := observe(t, n.settings())
	clientBefore, serverBefore := n.client.nstat(), n.server.nstat()

	const refused = 5
	for i := range refused {
		to := []netip.AddrPort{n.server.at4(7300), n.server.at6(7300)}[i%2]
		_, err := n.client.tryDial(t.Context(), to)
		require.ErrorIs(t, err, syscall.ECONNREFUSED)
	}
	inMidStream := 0
	for _, listener := range []net.Listener{n.server.listen("tcp4", n.server.at4(7301)), n.server.listen("tcp6", n.server.at6(7301))} {
		p := n.connect(listener)
		requireReset(t, p.client, p.server) // the client aborts
		p = n.connect(listener)
		requireReset(t, p.server, p.client) // the server does
		p = n.connect(listener)
		require.NoError(t, move(p.client, p.server, 10))
		_, err := p.client.Write([]byte("never read"))
		require.NoError(t, err)
		eventually(t, "the bytes have arrived", func() bool {
			return n.ends(7301)["server"]().BytesReceived == 20
		})
		require.NoError(t, p.server.Close()) // with unread data
		_, err = p.client.Read(make([]byte, 1))
		require.ErrorIs(t, err, syscall.ECONNRESET)
		p.client.Close()
		inMidStream += 3
	}
	eventually(t, "all connections are closed", func() bool { return len(n.stateCounts()) == 0 })
	overflown := n.overflow(t, 7302)
	client, server := n.client.since(clientBefore), n.server.since(serverBefore)
	o.stop()

	sent := client["TcpOutRsts"] + server["TcpOutRsts"]
	require.GreaterOrEqual(t, sent, int64(refused+inMidStream+overflown))
	if olderThan(t, 6, 10) {
		sent -= refused // there the kernel tells of a reset only where there is a socket
	}
	assert.Equal(t, sent, o.sum("network.tcp.resets", "network.io.direction", "transmit"), "%v", summary(o))
	assert.Len(t, o.events("network.tcp.reset", "network.io.direction", "transmit"), int(sent))
	received := refused + inMidStream + overflown
	assert.EqualValues(t, received, o.sum("network.tcp.resets", "network.io.direction", "receive"))
	assert.Len(t, o.events("network.tcp.reset", "network.io.direction", "receive"), received)

	closed := o.by("network.tcp.close.reason", "network.tcp.connection.closed")
	assert.Equal(t, client["TcpEstabResets"]+server["TcpEstabResets"], closed["reset_sent"]+closed["reset_received"], "%v", closed)
	assert.EqualValues(t, inMidStream, closed["reset_sent"])
	assert.EqualValues(t, inMidStream+overflown, closed["reset_received"])

	for _, direction := range []string{"transmit", "receive"} {
		for _, event := range o.events("network.tcp.reset", "network.io.direction", direction, "destination.port", 7301) {
			a := event.Attributes()
			assert.Contains(t, []string{n.client.v4.String(), n.client.v6.String()}, text(a, "source.address"))
			assert.NotEmpty(t, text(a, "source.port"))
			assert.NotEmpty(t, text(a, "code.stacktrace"))
			assert.Equal(t, direction == "transmit" && !olderThan(t, 6, 10), text(a, "network.tcp.reset.reason") != "", event.Body().Str())
		}
	}
	assert.Len(t, o.events("network.tcp.reset", "destination.port", 7301), 2*2, "the client's resets, at both ends")
}

// requireReset: one end aborts the connection, the other is told.
func requireReset(t *testing.T, from, to *net.TCPConn) {
	t.Helper()
	require.NoError(t, from.SetLinger(0))
	require.NoError(t, from.Close())
	_, err := to.Read(make([]byte, 1))
	require.ErrorIs(t, err, syscall.ECONNRESET)
	require.NoError(t, to.Close())
}

// overflow completes more handshakes than a server's accept queue holds, with the server told to reset what
// it has no room for, and says how many clients were.
func (n *network) overflow(t *testing.T, port uint16) (reset int) {
	t.Helper()
	const backlog = 3 // holds one more
	n.server.set("ipv4/tcp_abort_on_overflow", "1")
	n.server.listenWithBacklog(n.server.at4(port), backlog)
	clients := make([]*net.TCPConn, 2*backlog)
	for i := range clients {
		if i == backlog {
			// While the last segment of each handshake is held off, the queue does not grow, and none is turned
			// away at its first.
			n.server.firewall(`table inet hold {
				chain in { type filter hook input priority 0; tcp dport 7302 tcp flags & (syn|ack) == ack drop; }
			}`)
		}
		clients[i] = n.client.dial(n.server.at4(port))
	}
	n.server.firewall("delete table inet hold")
	for _, client := range clients[backlog:] {
		_, err := client.Write([]byte("let me in"))
		require.NoError(t, err)
	}
	eventually(t, "the accept queue is full and the others are reset", func() bool {
		reset = 0
		for _, client := range clients {
			if !isEstablished(t, client) {
				reset++
			}
		}
		return reset == len(clients)-(backlog+1)
	})
	require.EqualValues(t, reset, n.server.nstat()["TcpExtListenOverflows"])
	return reset
}

func isEstablished(t *testing.T, conn *net.TCPConn) bool {
	t.Helper()
	const established = 1
	return tcpInfo(t, conn).State == established
}
