package receiver

import (
	"context"
	"net/netip"
	"strings"

	"go.uber.org/zap"

	"github.com/ebpfnet/ebpfnetreceiver/internal/conn"
	"github.com/ebpfnet/ebpfnetreceiver/internal/engine"
	"github.com/ebpfnet/ebpfnetreceiver/internal/l7"
	"github.com/ebpfnet/ebpfnetreceiver/internal/otlp"
	"github.com/ebpfnet/ebpfnetreceiver/internal/probe"
)

// runner is what the lifecycle needs of *engine.Engine.
type runner interface {
	Run(context.Context) error
	Stats() engine.Stats
}

// opener makes a runner that is ready to run, or fails with one error that says what is missing.
type opener func(engine.Config, engine.Sink, *zap.Logger) (runner, error)

func openEngine(config engine.Config, sink engine.Sink, logger *zap.Logger) (runner, error) {
	return engine.New(config, sink, logger)
}

// engineConfig says to the engine what c, which Validate accepted, says to the user. version is that of the scope of all data.
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
			Stages:      c.Stages.Enabled,
			StageRate:   c.Stages.MaxPerSecond,
			Datagrams:   probe.Datagrams{Flows: c.Flows.Enabled, DNS: c.DNS.Enabled},
			Slow:        slow(c.Slow),
			Counters: probe.Counters{
				Enabled: c.Counters.Enabled, Groups: c.Counters.Groups, Complete: c.Counters.Complete,
				Processes:       c.Counters.Processes,
				SkipHostDevices: c.Counters.SkipHostInterfaces,
			},
			RingBytes:  c.RingBuffer.Size,
			AvoidHooks: c.Hooks.Avoid,
		},
		OTLP: otlp.Options{
			Version:         version,
			Disabled:        map[string]bool{},
			ExplicitBuckets: c.Histograms == explicitHistograms,
			Attributes:      c.MetricAttributes,
			Query:           c.HTTP.Query,
		},
		L7: l7.Options{
			MaxConnections:        c.HTTP.MaxConnections,
			MaxBytes:              c.HTTP.MaxBytes,
			MaxBytesPerConnection: c.HTTP.MaxBytesPerConnection,
			MaxPending:            c.HTTP.MaxStreams,
			MaxStreams:            c.HTTP.MaxStreams,
		},
		Trace: engine.Trace{
			Ratio: c.HTTP.Spans.Ratio, PerSecond: c.HTTP.Spans.PerSecond,
			KeepErrors: c.HTTP.Spans.KeepErrors, KeepSlowerThan: c.HTTP.Spans.KeepSlowerThan,
		},
		DNS:    engine.DNS{Timeout: c.DNS.Timeout, PerSecond: c.DNS.EventsPerSecond},
		Record: c.Record.path(),
		Replay: c.Replay.path(),
	}
	if c.Flows.Enabled {
		if c.Flows.NAT.Enabled {
			out.Probe.NAT = c.Flows.NAT.NetworkNamespaces
			out.Probe.Datagrams.BySocket = true
		}
		out.OTLP.Flows = &conn.FlowLimits{PerOwner: c.Flows.MaxPerOwner, Total: c.Flows.Max}
	}
	for _, header := range c.HTTP.Headers {
		out.L7.Headers = append(out.L7.Headers, strings.ToLower(header))
	}
	if c.Trace.Enabled {
		for _, network := range c.Trace.JoinNetworks {
			out.Trace.JoinNetworks = append(out.Trace.JoinNetworks, netip.MustParsePrefix(network))
		}
	}
	for name, metric := range c.Metrics {
		out.OTLP.Disabled[name] = !metric.Enabled
	}
	return out
}

func slow(c SlowConfig) probe.Slow {
	if !c.Enabled || c.EventsPerSecond == 0 {
		return probe.Slow{}
	}
	return probe.Slow{
		Read: c.Read, Write: c.Write, Stage: c.Stage, Softirq: c.Softirq,
		ZeroWindow: c.ZeroWindow, Stack: c.Stack, PerSecond: c.EventsPerSecond,
	}
}

func events(c EventsConfig) probe.Events {
	return probe.Events{Enabled: c.Enabled, Stack: c.Stack, PerSecond: c.EventsPerSecond}
}

func ports(in []int) []uint16 {
	var out []uint16
	for _, port := range in {
		out = append(out, uint16(port))
	}
	return out
}
