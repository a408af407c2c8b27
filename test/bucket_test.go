//go:build linux && (amd64 || arm64)

package kerneltest

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

func TestTheTokenBucketHoldsEventsBackAndCountsThem(t *testing.T) {
	n := newNetwork(t)
	n.server.firewall(fmt.Sprintf(wall, "input"))
	config := n.settings()
	config.Probe.Drops.PerSecond = 5
	o := observe(t, config)
	began := time.Now()
	n.client.datagrams(n.server.at4(7001), 500)
	eventually(t, "the firewall saw all datagrams", func() bool { return n.server.counted()["udp4"] == 500 })
	seconds := time.Since(began).Seconds()
	o.stop()

	assert.EqualValues(t, 500, o.sum("network.packet.drops"))
	books := o.engine.Stats().Kernel.Kinds[wire.RecordDrop]
	logs := len(o.events("network.packet.drop"))
	assert.EqualValues(t, 500, books.Seen)
	assert.EqualValues(t, logs, books.Submitted)
	assert.EqualValues(t, 500-logs, books.Suppressed)
	assert.GreaterOrEqual(t, logs, 5, "a full bucket")
	// A full bucket and what has flowed in since; two processors at the same moment may draw one too many.
	assert.LessOrEqual(t, float64(logs), 5+5*seconds+1)
}

func TestWithoutEventsTheMetricsAreExact(t *testing.T) {
	n := newNetwork(t)
	n.server.firewall(fmt.Sprintf(wall, "input"))
	config := n.settings()
	config.Probe.Drops.PerSecond = 0
	o := observe(t, config)
	n.client.datagrams(n.server.at6(7001), 20)
	eventually(t, "the firewall saw all datagrams", func() bool { return n.server.counted()["udp6"] == 20 })
	o.stop()
	assert.EqualValues(t, 20, o.sum("network.packet.drops"))
	assert.Empty(t, o.events("network.packet.drop"))
}
