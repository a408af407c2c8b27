//go:build linux && (amd64 || arm64)

package kerneltest

import (
	"net"
	"net/netip"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// A server that does not accept: its queue is full, and the kernel drops what would make it longer. Both ends go on
// trying, each in its own way, until the server accepts.
func TestAFullAcceptQueueMakesBothEndsTryAgain(t *testing.T) {
	n := newNetwork(t)
	o := observe(t, n.settings())
	clientBefore, serverBefore := n.client.nstat(), n.server.nstat()
	const backlog, room = 2, 3 // the kernel takes one more than it was told
	listener := n.server.listenWithBacklog(n.server.at4(7002), backlog)

	var ends []net.Conn
	for range room {
		ends = append(ends, n.client.dial(n.server.at4(7002)))
	}
	eventually(t, "the queue is full", func() bool { return n.server.states()["ESTAB"] == room })
	const more = 2
	late := make(chan *net.TCPConn, more)
	for range more {
		go func() {
			conn, err := n.client.tryDial(t.Context(), n.server.at4(7002))
			assert.NoError(t, err)
			late <- conn
		}()
	}
	eventually(t, "the server has turned some away, and the client has tried again", func() bool {
		client, server := n.client.since(clientBefore), n.server.since(serverBefore)
		return server["TcpExtListenOverflows"] > more && client["TcpExtTCPSynRetrans"] > 0
	})
	for range room + more {
		conn, err := listener.Accept()
		require.NoError(t, err)
		ends = append(ends, conn)
	}
	for range more {
		conn := <-late
		require.NotNil(t, conn)
		ends = append(ends, conn)
	}
	for _, conn := range ends {
		require.NoError(t, conn.Close())
	}
	eventually(t, "all connections are closed", func() bool { return len(n.stateCounts()) == 0 })
	client, server := n.client.since(clientBefore), n.server.since(serverBefore)
	o.stop()

	require.EqualValues(t, room+more, client["TcpActiveOpens"])
	assert.EqualValues(t, room+more, o.sum("network.tcp.connection.opened", "network.tcp.handshake.role", "client"))
	assert.Equal(t, server["TcpPassiveOpens"], o.sum("network.tcp.connection.opened", "network.tcp.handshake.role", "server"))
	types := o.by("network.tcp.retransmit.type", "network.tcp.retransmits")
	assert.Equal(t, client["TcpRetransSegs"]+server["TcpRetransSegs"], o.sum("network.tcp.retransmits"), "%v", types)
	assert.Equal(t, client["TcpExtTCPSynRetrans"]+server["TcpExtTCPSynRetrans"], types["syn"]+types["syn_ack"], "%v", types)
	assert.LessOrEqual(t, o.sum("network.packet.drops"), server["TcpExtListenDrops"], summary(o))
	assert.Zero(t, o.sum("network.packet.drops", "network.io.direction", "transmit"), summary(o))
	assert.Zero(t, o.sum("network.tcp.resets"), summary(o))
	assert.Zero(t, o.sum("network.tcp.connection.failed"))
	t.Logf("nstat: %d overflows, %d drops; told: %v", server["TcpExtListenOverflows"], server["TcpExtListenDrops"],
		o.by("network.packet.drop.reason", "network.packet.drops"))
}

// listenWithBacklog listens with a queue of a length that is not the system's.
func (n *namespace) listenWithBacklog(at netip.AddrPort, backlog int) net.Listener {
	n.t.Helper()
	var fd int
	n.do(func() {
		var err error
		fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		require.NoError(n.t, err)
	})
	file := os.NewFile(uintptr(fd), "listener")
	defer file.Close()
	require.NoError(n.t, unix.Bind(fd, &unix.SockaddrInet4{Port: int(at.Port()), Addr: at.Addr().As4()}))
	require.NoError(n.t, unix.Listen(fd, backlog))
	listener, err := net.FileListener(file)
	require.NoError(n.t, err)
	n.t.Cleanup(func() { listener.Close() })
	return listener
}
