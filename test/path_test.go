//go:build linux && (amd64 || arm64)

package kerneltest

import (
	"net"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/plog"

	"github.com/ebpfnet/ebpfnetreceiver/internal/engine"
)

// watching are settings that watch a third namespace as well.
func (n *network) watching(middle *namespace) engine.Config {
	config := n.settings()
	config.Probe.Scope.NetworkNamespaces = append(config.Probe.Scope.NetworkNamespaces, middle.path)
	return config
}

// A packet that is only passing has no socket where it is dropped.
func TestWhatARouterDropsAgreesWithItsCounters(t *testing.T) {
	n, router := newRoutedNetwork(t)
	router.firewall(`table inet wall {
		counter tcp4 {}
		counter tcp6 {}
		counter udp4 {}
		counter udp6 {}
		chain guard {
			type filter hook forward priority 0;
			ip protocol tcp tcp dport 7001 counter name tcp4 drop
			meta nfproto ipv6 tcp dport 7001 counter name tcp6 drop
			ip protocol udp udp dport 7001 counter name udp4 drop
			meta nfproto ipv6 udp dport 7001 counter name udp6 drop
		}
	}`)
	n.server.swallow(7002)
	o := observe(t, n.watching(router))
	before := router.nstat()
	for transport, to := range map[string]netip.AddrPort{"tcp4": n.server.at4(7001), "tcp6": n.server.at6(7001)} {
		n.client.knock(to, func() bool { return router.counted()[transport] > 0 })
	}
	const datagrams = 6
	n.client.datagrams(n.server.at4(7001), datagrams)
	n.client.datagrams(n.server.at6(7001), datagrams)
	n.client.datagrams(n.server.at4(7002), datagrams) // which get through
	n.client.datagrams(netip.MustParseAddrPort("10.79.0.1:7003"), datagrams)
	n.client.datagrams(netip.MustParseAddrPort("[fd79::1]:7003"), datagrams)
	n.client.datagramsOf(1, n.server.at4(7004), datagrams)
	n.client.datagramsOf(1, n.server.at6(7004), datagrams)
	given := func() []int64 {
		counters := router.since(before)
		return []int64{counters["IpExtInNoRoutes"], counters["Ip6InNoRoutes"], counters["IpInHdrErrors"], counters["Ip6InHdrErrors"]}
	}
	eventuallyEqual(t, "what nstat has of packets without a route or a hop left",
		func() []int64 { return []int64{datagrams, datagrams, datagrams, datagrams} }, given)
	eventually(t, "the firewall saw all datagrams", func() bool {
		seen := router.counted()
		return seen["udp4"] == datagrams && seen["udp6"] == datagrams
	})
	counted := router.counted()
	o.stop()

	total := 4 * datagrams
	for name, packets := range counted {
		total += packets
		assert.Len(t, o.events("network.packet.drop", "network.transport", name[:3], "network.type", "ipv"+name[3:],
			"network.packet.drop.reason", netfilterReason(o), "destination.port", 7001, "network.io.direction", "receive",
			"network.interface.name", "left"), packets, name)
	}
	for _, network := range []string{"ipv4", "ipv6"} {
		for _, port := range []int{7003, 7004} {
			assert.Len(t, o.events("network.packet.drop", "network.type", network, "destination.port", port,
				"network.interface.name", "left", "network.io.direction", "receive"), datagrams, "%s %d", network, port)
		}
	}
	for _, event := range o.dropsOfUnicast() {
		a := event.Attributes()
		assert.Contains(t, []string{n.client.v4.String(), n.client.v6.String()}, text(a, "source.address"))
		assert.NotEmpty(t, text(a, "source.port"))
		assert.NotEmpty(t, text(a, "network.packet.drop.reason"))
		assert.Empty(t, text(a, "process.pid"), "nobody's packet")
	}
	assert.Len(t, o.dropsOfUnicast(), total, summary(o))
}

// A full queue on the way out drops what came in by another device.
func TestWhatARoutersQueueDropsAgreesWithTC(t *testing.T) {
	n, router := newRoutedNetwork(t)
	n.server.swallow(7002)
	router.run("tc", "qdisc", "add", "dev", "right", "root", "tbf", "rate", "8kbit", "burst", "1600", "limit", "3000")
	o := observe(t, n.watching(router))
	before := router.droppedByQdisc("right")
	dropped := func() int { return router.droppedByQdisc("right") - before }
	for _, to := range []netip.AddrPort{n.server.at4(7002), n.server.at6(7002)} {
		already := dropped()
		eventually(t, "some are dropped", func() bool {
			n.client.datagrams(to, 100)
			return dropped() > already
		})
	}
	// The router works on, beside the sender.
	eventuallyEqual(t, "drops", dropped, func() int { return len(o.dropsOfUnicast()) })
	o.stop()
	assert.Len(t, o.dropsOfUnicast(), dropped(), summary(o))
	assert.Len(t, o.events("network.packet.drop", "network.interface.name", "right", "destination.port", 7002,
		"network.io.direction", "transmit", "network.packet.drop.reason", queueReason(o)), dropped(), summary(o))
}

