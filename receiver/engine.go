package receiver

import (
	"context"
	"errors"
	"strings"

	"go.uber.org/zap"

	"github.com/ebpfnet/ebpfnetreceiver/internal/engine"
	"github.com/ebpfnet/ebpfnetreceiver/internal/otlp"
	"github.com/ebpfnet/ebpfnetreceiver/internal/probe"
	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

// runner is what the lifecycle needs of *engine.Engine.
type runner interface {
	Run(context.Context) error
	Stats() stats
}

// opener makes a runner that is ready to run, or fails with one error that says what is missing.
type opener func(engine.Config, engine.Sink, *zap.Logger) (runner, error)

type stats struct {
	Kernel      wire.KernelStats
	Probes      []wire.ProbeStatus
	Connections int
}

func openEngine(engine.Config, engine.Sink, *zap.Logger) (runner, error) {
	return nil, errors.New("the engine is not part of this build yet")
}

// engineConfig says to the engine what c says to the user. version is that of the scope of all data.
func engineConfig(c *Config, version string) engine.Config {
	out := engine.Config{
		Probe: probe.Config{
			CollectionInterval: c.CollectionInterval,
			Scope: probe.Scope{
				NetworkNamespaces: c.Scope.NetworkNamespaces,
				Cgroups:           c.Scope.Cgroups,
				IncludePorts:      ports(c.Scope.Ports.Include),
				ExcludePorts:      ports(c.Scope.Ports.Exclude),
			},
			Connections: c.Connections.Enabled,
			Drops:       events(c.Drops),
			Resets:      events(c.Resets),
			Retransmits: events(c.Retransmits),
			Payload:     probe.Payload{Enabled: c.HTTP.Enabled, CaptureBytes: c.HTTP.CaptureBytes},
			RingBytes:   c.RingBuffer.Size,
			AvoidHooks:  c.Hooks.Avoid,
		},
		OTLP: otlp.Options{
			Version:         version,
			Disabled:        map[string]bool{},
			ExplicitBuckets: c.Histograms == explicitHistograms,
			Attributes:      c.MetricAttributes,
			Query:           c.HTTP.Query,
		},
		Record: c.Record.path(),
		Replay: c.Replay.path(),
	}
	for _, header := range c.HTTP.Headers {
		out.L7.Headers = append(out.L7.Headers, strings.ToLower(header))
	}
	for name, metric := range c.Metrics {
		out.OTLP.Disabled[name] = !metric.Enabled
	}
	return out
}

func events(c EventsConfig) probe.Events {
	return probe.Events{Enabled: c.Enabled, Stack: c.Stack, PerSecond: c.EventsPerSecond}
}

// ports takes ports that Validate accepted.
func ports(in []int) []uint16 {
	var out []uint16
	for _, port := range in {
		out = append(out, uint16(port))
	}
	return out
}
