//go:build linux && (amd64 || arm64)

package kerneltest

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// netem has the namespace's packets pass the kernel's network emulator on their way out. The test is skipped on a
// kernel that is not the lab's and has no such thing.
func (n *namespace) netem(arguments string) {
	n.t.Helper()
	need(n.t, "tc")
	add := exec.Command("tc", strings.Fields("qdisc add dev eth0 root netem limit 100000 "+arguments)...)
	var complaint strings.Builder
	add.Stderr = &complaint
	require.NoError(n.t, n.start(add))
	if err := add.Wait(); err != nil {
		lacks(n.t, "this kernel has no netem: %s", complaint.String())
	}
}

// trip is a connection over a path that does something to what the client sends.
type trip struct {
	*network
	o              *observer
	client, server socket           // as ss shows them
	nstat          map[string]int64 // of both ends
}

const freight = 1_000_000

// onEachPath runs a test over a cable that this process makes, and through the kernel's own emulator.
func onEachPath(t *testing.T, w *cable, netem string, test func(*testing.T, trip)) {
	t.Run("cable", func(t *testing.T) {
		tr := travel(t, newCabledNetwork(t, w))
		require.True(t, w.nth == 0 || w.touched.Load() > 0)
		test(t, tr)
	})
	t.Run("netem", func(t *testing.T) {
		n := newNetwork(t)
		n.client.netem(netem)
		test(t, travel(t, n))
	})
}

// travel sends bytes both ways, and holds bytes, segments and retransmits against ss and nstat, whatever befell them.
func travel(t *testing.T, n *network) trip {
	t.Helper()
	// Each packet is one of the device's, not a bundle.
	n.client.ip("link", "set", "eth0", "gso_max_segs", "1")
	o := observe(t, n.settings())
	clientBefore, serverBefore := n.client.nstat(), n.server.nstat()
	p := n.connect(n.server.listen("tcp4", n.server.at4(7200)))
	require.NoError(t, move(p.client, p.server, freight))
	require.NoError(t, move(p.server, p.client, freight/10))
	n.requireQuiet([]pair{p})
	n.requireAgreement(o, 7200)
	tr := trip{network: n, o: o, client: n.ends(7200)["client"](), server: n.ends(7200)["server"]()}
	assert.EqualValues(t, freight, o.transfer("client", 7200).Sent)
	assert.EqualValues(t, freight, o.transfer("server", 7200).Received)
	require.NoError(t, p.closeBy(p.client, p.server))
	eventually(t, "the connection is closed", func() bool { return len(n.stateCounts()) == 0 })
	tr.nstat = n.client.since(clientBefore)
	for name, value := range n.server.since(serverBefore) {
		tr.nstat[name] += value
	}
	o.stop()
	assert.Equal(t, map[string]int64{"local_fin": 1, "remote_fin": 1},
		o.by("network.tcp.close.reason", "network.tcp.connection.closed"))
	assert.Equal(t, tr.nstat["TcpRetransSegs"], o.sum("network.tcp.retransmits"), summary(o))
	assert.Equal(t, tr.nstat["TcpOutRsts"], o.sum("network.tcp.resets", "network.io.direction", "transmit"))
	return tr
}

func TestPacketsThatOvertakeOthersAreNoDrops(t *testing.T) {
	onEachPath(t, &cable{nth: 7, after: true}, "delay 5ms reorder 100% gap 5", func(t *testing.T, tr trip) {
		require.Positive(t, tr.server.OutOfOrder)
		assert.Equal(t, tr.server.OutOfOrder, tr.o.sum("network.tcp.out_of_order", "network.tcp.handshake.role", "server"))
		assert.Equal(t, tr.client.OutOfOrder, tr.o.sum("network.tcp.out_of_order", "network.tcp.handshake.role", "client"))
		tr.o.requireNoDrops(nil, tr.nstat)
	})
}

func TestPacketsThatComeTwiceAreNoDrops(t *testing.T) {
	onEachPath(t, &cable{nth: 5, twice: true}, "duplicate 30%", func(t *testing.T, tr trip) {
		require.Positive(t, tr.nstat["TcpExtTCPDSACKRecv"], "the server told the client of copies")
		require.Greater(t, tr.server.SegsIn, tr.client.SegsOut)
		causes := map[string]int64{}
		if olderThan(t, 5, 17) { // the second of two SYNs is freed where one is that nobody listens for
			causes["tcp_v4_rcv"] = tr.nstat["TcpExtTCPSynRetrans"] + tr.nstat["TcpExtTCPACKSkippedSynRecv"]
		}
		tr.o.requireNoDrops(causes, tr.nstat)
	})
}

func TestADelayIsInTheRoundTripTime(t *testing.T) {
	const delay = 0.049 // seconds; the clock of TCP timestamps ticks in milliseconds
	onEachPath(t, &cable{delay: 50 * time.Millisecond}, "delay 50ms", func(t *testing.T, tr trip) {
		for _, role := range []string{"client", "server"} { // the server's SYN-ACK is answered by the client
			count, seconds := tr.o.distribution("network.tcp.handshake.duration", "network.tcp.handshake.role", role)
			assert.EqualValues(t, 1, count, role)
			assert.GreaterOrEqual(t, seconds, delay, role)
			for _, name := range []string{"network.tcp.rtt", "network.tcp.rtt.min"} {
				count, seconds := tr.o.distribution(name, "network.tcp.handshake.role", role)
				assert.Positive(t, count)
				assert.GreaterOrEqual(t, seconds, float64(count)*delay, "%s of the %s", name, role)
			}
		}
		require.GreaterOrEqual(t, tr.client.RTT, 1000*delay)
		tr.o.requireNoDrops(nil, tr.nstat)
	})
}

func TestLossInTheEmulatorAgreesWithTC(t *testing.T) {
	n := newNetwork(t)
	// Else the messages by which fresh devices find their neighbors and join their groups may be lost, or refused by an
	// end that has no IPv6 yet, before anybody counts.
	for _, end := range []*namespace{n.server, n.client} {
		end.do(func() {
			require.NoError(t, os.WriteFile("/proc/sys/net/ipv6/conf/eth0/disable_ipv6", []byte("1"), 0o644))
		})
	}
	n.client.netem("loss 3%")
	tr := travel(t, n)
	lost := n.client.droppedByQdisc("eth0")
	require.Positive(t, lost)
	tr.o.requireNoDrops(map[string]int64{queueReason(tr.o): int64(lost)}, tr.nstat)
	assert.Len(t, tr.o.events("network.packet.drop", "network.packet.drop.reason", queueReason(tr.o)), lost)
}
