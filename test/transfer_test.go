//go:build linux && (amd64 || arm64)

package kerneltest

import (
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// transfer is what both ss and the metrics say of one end of a connection.
type transfer struct{ Sent, Received, SegmentsOut, SegmentsIn int64 }

// ends are the two filters with which ss finds the ends of a connection to a port.
func (n *network) ends(port int) map[string]func() socket {
	return map[string]func() socket{
		"client": func() socket { return n.client.socketOf("dport", "=", fmt.Sprint(":", port)) },
		"server": func() socket { return n.server.socketOf("sport", "=", fmt.Sprint(":", port)) },
	}
}

func (s socket) transfer() transfer {
	return transfer{s.BytesSent - s.BytesRetrans, s.BytesReceived, s.SegsOut, s.SegsIn}
}

func (is transfer) since(was transfer) transfer {
	return transfer{is.Sent - was.Sent, is.Received - was.Received,
		is.SegmentsOut - was.SegmentsOut, is.SegmentsIn - was.SegmentsIn}
}

func (o *observer) transfer(role string, port int) transfer {
	of := func(name, direction string) int64 {
		return o.sum(name, "network.tcp.handshake.role", role, "server.port", port, "network.io.direction", direction)
	}
	return transfer{
		of("network.io", "transmit"), of("network.io", "receive"),
		of("network.packet.count", "transmit"), of("network.packet.count", "receive"),
	}
}

// requireAgreement waits until the metrics of a connection's ends are what ss shows. Acknowledgments may
// still be under way, so both are read anew each time.
func (n *network) requireAgreement(o *observer, port int) {
	o.t.Helper()
	for role, witness := range n.ends(port) {
		eventuallyEqual(o.t, fmt.Sprintf("the %s of port %d is as ss says", role, port),
			func() transfer { return witness().transfer() },
			func() transfer { return o.transfer(role, port) })
	}
}

func TestTransferOfLiveConnectionsAgreesWithSS(t *testing.T) {
	n := newNetwork(t)
	n.server.firewall(`table inet loss {
		counter lost {}
		chain in {
			type filter hook input priority 0;
			tcp dport 7102 meta length > 1000 numgen inc mod 10 9 counter name lost drop
		}
	}`)
	o := observe(t, n.settings())
	clientBefore, serverBefore := n.client.nstat(), n.server.nstat()
	for _, c := range []struct {
		port     int
		pair     pair
		up, down int
	}{
		{7100, n.connect(n.server.listen("tcp4", n.server.at4(7100))), 5_000_000, 100},
		{7101, n.connect(n.server.listen("tcp6", n.server.at6(7101))), 1, 700_000},
		{7102, n.connect(n.server.listen("tcp4", n.server.at4(7102))), 3_000_000, 3_000},
	} {
		require.NoError(t, move(c.pair.client, c.pair.server, c.up))
		require.NoError(t, move(c.pair.server, c.pair.client, c.down))
		n.requireAgreement(o, c.port)
		client, server := o.transfer("client", c.port), o.transfer("server", c.port)
		assert.EqualValues(t, c.up, client.Sent)
		assert.EqualValues(t, c.up, server.Received)
		assert.EqualValues(t, c.down, client.Received)
		assert.EqualValues(t, c.down, server.Sent)
		n.requireRTT(o, c.port, c.pair)
	}
	assert.Positive(t, n.server.counted()["lost"])
	assert.Positive(t, n.ends(7102)["client"]().Retrans)
	for _, port := range []int{7100, 7101, 7102} {
		for role, witness := range n.ends(port) {
			eventually(t, "all of the "+role+" is acknowledged", func() bool { return witness().Unacked == 0 })
		}
	}
	// On a slow machine the other connections and the handshakes may repeat something too.
	again := n.client.since(clientBefore)["TcpRetransSegs"] + n.server.since(serverBefore)["TcpRetransSegs"]
	o.stop()
	o.assertAll(int(again), o.sum("network.tcp.retransmits"))
}

// requireRTT: a byte more on the connection is one observation more, of the smoothed round-trip time that ss
// shows before or after it, as the collection may come while the byte is under way; and of the least.
func (n *network) requireRTT(o *observer, port int, p pair) {
	o.t.Helper()
	of := where{"network.tcp.handshake.role", "client", "server.port", port}
	before := n.ends(port)["client"]()
	countBefore, sumBefore := o.distribution("network.tcp.rtt", of...)
	leastCountBefore, leastBefore := o.distribution("network.tcp.rtt.min", of...)
	require.Positive(o.t, countBefore)
	require.Equal(o.t, countBefore, leastCountBefore)
	require.NoError(o.t, move(p.client, p.server, 1))
	n.requireAgreement(o, port)
	after := n.ends(port)["client"]()
	count, sum := o.distribution("network.tcp.rtt", of...)
	leastCount, least := o.distribution("network.tcp.rtt.min", of...)
	require.Equal(o.t, []uint64{countBefore + 1, countBefore + 1}, []uint64{count, leastCount})
	const microsecond = 1.001e-3 // ss and the metric round each to one
	is := func(measured, before, after float64) {
		o.t.Helper()
		assert.Truef(o.t, math.Abs(measured-before) < microsecond || math.Abs(measured-after) < microsecond,
			"%v ms; ss: %v, then %v", measured, before, after)
	}
	is((sum-sumBefore)*1e3, before.RTT, after.RTT)
	is((least-leastBefore)*1e3, before.MinRTT, after.MinRTT)
}

func TestConnectionsOlderThanTheObserverAreAdopted(t *testing.T) {
	withEachTap(t, testAdoption) // which decides where the state of connections is kept
}

func testAdoption(t *testing.T, avoid []string) {
	n := newNetwork(t)
	pairs := map[int]pair{
		7100: n.connect(n.server.listen("tcp4", n.server.at4(7100))),
		7101: n.connect(n.server.listen("tcp6", n.server.at6(7101))),
	}
	earlier := map[string]transfer{}
	for port, p := range pairs {
		require.NoError(t, move(p.client, p.server, 1000))
		require.NoError(t, move(p.server, p.client, 50_000))
		ends := n.ends(port)
		eventually(t, "all is acknowledged", func() bool {
			client, server := ends["client"](), ends["server"]()
			return client.BytesReceived == 50_000 && server.BytesReceived == 1000 && client.Unacked+server.Unacked == 0
		})
		for role, witness := range ends {
			earlier[fmt.Sprint(role, port)] = witness().transfer()
		}
	}
	o := observe(t, avoiding(n.settings(), avoid))
	requireTap(t, o, avoid)
	adopted := map[string]transfer{} // at the latest: a segment may have passed while the probes were attached
	for port := range pairs {
		for role, witness := range n.ends(port) {
			adopted[fmt.Sprint(role, port)] = witness().transfer()
		}
	}
	for port, p := range pairs {
		require.NoError(t, move(p.client, p.server, 200))
		require.NoError(t, move(p.server, p.client, 30_000))
		for role, witness := range n.ends(port) {
			end := fmt.Sprint(role, port)
			eventually(t, end+" is as ss says, less what was before", func() bool {
				most, least := witness().transfer().since(earlier[end]), witness().transfer().since(adopted[end])
				is := o.transfer(role, port)
				return is.Sent == most.Sent && is.Received == most.Received &&
					is.SegmentsOut >= least.SegmentsOut && is.SegmentsOut <= most.SegmentsOut &&
					is.SegmentsIn >= least.SegmentsIn && is.SegmentsIn <= most.SegmentsIn
			})
		}
		assert.EqualValues(t, 200, o.transfer("client", port).Sent)
		assert.EqualValues(t, 30_000, o.transfer("client", port).Received)
	}
	assert.Equal(t, map[string]int64{"established": 4}, o.by("network.connection.state", "network.tcp.connection.count"))
	for _, p := range pairs {
		require.NoError(t, p.closeBy(p.client, p.server))
	}
	eventually(t, "all connections are closed", func() bool { return len(n.stateCounts()) == 0 })
	o.stop()
	assert.Zero(t, o.sum("network.tcp.connection.opened"), "they opened before")
	assert.Equal(t, map[string]int64{"client": 2, "server": 2},
		o.by("network.tcp.handshake.role", "network.tcp.connection.closed"))
	assert.EqualValues(t, 4, o.engine.Stats().Connections.Adopted)
}
