//go:build linux && (amd64 || arm64)

package kerneltest

import (
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// ipvsadm is what ipvsadm says of the one service there is: connections, packets in and out, bytes in and out.
func (n *namespace) ipvsadm() (totals [5]int64) {
	n.t.Helper()
	for row := range strings.Lines(n.run("ipvsadm", "--list", "--numeric", "--stats", "--exact")) {
		if fields := strings.Fields(row); len(fields) == 7 && fields[0] == "TCP" {
			for i := range totals {
				value, err := strconv.ParseInt(fields[2+i], 10, 64)
				require.NoError(n.t, err)
				totals[i] += value
			}
		}
	}
	return totals
}

func TestIPVSCountersAgreeWithIpvsadm(t *testing.T) {
	if _, err := os.Stat("/proc/net/ip_vs_stats"); err != nil {
		lacks(t, "no IPVS in this kernel: %v", err)
	}
	n := newNetwork(t)
	need(t, "ipvsadm")
	service := netip.MustParseAddrPort("10.96.0.10:80")
	n.client.ip("route", "add", service.Addr().String()+"/32", "via", n.server.v4.String())
	n.client.run("ipvsadm", "--add-service", "--tcp-service", service.String(), "--scheduler", "rr")
	n.client.run("ipvsadm", "--add-server", "--tcp-service", service.String(), "--real-server", n.server.at4(7700).String(), "--masquerading")
	n.client.inhabit("")
	o := observe(t, counting(n.client))

	listener := n.server.listen("tcp4", n.server.at4(7700))
	for range 4 {
		client := n.client.dial(service)
		accepted, err := listener.Accept()
		require.NoError(t, err)
		p := pair{client, accepted.(*net.TCPConn)}
		require.NoError(t, move(p.client, p.server, 5000))
		require.NoError(t, move(p.server, p.client, 20_000))
		require.NoError(t, p.closeBy(p.client, p.server))
	}
	eventually(t, "all connections are closed", func() bool { return len(n.stateCounts()) == 0 })
	// What processors counted is summed up every two seconds.
	eventually(t, "ipvsadm has all four connections and what they carried", func() bool {
		said := n.client.ipvsadm()
		return said[0] == 4 && said[3] > 4*5000 && said[4] > 4*20_000
	})
	eventuallyEqual(t, "IPVS counts what ipvsadm says", n.client.ipvsadm, func() (told [5]int64) {
		counters := n.client.counters(o)
		for i, key := range []string{
			"network.ipvs.connections", "network.ipvs.packet.count receive", "network.ipvs.packet.count transmit",
			"network.ipvs.io receive", "network.ipvs.io transmit",
		} {
			told[i] = counters[key].value
		}
		return told
	})
}

// conntrack sums up what `conntrack -S` prints for each processor.
func (n *namespace) conntrack() map[string]int64 {
	n.t.Helper()
	sums := map[string]int64{}
	for field := range strings.FieldsSeq(n.run("conntrack", "--stats")) {
		if name, value, ok := strings.Cut(field, "="); ok && name != "cpu" {
			count, err := strconv.ParseInt(value, 10, 64)
			require.NoError(n.t, err)
			sums[name] += count
		}
	}
	return sums
}

func TestConntrackCountersAgreeWithConntrack(t *testing.T) {
	n := newNetwork(t)
	need(t, "conntrack", "nft")
	n.server.firewall(`table inet track {
		chain in {
			type filter hook input priority 0;
			ct state invalid drop;
		}
	}`)
	n.server.set("netfilter/nf_conntrack_tcp_loose", "0") // a connection that is met in the middle is none
	n.server.inhabit("")
	o := observe(t, counting(n.server))
	p := n.connect(n.server.listen("tcp4", n.server.at4(7701)))
	require.NoError(t, move(p.client, p.server, 1000))
	n.server.run("conntrack", "--flush")
	require.NoError(t, p.client.SetLinger(0))
	require.NoError(t, p.client.Close())
	eventually(t, "the server's table has found something invalid", func() bool { return n.server.conntrack()["invalid"] > 0 })
	names := []string{"found", "invalid", "insert", "insert_failed", "drop", "early_drop", "search_restart"}
	eventuallyEqual(t, "conntrack -S says the same", func() (said [7]int64) {
		sums := n.server.conntrack()
		for i, name := range names {
			said[i] = sums[name]
		}
		return said
	}, func() (told [7]int64) {
		counters := n.server.counters(o)
		for i, name := range names {
			told[i] = counters["network.conntrack.counter "+name].value
		}
		return told
	})
}