func TestWhatABridgeDropsAgreesWithItsFirewall(t *testing.T) {
	n, bridge := newBridgedNetwork(t)
	// Not at priority 0: where br_netfilter is loaded, older kernels pass over what comes there after it
	// (br_nf_hook_thresh).
	bridge.firewall(`table bridge wall {
		counter tcp4 {}
		counter tcp6 {}
		counter udp4 {}
		counter udp6 {}
		counter question {}
		chain guard {
			type filter hook forward priority filter;
			ether type ip ip protocol tcp tcp dport 7001 counter name tcp4 drop
			ether type ip6 ip6 nexthdr tcp tcp dport 7001 counter name tcp6 drop
			ether type ip ip protocol udp udp dport 7001 counter name udp4 drop
			ether type ip6 ip6 nexthdr udp udp dport 7001 counter name udp6 drop
			ether type arp arp daddr ip 10.77.0.99 counter name question drop
		}
	}`)
	n.client.set("ipv4/neigh/eth0/retrans_time_ms", "60000") // the question is not asked again
	o := observe(t, n.watching(bridge))
	for transport, to := range map[string]netip.AddrPort{"tcp4": n.server.at4(7001), "tcp6": n.server.at6(7001)} {
		n.client.knock(to, func() bool { return bridge.counted()[transport] > 0 })
	}
	const datagrams = 6
	n.client.datagrams(n.server.at4(7001), datagrams)
	n.client.datagrams(n.server.at6(7001), datagrams)
	n.client.datagrams(netip.MustParseAddrPort("10.77.0.99:7005"), 1)
	eventually(t, "the firewall saw all", func() bool {
		seen := bridge.counted()
		return seen["udp4"] == datagrams && seen["udp6"] == datagrams && seen["question"] > 0
	})
	o.stop()
	counted := bridge.counted()

	total := 0
	for name, packets := range counted {
		total += packets
		if name == "question" {
			continue // has neither ports nor a transport
		}
		assert.Len(t, o.events("network.packet.drop", "network.transport", name[:3], "network.type", "ipv"+name[3:],
			"network.packet.drop.reason", netfilterReason(o), "destination.port", 7001), packets, name)
	}
	assert.Len(t, o.dropsOfUnicast(), total, summary(o))
}

// A connection across a bridge or a router is one connection, at its two ends.
func TestAConnectionThroughOthersIsToldByItsEndsAlone(t *testing.T) {
	for name, make := range map[string]func(*testing.T) (*network, *namespace){"router": newRoutedNetwork, "bridge": newBridgedNetwork} {
		t.Run(name, func(t *testing.T) {
			n, middle := make(t)
			o := observe(t, n.watching(middle))
			before := middle.nstat()
			for port, listener := range map[int]net.Listener{
				7100: n.server.listen("tcp4", n.server.at4(7100)), 7101: n.server.listen("tcp6", n.server.at6(7101)),
			} {
				p := n.connect(listener)
				require.NoError(t, move(p.client, p.server, 300_000))
				require.NoError(t, move(p.server, p.client, 20_000))
				n.requireAgreement(o, port)
				require.NoError(t, p.closeBy(p.client, p.server))
			}
			if name == "router" {
				require.Positive(t, middle.since(before)["IpForwDatagrams"])
				require.Positive(t, middle.since(before)["Ip6OutForwDatagrams"])
			}
			eventually(t, "the connections are gone", func() bool { return len(n.stateCounts()) == 0 })
			client, server := n.client.nstat(), n.server.nstat()
			o.stop()
			assert.Equal(t, map[string]int64{"client": 2, "server": 2},
				o.by("network.tcp.handshake.role", "network.tcp.connection.opened"))
			// What a new device tells its neighbors by multicast nobody may want.
			segments := o.events("network.packet.drop", "network.transport", "tcp")
			require.LessOrEqual(t, int64(len(segments)), tooLate(client, server), summary(o))
			assert.Zero(t, o.sum("network.tcp.resets"), summary(o))
		})
	}
}

// dropsOfUnicast are all drops but those of multicast: what a new device tells its neighbors that way nobody may want.
func (o *observer) dropsOfUnicast() (found []plog.LogRecord) {
	o.t.Helper()
	for _, event := range o.events("network.packet.drop") {
		to, err := netip.ParseAddr(text(event.Attributes(), "destination.address"))
		if err != nil || !to.IsMulticast() {
			found = append(found, event)
		}
	}
	return found
}
