//go:build linux && (amd64 || arm64)

package kerneltest

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ebpfnet/ebpfnetreceiver/internal/probe"
)

const crowded = 7002 // the port of a server that does not accept, so that its queue is full

// crowd watches a server with room for so many connections that nobody accepts, and its clients.
func crowd(t *testing.T, backlog int) (*network, *observer, net.Listener) {
	t.Helper()
	n := newNetwork(t)
	n.server.set("ipv4/tcp_syncookies", "0")
	n.server.inhabit("") // or its counters are nobody's
	config := n.settings()
	config.Probe.Counters = probe.Counters{Enabled: true}
	return n, observe(t, config), n.server.listenWithBacklog(n.server.at4(crowded), backlog)
}

// turnedAway is what the server's port is said to have turned away.
func (n *namespace) turnedAway(o *observer) int64 {
	return n.counters(o)[fmt.Sprintf("network.tcp.listen.dropped %d", crowded)].value
}

// A server that does not accept: its queue is full, and the kernel turns away what would make it longer, and says so by
// a counter of the socket: it frees the SYN as if it had been delivered. Both ends go on trying, each in its own way,
// until the server accepts.
func TestAFullAcceptQueueMakesBothEndsTryAgain(t *testing.T) {
	const backlog, room = 2, 3 // the kernel takes one more than it was told
	n, o, listener := crowd(t, backlog)
	clientBefore, serverBefore := n.client.nstat(), n.server.nstat()
	var ends []net.Conn
	for range room {
		ends = append(ends, n.client.dial(n.server.at4(crowded)))
	}
	eventually(t, "the queue is full", func() bool { return n.server.states()["ESTAB"] == room })
	const more = 2
	late := make(chan *net.TCPConn, more)
	for range more {
		go func() {
			conn, err := n.client.tryDial(t.Context(), n.server.at4(crowded))
			assert.NoError(t, err)
			late <- conn
		}()
	}
	eventually(t, "the server has turned some away, and the client has tried again", func() bool {
		client, server := n.client.since(clientBefore), n.server.since(serverBefore)
		return server["TcpExtListenOverflows"] > more && client["TcpExtTCPSynRetrans"] > 0
	})
	ends = append(ends, accept(t, listener, room+more)...)
	for range more {
		conn := <-late
		require.NotNil(t, conn)
		ends = append(ends, conn)
	}
	eventuallyEqual(t, "what the port turned away", func() int64 { return n.server.since(serverBefore)["TcpExtListenDrops"] },
		func() int64 { return n.server.turnedAway(o) })
	client, server := n.hangUp(o, ends, clientBefore, serverBefore)

	require.EqualValues(t, room+more, client["TcpActiveOpens"])
	assert.EqualValues(t, room+more, o.sum("network.tcp.connection.opened", "network.tcp.handshake.role", "client"))
	assert.Equal(t, server["TcpPassiveOpens"], o.sum("network.tcp.connection.opened", "network.tcp.handshake.role", "server"))
	types := o.by("network.tcp.retransmit.type", "network.tcp.retransmits")
	assert.Equal(t, client["TcpRetransSegs"]+server["TcpRetransSegs"], o.sum("network.tcp.retransmits"), "%v", types)
	assert.Equal(t, client["TcpExtTCPSynRetrans"]+server["TcpExtTCPSynRetrans"], types["syn"]+types["syn_ack"], "%v", types)
	assert.Zero(t, o.sum("network.packet.drops"), summary(o))
	assert.Zero(t, o.sum("network.tcp.resets"), summary(o))
	assert.Zero(t, o.sum("network.tcp.connection.failed"))
}

// Handshakes that were begun while there was room, and whose last segment finds none: that one is dropped, again and
// again, until the server accepts.
func TestTheEndOfAHandshakeThatFindsAFullQueueIsDropped(t *testing.T) {
	const backlog, waiting, late, room = 4, 3, 4, 5
	n, o, listener := crowd(t, backlog)
	serverBefore, clientBefore := n.server.nstat(), n.client.nstat()
	var ends []net.Conn
	for range waiting {
		ends = append(ends, n.client.dial(n.server.at4(crowded)))
	}
	eventually(t, "there is room for fewer than will come", func() bool { return n.server.states()["ESTAB"] == waiting })
	n.server.firewall(fmt.Sprintf(`table inet wall {
		counter last {}
		chain guard { type filter hook input priority 0; tcp dport %d tcp flags & (syn|ack) == ack counter name last drop; }
	}`, crowded))
	for range late { // to a client the connection is there once the server has answered
		ends = append(ends, n.client.dial(n.server.at4(crowded)))
	}
	eventually(t, "the server waits for the last segments", func() bool {
		return n.server.states()["SYN-RECV"] == late && n.server.counted()["last"] >= late
	})
	wall := n.server.counted()["last"]
	n.server.run("nft", "delete", "table", "inet", "wall")
	overflows := func() int64 { return n.server.since(serverBefore)["TcpExtListenOverflows"] }
	eventually(t, "some found no room", func() bool {
		return n.server.states()["ESTAB"] == room && overflows() >= waiting+late-room
	})
	ends = append(ends, accept(t, listener, waiting+late)...)
	// tcp_v4_syn_recv_sock counts it for the socket, and then tcp_v4_rcv does.
	eventuallyEqual(t, "what the port turned away", func() int64 { return 2 * n.server.since(serverBefore)["TcpExtListenDrops"] },
		func() int64 { return n.server.turnedAway(o) })
	_, server := n.hangUp(o, ends, clientBefore, serverBefore)

	require.Equal(t, server["TcpExtListenOverflows"], server["TcpExtListenDrops"], "no SYN was turned away")
	reasons := o.by("network.packet.drop.reason", "network.packet.drops")
	assert.GreaterOrEqual(t, reasons[netfilterReason(o)], int64(wall), summary(o))
	delete(reasons, netfilterReason(o))
	want := map[string]int64{"TCP_LISTEN_OVERFLOW": server["TcpExtListenOverflows"]}
	if olderThan(t, 6, 15) {
		// Freed where the last segments of healthy connections are, and without a reason: all there is is the counter.
		want = map[string]int64{}
	}
	assert.Equal(t, want, reasons, summary(o))
}

// accept takes connections from a listener.
func accept(t *testing.T, listener net.Listener, count int) (ends []net.Conn) {
	t.Helper()
	for range count {
		conn, err := listener.Accept()
		require.NoError(t, err)
		ends = append(ends, conn)
	}
	return ends
}

// hangUp closes all connections, and ends the observer. What it gives is what nstat counted meanwhile.
func (n *network) hangUp(o *observer, ends []net.Conn, clientBefore, serverBefore map[string]int64) (client, server map[string]int64) {
	o.t.Helper()
	for _, conn := range ends {
		require.NoError(o.t, conn.Close())
	}
	eventually(o.t, "all connections are closed", func() bool { return len(n.stateCounts()) == 0 })
	client, server = n.client.since(clientBefore), n.server.since(serverBefore)
	o.stop()
	return client, server
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
