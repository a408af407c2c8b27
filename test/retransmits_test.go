//go:build linux && (amd64 || arm64)

package kerneltest

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Every second of some kind of segment is lost, beginning with the first: what is lost gets through when it is
// sent again.
const lossOfEach = `table inet loss {
	counter lost {}
	chain in {
		type filter hook input priority 0;
		tcp dport 7401 meta length > 80 numgen inc mod 2 0 counter name lost drop
		tcp dport 7402 tcp flags & (syn|ack) == syn numgen inc mod 2 0 counter name lost drop
		tcp sport 7403 tcp flags & (syn|ack) == (syn|ack) numgen inc mod 2 0 counter name lost drop
		tcp dport 7404 meta length > 1000 numgen inc mod 10 9 counter name lost drop
	}
}`

func TestRetransmitsAgreeWithNstat(t *testing.T) {
	n := newNetwork(t)
	n.client.firewall(lossOfEach)
	n.server.firewall(lossOfEach)
	o := observe(t, n.settings())
	clientBefore, serverBefore := n.client.nstat(), n.server.nstat()

	tail := n.connect(n.server.listen("tcp4", n.server.at4(7401)))
	for range 3 {
		require.NoError(t, move(tail.client, tail.server, 100))
	}
	n.connect(n.server.listen("tcp6", n.server.at6(7402)))
	n.connect(n.server.listen("tcp4", n.server.at4(7403)))
	bulk := n.connect(n.server.listen("tcp6", n.server.at6(7404)))
	require.NoError(t, move(bulk.client, bulk.server, 3_000_000))
	eventually(t, "all is acknowledged", func() bool { return n.ends(7404)["client"]().Unacked == 0 })
	again := n.ends(7404)["client"]()
	client, server := n.client.since(clientBefore), n.server.since(serverBefore)
	o.stop()

	both := func(counter string) int64 { return client[counter] + server[counter] }
	types := o.by("network.tcp.retransmit.type", "network.tcp.retransmits")
	total := int64(0)
	for _, times := range types {
		total += times
	}
	// Each run that the kernel skipped may stand for as many segments as a device cuts 64 KiB into.
	skipped := int64(o.skipped())
	missing := 64 << 10 / 1400 * skipped
	within := func(want, got, missing int64) {
		t.Helper()
		assert.LessOrEqual(t, got, want, "%v, %d runs skipped", types, skipped)
		assert.GreaterOrEqual(t, got, want-missing, "%v, %d runs skipped", types, skipped)
	}
	within(both("TcpRetransSegs"), total, missing)
	assert.Equal(t, total, o.sum("network.tcp.retransmits"), "each has a type")
	within(both("TcpExtTCPSynRetrans"), types["syn"]+types["syn_ack"], skipped)
	assert.Positive(t, types["syn"], "%v", types)
	assert.Positive(t, types["syn_ack"], "%v", types)
	within(both("TcpExtTCPFastRetrans"), types["fast"], missing)
	assert.Positive(t, types["fast"])
	assert.Positive(t, types["tail_loss_probe"])
	assert.LessOrEqual(t, types["tail_loss_probe"], both("TcpExtTCPLossProbes"), "a probe may also be new data")

	// An event may stand for several segments that were sent again at once: their bytes are all there.
	bytes := int64(0)
	for _, event := range o.events("network.tcp.retransmit", "destination.port", 7404) {
		size, _ := event.Attributes().Get("network.packet.size")
		bytes += size.Int()
	}
	within(again.BytesRetrans, bytes, skipped<<16)
	assert.Positive(t, again.Retrans)
	for kind, times := range types {
		events := o.events("network.tcp.retransmit", "network.tcp.retransmit.type", kind)
		assert.NotEmpty(t, events, kind)
		assert.LessOrEqual(t, len(events), int(times), kind)
		for _, event := range events {
			assert.Equal(t, "transmit", text(event.Attributes(), "network.io.direction"))
			assert.NotEmpty(t, text(event.Attributes(), "source.port"))
		}
	}
}
