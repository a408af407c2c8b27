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

// A firewall that rejects drops the packet, and answers in the name of the host: with an RST that TCP has not
// sent, or with an ICMP message.
func TestWhatAFirewallRejectsIsDroppedAndRefused(t *testing.T) {
	n := newNetwork(t)
	n.client.set("ipv4/tcp_syn_retries", "3") // an ICMP message may come while connect() holds the socket, and be lost
	n.server.firewall(`table inet wall {
		counter resets {}
		counter ports {}
		counter hosts {}
		chain guard {
			type filter hook input priority 0;
			tcp dport 7001 counter name resets reject with tcp reset
			tcp dport 7002 counter name ports reject with icmpx type port-unreachable
			tcp dport 7003 counter name hosts reject with icmpx type host-unreachable
		}
	}`)
	o := observe(t, n.settings())
	clientBefore, serverBefore := n.client.nstat(), n.server.nstat()
	for _, attempt := range []struct {
		to    netip.AddrPort
		error syscall.Errno
	}{
		{n.server.at4(7001), syscall.ECONNREFUSED},
		{n.server.at6(7001), syscall.ECONNREFUSED},
		{n.server.at4(7002), syscall.ECONNREFUSED},
		{n.server.at4(7003), syscall.EHOSTUNREACH},
		{n.server.at6(7003), syscall.EHOSTUNREACH},
	} {
		require.Equal(t, attempt.error, n.client.connectAndWait(attempt.to), "%v", attempt.to)
	}
	client, server := n.client.since(clientBefore), n.server.since(serverBefore)
	o.stop()

	total := 0
	for port, name := range map[int]string{7001: "resets", 7002: "ports", 7003: "hosts"} {
		packets := n.server.counted()[name]
		require.Positive(t, packets, name)
		total += packets
		assert.Len(t, o.events("network.packet.drop", "network.packet.drop.reason", netfilterReason(o),
			"destination.port", port, "network.io.direction", "receive", "network.transport", "tcp"), packets, name)
	}
	assert.EqualValues(t, total, o.sum("network.packet.drops"), summary(o))
	assert.Equal(t, map[string]int64{"ECONNREFUSED": 3, "EHOSTUNREACH": 2},
		o.by("error.type", "network.tcp.connection.failed"))
	assert.EqualValues(t, 5, client["TcpAttemptFails"])
	assert.Len(t, o.events("network.tcp.connection.failed"), 5)
	assert.EqualValues(t, 2, o.sum("network.tcp.resets", "network.io.direction", "receive"), "those that had a socket to go to")
	assert.Zero(t, client["TcpOutRsts"]+server["TcpOutRsts"]+o.sum("network.tcp.resets", "network.io.direction", "transmit"),
		"the firewall's resets are none of TCP's")
	assert.Equal(t, client["TcpRetransSegs"], o.sum("network.tcp.retransmits"))
}

// A connection that the firewall turns against ends at the end that is told, and lives on at the other.
func TestAConnectionThatAFirewallResetsEndsAtOneEnd(t *testing.T) {
	n := newNetwork(t)
	o := observe(t, n.settings())
	before := n.client.nstat()
	pairs := []pair{
		n.connect(n.server.listen("tcp4", n.server.at4(7001))), n.connect(n.server.listen("tcp6", n.server.at6(7002))),
	}
	for _, p := range pairs {
		require.NoError(t, move(p.client, p.server, 1000))
		require.NoError(t, move(p.server, p.client, 1000))
	}
	n.requireQuiet(pairs)
	n.server.firewall(`table inet wall {
		counter resets {}
		chain guard { type filter hook input priority 0; tcp dport { 7001, 7002 } counter name resets reject with tcp reset; }
	}`)
	for _, p := range pairs {
		_, err := p.client.Write([]byte("no longer welcome"))
		require.NoError(t, err)
		_, err = p.client.Read(make([]byte, 1))
		require.ErrorIs(t, err, syscall.ECONNRESET)
		require.NoError(t, p.client.Close())
	}
	rejected := n.server.counted()["resets"]
	eventuallyEqual(t, "states", n.stateCounts, func() map[string]int64 {
		return o.by("network.connection.state", "network.tcp.connection.count")
	})
	assert.Equal(t, map[string]int64{"established": int64(len(pairs))}, n.stateCounts())
	closed := o.by("network.tcp.close.reason", "network.tcp.connection.closed")
	assert.Equal(t, map[string]int64{"reset_received": int64(len(pairs))}, closed)
	assert.EqualValues(t, len(pairs), n.client.since(before)["TcpEstabResets"])
	o.stop()
	assert.EqualValues(t, len(pairs), rejected)
	assert.Len(t, o.events("network.packet.drop", "network.packet.drop.reason", netfilterReason(o)), rejected)
	assert.EqualValues(t, rejected, o.sum("network.packet.drops"), summary(o))
	assert.Len(t, o.events("network.tcp.reset", "network.io.direction", "receive"), len(pairs))
	assert.Len(t, o.events("network.tcp.reset"), len(pairs), summary(o))
	assert.Empty(t, o.events("network.tcp.retransmit"), summary(o))
}

// requireQuiet waits until all that was sent is acknowledged.
func (n *network) requireQuiet(pairs []pair) {
	t := n.client.t
	t.Helper()
	for _, p := range pairs {
		ends := n.ends(p.server.LocalAddr().(*net.TCPAddr).Port)
		eventually(t, "all is acknowledged", func() bool { return ends["client"]().Unacked+ends["server"]().Unacked == 0 })
	}
}
