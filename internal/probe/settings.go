//go:build linux && (amd64 || arm64)

package probe

import (
	"math"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

func (c Config) withDefaults() Config {
	if c.CollectionInterval == 0 {
		c.CollectionInterval = 10 * time.Second
	}
	if c.FlushInterval == 0 {
		c.FlushInterval = time.Second
	}
	if c.RingBytes == 0 {
		c.RingBytes = 8 << 20
	}
	if c.MaxConnections == 0 {
		c.MaxConnections = 262144
	}
	if c.Datagrams.MaxFlows == 0 {
		c.Datagrams.MaxFlows = 16384
	}
	if c.Payload.CaptureBytes == 0 {
		c.Payload.CaptureBytes = 4096
	}
	return c
}

// tick is the period of the kernel's timer (CONFIG_HZ), which is the resolution of its coarse clocks.
func tick() time.Duration {
	var resolution unix.Timespec
	if err := unix.ClockGetres(unix.CLOCK_MONOTONIC_COARSE, &resolution); err != nil || resolution.Nano() <= 0 {
		return 10 * time.Millisecond // the longest that there is
	}
	return time.Duration(resolution.Nano())
}

// failedPerSecond bounds the logs of failed connects; their number is exact whatever it is.
const failedPerSecond = 50

// exemplars is how many of the longest times of stages are told of in a collection at most: a few per owner and stage
// suffice.
const exemplars = 1000

// addLimits sets the token buckets: a rate, and a depth of one second's worth but at least one event.
func (c Config) addLimits(constants map[string]any) {
	failed := Events{}
	if c.Connections {
		failed.PerSecond = failedPerSecond
	}
	var interval, burst [wire.RecordKindMax]uint64
	var stack [wire.RecordKindMax]uint32
	for kind, events := range map[int]Events{
		wire.RecordDrop:       c.Drops,
		wire.RecordReset:      c.Resets,
		wire.RecordRetransmit: c.Retransmits,
		wire.RecordConnFailed: failed,
		wire.RecordSlow:       {PerSecond: c.Slow.PerSecond},
		wire.RecordStage:      {PerSecond: exemplars / c.CollectionInterval.Seconds()},
	} {
		stack[kind] = boolean(events.Stack)
		if events.PerSecond > 0 {
			interval[kind] = max(1, uint64(float64(time.Second)/events.PerSecond))
			burst[kind] = max(interval[kind], uint64(time.Second))
		}
	}
	constants["calls_enabled"] = boolean(c.Payload.Enabled)
	constants["waits_enabled"] = boolean(c.Stages)
	constants["capture_dns"] = boolean(c.Datagrams.DNS)
	slow := [wire.SlowMax]uint64{
		wire.SlowRead: uint64(c.Slow.Read), wire.SlowWrite: uint64(c.Slow.Write),
		wire.SlowSoftirq: uint64(c.Slow.Softirq), wire.SlowStage: uint64(c.Slow.Stage),
		wire.SlowWindow: uint64(c.Slow.ZeroWindow), wire.SlowCommand: uint64(c.Slow.Stage),
	}
	constants["slow_threshold_ns"] = slow
	if c.Exemplars {
		constants["stage_told_ns"] = uint64(c.CollectionInterval)
	}
	constants["stage_cpu_mask"] = stageCPUMask(ebpf.MustPossibleCPU())
	constants["programs_alone"] = boolean(kernelSince(6, 2))
	if c.StageRate > 0 {
		constants["stage_allowance"] = uint32(min(max(c.StageRate*stageWindow.Seconds(), 1), math.MaxUint32))
		constants["stage_window_ticks"] = uint64(stageWindow / tick())
		constants["stage_window_ns"] = uint64(stageWindow/tick()+1) * uint64(tick())
	}
	constants["slow_stack"] = boolean(c.Slow.Stack)
	constants["limit_interval_ns"] = interval
	constants["limit_burst_ns"] = burst
	constants["stack_enabled"] = stack
}
