package otlp

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

func TestCommandsAddUpByDeviceAndClass(t *testing.T) {
	p := newPipeline(Options{})
	for range 2 {
		p.commands = []wire.CommandTimes{
			{Key: command("eth1", 0), SumNs: 1e6, First: 100, Counts: []uint32{1}},
			{Key: command("eth0", 7), SumNs: 2e6, First: 100, Counts: []uint32{0, 2}},
			{Key: wire.CommandKey{Overflow: 1}, SumNs: 3e6, First: 100, Counts: []uint32{5}},
		}
		p.collect()
	}
	points := find(t, p.collect(), "network.interface.command.duration").ExponentialHistogram().DataPoints()
	require.Equal(t, 3, points.Len(), "what nothing was added to is told again")
	for i, want := range []struct {
		attributes map[string]any
		count      uint64
		sum        float64
	}{
		{map[string]any{attrInterfaceName: "eth0", attrCommandClass: "_OTHER"}, 6, 0.006},
		{map[string]any{attrInterfaceName: "eth1", attrCommandClass: "rx"}, 3, 0.003},
		{map[string]any{attrOverflow: true}, 15, 0.009},
	} {
		assert.Equal(t, want.attributes, points.At(i).Attributes().AsRaw())
		assert.Equal(t, want.count, points.At(i).Count())
		assert.InDelta(t, want.sum, points.At(i).Sum(), 1e-12)
	}
}

func TestASlowCommandIsToldWithItsDevice(t *testing.T) {
	logs := newLogs()
	event := &wire.SlowEvent{What: wire.SlowCommand, DurationNs: 250e6, Stage: 4}
	copy(event.Comm[:], "eth0")
	logs.Slow(event, nil, Link{})
	record, attributes := bodyOf(t, logs.Take())
	assert.Equal(t, EventCommandSlow, record.EventName())
	assert.Equal(t, "command mq to eth0 took 250ms", record.Body().Str())
	assert.Equal(t, map[string]any{
		attrSlowDuration: 0.25, attrInterfaceName: "eth0", attrCommandClass: "mq",
	}, attributes)
}
