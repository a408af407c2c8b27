//go:build linux && (amd64 || arm64)

package kerneltest

import (
	"net/netip"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

// An IPv6 socket that speaks IPv4 has addresses like ::ffff:10.77.0.1. It is told as what is on the wire.
func TestMappedAddressesAreThoseOfIPv4(t *testing.T) {
	n := newNetwork(t)
	everywhere := netip.MustParseAddrPort("[::]:80")
	server := startNginxListening(t, n.server, "[::]:80 ipv6only=off", everywhere)
	config := n.settings()
	config.OTLP.Attributes = append(config.OTLP.Attributes, "network.type", "network.peer.address")
	o := observe(t, config)
	serverBefore := n.server.nstat()

	// Both kinds of client come to the server's IPv6 socket.
	four := *server
	four.at = n.server.at4(80)
	runErrands(t, n.client, &four, 3, 10)
	six := *server
	six.at = n.server.at6(80)
	runErrands(t, n.client, &six, 2, 10)
	// And a client whose own socket is an IPv6 one.
	mapped := func(port uint16) netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom16(n.server.v4.As16()), port)
	}
	require.NoError(t, n.client.connectAndWait(mapped(80)))
	require.Equal(t, syscall.ECONNREFUSED, n.client.connectAndWait(mapped(7001)))
	n.server.firewall(`table inet wall {
		counter dropped {}
		chain guard { type filter hook input priority 0; tcp dport 7002 counter name dropped drop; }
	}`)
	n.client.set("ipv4/tcp_syn_retries", "1")
	require.Equal(t, syscall.ETIMEDOUT, n.client.connectAndWait(mapped(7002)))
	eventually(t, "the log has all requests", func() bool { return server.lines() == 50 })
	eventually(t, "all connections are closed", func() bool { return len(n.stateCounts()) == 0 })
	passive := n.server.since(serverBefore)["TcpPassiveOpens"]
	o.stop()

	require.EqualValues(t, 6, passive)
	want := map[string]int64{"ipv4": 4, "ipv6": 2}
	for role, peer := range map[string][2]netip.Addr{"client": {n.server.v4, n.server.v6}, "server": {n.client.v4, n.client.v6}} {
		assert.Equal(t, want, o.by("network.type", "network.tcp.connection.opened", "network.tcp.handshake.role", role), role)
		assert.Equal(t, want, o.by("network.type", "network.tcp.connection.closed", "network.tcp.handshake.role", role), role)
		assert.Equal(t, map[string]int64{peer[0].String(): 4, peer[1].String(): 2},
			o.by("network.peer.address", "network.tcp.connection.opened", "network.tcp.handshake.role", role), role)
	}
	requireSpansOf(t, o, server.calls())
	for _, kind := range []ptrace.SpanKind{ptrace.SpanKindClient, ptrace.SpanKindServer} {
		for _, span := range o.spans(kind) {
			for _, name := range []string{"client.address", "server.address", "network.peer.address", "network.local.address"} {
				assert.NotContains(t, text(span.Attributes(), name), "ffff")
			}
		}
	}
	for port, failure := range map[int]string{7001: "ECONNREFUSED", 7002: "ETIMEDOUT"} {
		failed := o.events("network.tcp.connection.failed", "error.type", failure, "destination.port", port,
			"network.type", "ipv4", "source.address", n.client.v4, "destination.address", n.server.v4)
		assert.Len(t, failed, 1, summary(o))
	}
	assert.Len(t, o.events("network.packet.drop", "destination.port", 7002, "network.type", "ipv4",
		"source.address", n.client.v4, "destination.address", n.server.v4), n.server.counted()["dropped"], summary(o))
	resent := o.events("network.tcp.retransmit", "destination.port", 7002, "network.type", "ipv4",
		"source.address", n.client.v4, "destination.address", n.server.v4)
	assert.Len(t, resent, n.server.counted()["dropped"]-1, summary(o))
	reset := o.events("network.tcp.reset", "network.io.direction", "receive", "network.type", "ipv4",
		"source.address", n.server.v4, "destination.address", n.client.v4)
	assert.Len(t, reset, 1, summary(o))
}
