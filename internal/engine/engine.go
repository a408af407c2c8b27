package engine

import (
	"context"
	"maps"
	"runtime/debug"
	"slices"
	"sync/atomic"

	"go.uber.org/zap"

	"github.com/ebpfnet/ebpfnetreceiver/internal/conn"
	"github.com/ebpfnet/ebpfnetreceiver/internal/l7"
	"github.com/ebpfnet/ebpfnetreceiver/internal/l7/dns"
	"github.com/ebpfnet/ebpfnetreceiver/internal/otlp"
	"github.com/ebpfnet/ebpfnetreceiver/internal/probe"
	"github.com/ebpfnet/ebpfnetreceiver/internal/recording"
	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

// maxRecording bounds the file of a recording that was forgotten: 1 GiB.
const maxRecording = 1 << 30

// ErrUnsupported is why New fails on systems without a live source.
var ErrUnsupported = probe.ErrUnsupported

// Engine runs from one source to one sink.
type Engine struct {
	source wire.Source
	sink   Sink
	config Config
	logger *zap.Logger
	stats  atomic.Pointer[Stats]
}

// Stats are the books of the whole path at its last collection.
type Stats struct {
	Kernel      wire.KernelStats
	Probes      []wire.ProbeStatus
	Connections conn.Stats
	Calls       l7.Stats
	Spans       SpanStats
	Lookups     dns.Stats
	Logs        uint64 // log records made
	// LookupsSuppressed are the failed lookups that DNS.PerSecond left out of the logs.
	LookupsSuppressed uint64
	// Lost are the items of batches that the sink was too slow for.
	Lost struct{ Metrics, Logs, Spans uint64 }
}

// SpanStats are the books of calls: Calls = Spans + Unsampled + OverLimit + Unwanted.
type SpanStats struct {
	Calls     uint64
	Spans     uint64
	Unsampled uint64 // left out by Trace.Ratio, and not kept
	OverLimit uint64 // left out by Trace.PerSecond
	Unwanted  uint64 // no traces pipeline
}

// New opens the source: the kernel, or the recording at config.Replay. The errors name what is missing
// and the remedy. Run or Close must follow.
func New(config Config, sink Sink, logger *zap.Logger) (*Engine, error) {
	config = wanted(config, sink)
	source, err := open(config, logger)
	if err != nil {
		return nil, err
	}
	e := &Engine{source: source, sink: sink, config: config, logger: logger}
	e.stats.Store(&Stats{})
	return e, nil
}

// wanted leaves out what nobody would get. Connections are followed for the calls' sake too; then their
// metrics are left out.
func wanted(config Config, sink Sink) Config {
	if !config.Probe.Connections && config.Replay == "" {
		config.OTLP.Disabled = maps.Clone(config.OTLP.Disabled)
		if config.OTLP.Disabled == nil {
			config.OTLP.Disabled = map[string]bool{}
		}
		for _, name := range otlp.ConnectionMetrics() {
			config.OTLP.Disabled[name] = true
		}
	}
	if sink.Metrics == nil {
		config.Probe.Counters.Enabled = false
	}
	if sink.Metrics == nil && sink.Traces == nil {
		config.Probe.Payload.Enabled = false
	}
	if sink.Metrics == nil || allDisabled(otlp.TimeMetrics(), config.OTLP.Disabled) {
		config.Probe.Stages = false
	}
	config.Probe.Exemplars = config.Probe.Stages && config.Probe.Payload.Enabled && sink.Traces != nil &&
		!config.OTLP.Disabled[otlp.StageDuration]
	if sink.Metrics == nil {
		config.Probe.Datagrams.Flows = false
		if sink.Logs == nil {
			config.Probe.Datagrams.DNS = false
		}
	}
	if sink.Logs == nil {
		config.Probe.Slow = probe.Slow{}
	}
	for _, events := range []*probe.Events{&config.Probe.Drops, &config.Probe.Resets, &config.Probe.Retransmits} {
		if sink.Logs == nil {
			events.PerSecond = 0 // counted for the metrics all the same
		}
		if sink.Logs == nil && sink.Metrics == nil {
			events.Enabled = false
		}
	}
	return config
}

func allDisabled(names []string, disabled map[string]bool) bool {
	return !slices.ContainsFunc(names, func(name string) bool { return !disabled[name] })
}

func open(config Config, logger *zap.Logger) (wire.Source, error) {
	if config.Replay != "" {
		return recording.Open(config.Replay)
	}
	source, err := probe.Open(config.Probe, logger)
	// To load programs takes tens of megabytes for a moment, which would stay with the process otherwise.
	debug.FreeOSMemory()
	if err != nil || config.Record == "" {
		return source, err
	}
	recorded, err := recording.Record(source, config.Record, recording.Options{
		MaxBytes: maxRecording,
		OnStop:   func(err error) { logger.Error("The recording ended early", zap.Error(err)) },
	})
	if err != nil {
		source.Close()
		return nil, err
	}
	logger.Warn("Recording all kernel records, payload included; the file is for its owner's eyes only",
		zap.String("path", config.Record), zap.String("mode", "0600"))
	return recorded, nil
}

// Run works until ctx ends or the recording does, hands over what is left and closes the source.
func (e *Engine) Run(ctx context.Context) error {
	defer e.Close()
	p := newPipeline(ctx, e)
	defer p.close()
	return e.source.Run(ctx, p)
}

// Close releases the source. Needed only where Run is not called.
func (e *Engine) Close() error { return e.source.Close() }

// Stats are the books at the last collection. Safe for concurrent use; not to be changed.
func (e *Engine) Stats() Stats { return *e.stats.Load() }
