//go:build linux && (amd64 || arm64)

package kerneltest

import (
	"net"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"
)

// target is whom the points of one flow are of.
type target struct{ peer, peerPort, dialled, port string }

// targets are bytes sent by clients to each target.
func (o *observer) targets() map[target]int64 {
	sent := map[target]int64{}
	o.flows("network.flow.io", func(point pmetric.NumberDataPoint, _ pcommon.Map) {
		a := point.Attributes()
		if text(a, "network.flow.role") == "client" && text(a, "network.io.direction") == "transmit" {
			sent[target{text(a, "network.peer.address"), text(a, "network.peer.port"),
				text(a, "server.address"), text(a, "server.port")}] += point.IntValue()
		}
	})
	return sent
}

func TestAFlowToAServiceNamesItsBackend(t *testing.T) {
	n := newNetwork(t)
	n.client.ip("route", "add", "10.96.0.0/16", "via", n.server.v4.String())
	n.client.ip("route", "add", "fd96::/64", "via", n.server.v6.String())
	n.client.firewall(`table inet services {
		chain dial {
			type nat hook output priority -100;
			ip daddr 10.96.0.10 tcp dport 80 dnat ip to 10.77.0.2:7400
			ip6 daddr fd96::10 tcp dport 80 dnat ip6 to [fd77::2]:7401
		}
	}`)
	config := n.flowSettings()
	config.Probe.NAT = []string{n.server.path, n.client.path}
	o := observe(t, config)
	hook, refused := o.hook("nat")
	require.Equal(t, "netlink/conntrack", hook, "%v", refused)

	four, six := n.server.listen("tcp4", n.server.at4(7400)), n.server.listen("tcp6", n.server.at6(7401))
	for _, attempt := range []struct {
		to    netip.AddrPort
		times int
	}{
		{netip.MustParseAddrPort("10.96.0.10:80"), 3}, {netip.MustParseAddrPort("[fd96::10]:80"), 2}, {n.server.at4(7400), 1},
	} {
		listener := four
		if attempt.to.Addr().Is6() {
			listener = six
		}
		for range attempt.times {
			client := n.client.dial(attempt.to)
			accepted, err := listener.Accept()
			require.NoError(t, err)
			p := pair{client, accepted.(*net.TCPConn)}
			require.NoError(t, move(p.client, p.server, 1000))
			require.NoError(t, p.closeBy(p.client, p.server))
		}
	}
	eventually(t, "all connections are closed", func() bool { return len(n.stateCounts()) == 0 })
	o.stop()
	assert.Equal(t, map[target]int64{
		{"10.77.0.2", "7400", "10.96.0.10", "80"}: 3000,
		{"fd77::2", "7401", "fd96::10", "80"}:     2000,
		{"10.77.0.2", "", "", "7400"}:             1000, // what was not translated is as the client dialled it
	}, o.targets())
}

func TestAFlowOverUDPNamesTheBackendOfEachSocket(t *testing.T) {
	n := newNetwork(t)
	n.client.ip("route", "add", "10.96.0.0/16", "via", n.server.v4.String())
	n.client.ip("route", "add", "fd96::/64", "via", n.server.v6.String())
	n.client.firewall(`table inet services {
		chain dial {
			type nat hook output priority -100;
			ip daddr 10.96.0.10 udp dport 53 dnat ip to 10.77.0.2 : numgen inc mod 2 map { 0 : 7500, 1 : 7501 }
			ip6 daddr fd96::10 udp dport 53 dnat ip6 to [fd77::2]:7502
		}
	}`)
	for port := range uint16(2) {
		n.server.echo("udp4", n.server.at4(7500+port))
	}
	n.server.echo("udp6", n.server.at6(7502))
	n.server.echo("udp4", n.server.at4(7503))
	config := n.dnsSettings()
	config.Probe.NAT = []string{n.client.path}
	config.Probe.Datagrams.BySocket = true
	o := observe(t, config)
	hook, refused := o.hook("nat")
	require.Equal(t, "netlink/conntrack", hook, "%v", refused)

	service := netip.MustParseAddrPort("10.96.0.10:53")
	for i := range 4 { // the rule takes turns: each socket sends another amount, so that none can be mistaken
		n.client.ask(n.client.dialUDP(service), service, 3, []int{1, 10, 100, 1000}[i])
	}
	six := netip.MustParseAddrPort("[fd96::10]:53")
	n.client.ask(n.client.dialUDP(six), six, 2, 70)
	n.client.ask(n.client.dialUDP(n.server.at4(7503)), n.server.at4(7503), 1, 5)
	o.stop()
	want := map[target]int64{
		{"10.77.0.2", "7500", "10.96.0.10", "53"}: 3 * (1 + 100),
		{"10.77.0.2", "7501", "10.96.0.10", "53"}: 3 * (10 + 1000),
		{"fd77::2", "7502", "fd96::10", "53"}:     140,
		{"10.77.0.2", "", "", "7503"}:             5,
	}
	got := o.targets()
	if o.skipped() == 0 {
		assert.Equal(t, want, got)
	}
	for of, bytes := range got {
		assert.LessOrEqual(t, bytes, want[of], "%v", of)
	}
	assert.Zero(t, o.engine.Stats().Kernel.FlowsFull)
}
