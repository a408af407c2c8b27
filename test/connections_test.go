//go:build linux && (amd64 || arm64)

package kerneltest

import (
	"context"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// stateNames are the names that ss gives to states, and ours.
var stateNames = map[string]string{
	"ESTAB": "established", "FIN-WAIT-1": "fin_wait_1", "FIN-WAIT-2": "fin_wait_2", "CLOSE-WAIT": "close_wait",
	"SYN-SENT": "syn_sent", "LAST-ACK": "last_ack",
}

func (n *network) stateCounts() map[string]int64 {
	counts := map[string]int64{}
	for _, end := range []*namespace{n.client, n.server} {
		for state, count := range end.states() {
			counts[stateNames[state]] += int64(count)
		}
	}
	return counts
}

func TestConnectionsAgreeWithNstatAndTheirStatesWithSS(t *testing.T) {
	begun := time.Now()
	n := newNetwork(t)
	o := observe(t, n.settings())
	clientBefore, serverBefore := n.client.nstat(), n.server.nstat()
	four, six := n.server.listen("tcp4", n.server.at4(7000)), n.server.listen("tcp6", n.server.at6(7000))
	for range 2 {
		n.connect(four) // stays open
	}
	n.connect(six)
	for range 2 {
		require.NoError(t, n.connect(four).client.CloseWrite()) // half closed
	}
	require.NoError(t, n.connect(six).server.CloseWrite())
	for range 4 {
		p := n.connect(four)
		require.NoError(t, p.closeBy(p.client, p.server))
	}
	for range 3 {
		p := n.connect(six)
		require.NoError(t, p.closeBy(p.server, p.client))
	}

	want := map[string]int64{"established": 6, "fin_wait_2": 3, "close_wait": 3}
	eventually(t, "ss shows the connections", func() bool { return assert.ObjectsAreEqual(want, n.stateCounts()) })
	eventuallyEqual(t, "the states are those that ss shows", n.stateCounts, func() map[string]int64 {
		return o.by("network.connection.state", "network.tcp.connection.count")
	})
	client, server := n.client.since(clientBefore), n.server.since(serverBefore)
	o.stop()

	require.EqualValues(t, 13, client["TcpActiveOpens"])
	require.EqualValues(t, 13, server["TcpPassiveOpens"])
	assert.Equal(t, map[string]int64{"client": client["TcpActiveOpens"], "server": server["TcpPassiveOpens"]},
		o.by("network.tcp.handshake.role", "network.tcp.connection.opened"))
	reasons := func(role string) map[string]int64 {
		return o.by("network.tcp.close.reason", "network.tcp.connection.closed", "network.tcp.handshake.role", role)
	}
	assert.Equal(t, map[string]int64{"local_fin": 4, "remote_fin": 3}, reasons("client"))
	assert.Equal(t, map[string]int64{"local_fin": 3, "remote_fin": 4}, reasons("server"))
	took := time.Since(begun).Seconds()
	closed, lived := o.distribution("network.tcp.connection.duration")
	assert.EqualValues(t, 14, closed)
	assert.Positive(t, lived)
	assert.LessOrEqual(t, lived, 14*took)
	for _, role := range []string{"client", "server"} {
		handshakes, seconds := o.distribution("network.tcp.handshake.duration", "network.tcp.handshake.role", role)
		assert.EqualValues(t, 13, handshakes)
		assert.Positive(t, seconds)
		assert.LessOrEqual(t, seconds, took, "one after the other")
	}
	assert.Zero(t, o.sum("network.tcp.connection.failed"))
	assert.Zero(t, client["TcpEstabResets"]+server["TcpEstabResets"]+o.sum("network.tcp.resets"), summary(o))
}

// connectAndWait connects in a system call that waits for the end: Go's own connect may ask for the error while
// the kernel holds it for passing, and give up for the application.
func (n *namespace) connectAndWait(to netip.AddrPort) (err error) {
	family, address := unix.AF_INET, unix.Sockaddr(&unix.SockaddrInet4{Port: int(to.Port())})
	if to.Addr().Is6() {
		family, address = unix.AF_INET6, &unix.SockaddrInet6{Port: int(to.Port()), Addr: to.Addr().As16()}
	} else {
		address.(*unix.SockaddrInet4).Addr = to.Addr().As4()
	}
	n.do(func() {
		var fd int
		if fd, err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err != nil {
			return
		}
		defer unix.Close(fd)
		for err = unix.EINTR; err == unix.EINTR; {
			err = unix.Connect(fd, address)
		}
	})
	return err
}

func TestFailedConnectsTellTheirError(t *testing.T) {
	n := newNetwork(t)
	beyond := netip.MustParseAddrPort("10.78.0.1:80")
	n.client.ip("route", "add", "10.78.0.0/16", "via", n.server.v4.String())
	n.server.ip("route", "add", "unreachable", "10.78.0.0/16")
	n.server.set("ipv4/ip_forward", "1")
	n.client.set("ipv4/tcp_syn_retries", "1")
	n.server.firewall(`table inet wall {
		counter silent {}
		chain guard { type filter hook input priority 0; tcp dport 7002 counter name silent drop; }
	}`)
	o := observe(t, n.settings())
	before := n.client.nstat()

	for _, attempt := range []struct {
		to    netip.AddrPort
		error syscall.Errno
	}{
		{n.server.at4(7001), syscall.ECONNREFUSED},
		{n.server.at6(7001), syscall.ECONNREFUSED},
		{n.server.at4(7001), syscall.ECONNREFUSED},
		{n.server.at4(7002), syscall.ETIMEDOUT},
		{n.server.at6(7002), syscall.ETIMEDOUT},
		{beyond, syscall.EHOSTUNREACH},
	} {
		require.Equal(t, attempt.error, n.client.connectAndWait(attempt.to))
	}
	silent := n.server.counted()["silent"]
	n.client.knock(n.server.at4(7002), func() bool { return n.server.counted()["silent"] > silent })
	fails := n.client.since(before)["TcpAttemptFails"]
	o.stop()

	want := map[string]int64{"ECONNREFUSED": 3, "ETIMEDOUT": 2, "EHOSTUNREACH": 1, "aborted": 1}
	assert.Equal(t, want, o.by("error.type", "network.tcp.connection.failed"))
	assert.EqualValues(t, 6, fails, "the kernel does not count those that the application gave up")
	for name, times := range want {
		events := o.events("network.tcp.connection.failed", "error.type", name)
		assert.Len(t, events, int(times), name)
		for _, event := range events {
			a := event.Attributes()
			assert.NotEmpty(t, text(a, "source.port"))
			assert.NotEmpty(t, text(a, "destination.address"))
		}
	}
	assert.Zero(t, o.sum("network.tcp.connection.opened"))
	assert.Zero(t, o.sum("network.tcp.connection.count"))
}

func TestConnectionsBetweenTwoCollectionsAreNotLost(t *testing.T) {
	n := newNetwork(t)
	config := n.settings()
	config.Probe.CollectionInterval = time.Hour // the only one is that at the end
	o := start(t, config)
	eventually(t, "connections are watched", func() bool {
		_, err := n.client.tryDial(context.Background(), n.server.at4(7001))
		return assert.ErrorIs(t, err, syscall.ECONNREFUSED) && len(o.events("network.tcp.connection.failed")) > 0
	})
	listener := n.server.listen("tcp4", n.server.at4(7000))
	const connections, bytes = 50, 3000
	for range connections {
		p := n.connect(listener)
		require.NoError(t, move(p.client, p.server, bytes))
		require.NoError(t, move(p.server, p.client, 2*bytes))
		require.NoError(t, p.closeBy(p.client, p.server))
	}
	eventually(t, "all connections are closed", func() bool { return len(n.stateCounts()) == 0 })
	o.stop()

	require.Len(t, o.metrics, 1)
	for role, bytes := range map[string][2]int64{"client": {bytes, 2 * bytes}, "server": {2 * bytes, bytes}} {
		of := where{"network.tcp.handshake.role", role, "server.port", 7000}
		assert.EqualValues(t, connections, o.sum("network.tcp.connection.opened", of...), role)
		assert.EqualValues(t, connections, o.sum("network.tcp.connection.closed", of...), role)
		assert.Equal(t, connections*bytes[0], o.sum("network.io", append(of, "network.io.direction", "transmit")...), role)
		assert.Equal(t, connections*bytes[1], o.sum("network.io", append(of, "network.io.direction", "receive")...), role)
		measured, _ := o.distribution("network.tcp.rtt", of...)
		assert.EqualValues(t, connections, measured, role)
	}
}
