// Package receiver is the thin bridge between the Collector and the engine: configuration, one instance for
// three signals, component status and the Collector's accounting. What is measured and how lives below, in
// internal/engine and its rooms.
package receiver

import (
	"context"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/receiver"

	"github.com/ebpfnet/ebpfnetreceiver/receiver/internal/metadata"
)

// NewFactory makes the factory of the ebpf_net receiver.
func NewFactory() receiver.Factory {
	return newFactory(openEngine)
}

func newFactory(open opener) receiver.Factory {
	shared := &instances{open: open, byKey: map[instanceKey]*instance{}}
	return receiver.NewFactory(
		metadata.Type,
		createDefaultConfig,
		receiver.WithMetrics(func(
			_ context.Context, set receiver.Settings, config component.Config, next consumer.Metrics,
		) (receiver.Metrics, error) {
			return shared.register(set, config.(*Config), func(c *consumers) { c.metrics = next })
		}, metadata.MetricsStability),
		receiver.WithLogs(func(
			_ context.Context, set receiver.Settings, config component.Config, next consumer.Logs,
		) (receiver.Logs, error) {
			return shared.register(set, config.(*Config), func(c *consumers) { c.logs = next })
		}, metadata.LogsStability),
		receiver.WithTraces(func(
			_ context.Context, set receiver.Settings, config component.Config, next consumer.Traces,
		) (receiver.Traces, error) {
			return shared.register(set, config.(*Config), func(c *consumers) { c.traces = next })
		}, metadata.TracesStability),
	)
}
