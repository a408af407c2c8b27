package receiver

import (
	"context"
	"slices"
	"time"

	"go.opentelemetry.io/collector/receiver"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/ebpfnet/ebpfnetreceiver/internal/engine"
	"github.com/ebpfnet/ebpfnetreceiver/internal/l7"
	"github.com/ebpfnet/ebpfnetreceiver/internal/otlp"
	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
	"github.com/ebpfnet/ebpfnetreceiver/receiver/internal/metadata"
)

// telemetry is the receiver's metrics about itself. What the engine counts is read from its statistics when
// somebody reads the metrics, and costs nothing otherwise.
type telemetry struct {
	meter        metric.Meter
	builder      *metadata.TelemetryBuilder
	receiver     attribute.KeyValue // tells two receivers of one Collector apart
	registration metric.Registration
}

// recordKinds are the names of the record kinds as metadata.yaml lists them.
var recordKinds = [wire.RecordKindMax]string{
	wire.RecordConnOpen:     "connection_open",
	wire.RecordConnClose:    "connection_close",
	wire.RecordConnSnapshot: "connection_snapshot",
	wire.RecordDrop:         "drop",
	wire.RecordReset:        "reset",
	wire.RecordRetransmit:   "retransmit",
	wire.RecordSlow:         "slow",
	wire.RecordConnFailed:   "connection_failed",
	wire.RecordPayload:      "payload",
	wire.RecordDatagram:     "datagram",
	wire.RecordStage:        "stage",
}

func newTelemetry(set receiver.Settings) (*telemetry, error) {
	builder, err := metadata.NewTelemetryBuilder(set.TelemetrySettings)
	if err != nil {
		return nil, err
	}
	return &telemetry{
		meter:    metadata.Meter(set.TelemetrySettings),
		builder:  builder,
		receiver: attribute.String("receiver", set.ID.String()),
	}, nil
}

func (t *telemetry) with(attributes ...attribute.KeyValue) metric.MeasurementOption {
	return metric.WithAttributeSet(attribute.NewSet(append(slices.Clip(attributes), t.receiver)...))
}

func (t *telemetry) addItems(ctx context.Context, signal, outcome string, items int) {
	t.builder.EbpfNetItems.Add(ctx, int64(items),
		t.with(attribute.String("signal", signal), attribute.String("outcome", outcome)))
}

// observe reads all instruments from one snapshot, which is why it does not use the generated callbacks, one
// per instrument: the books of one reading must balance.
func (t *telemetry) observe(read func() engine.Stats) error {
	b := t.builder
	registration, err := t.meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		snapshot := read()
		t.observeRecords(o, &snapshot.Kernel)
		t.observePrograms(o, snapshot.Kernel.Programs)
		t.observeProbes(o, snapshot.Probes)
		t.observeConnections(o, &snapshot)
		t.observeCalls(o, &snapshot)
		t.observeLookups(o, &snapshot)
		t.observeStages(o, &snapshot.Kernel.Stages)
		return nil
	},
		b.EbpfNetCalls, b.EbpfNetCallsCaptured, b.EbpfNetCallsGivenUp, b.EbpfNetConnections,
		b.EbpfNetConnectionsTracked, b.EbpfNetLimits, b.EbpfNetLookups, b.EbpfNetPayloadGaps, b.EbpfNetProbeStatus,
		b.EbpfNetProgramMisses, b.EbpfNetProgramRuns, b.EbpfNetProgramTime, b.EbpfNetRecords,
		b.EbpfNetRecordsSeen, b.EbpfNetRingFill, b.EbpfNetStagesUnmeasured)
	t.registration = registration
	return err
}

func (t *telemetry) observeRecords(o metric.Observer, kernel *wire.KernelStats) {
	for kind, name := range recordKinds {
		if name == "" {
			continue
		}
		books, kind := kernel.Kinds[kind], attribute.String("kind", name)
		o.ObserveInt64(t.builder.EbpfNetRecordsSeen, int64(books.Seen), t.with(kind))
		t.observeEach(o, t.builder.EbpfNetRecords, "outcome", map[string]uint64{
			"submitted": books.Submitted, "suppressed": books.Suppressed, "lost": books.Lost,
		}, kind)
	}
	if kernel.RingSize > 0 {
		o.ObserveFloat64(t.builder.EbpfNetRingFill, float64(kernel.RingBytes)/float64(kernel.RingSize), t.with())
	}
}

func (t *telemetry) observePrograms(o metric.Observer, programs []wire.ProgramStats) {
	for _, program := range programs {
		with := t.with(attribute.String("program", program.Name))
		o.ObserveInt64(t.builder.EbpfNetProgramRuns, int64(program.Runs), with)
		o.ObserveFloat64(t.builder.EbpfNetProgramTime, time.Duration(program.RunNs).Seconds(), with)
		o.ObserveInt64(t.builder.EbpfNetProgramMisses, int64(program.Misses), with)
	}
}

func (t *telemetry) observeProbes(o metric.Observer, probes []wire.ProbeStatus) {
	observe := func(capability, hook string, active int64) {
		o.ObserveInt64(t.builder.EbpfNetProbeStatus, active,
			t.with(attribute.String("capability", capability), attribute.String("hook", hook)))
	}
	for _, probe := range probes {
		if probe.Hook != "" {
			observe(probe.Capability, probe.Hook, 1)
		}
		for _, refused := range probe.Refused {
			observe(probe.Capability, refused.Hook, 0)
		}
	}
}

func (t *telemetry) observeConnections(o metric.Observer, stats *engine.Stats) {
	c := &stats.Connections
	o.ObserveInt64(t.builder.EbpfNetConnectionsTracked, int64(c.Live+c.Handshaking), t.with())
	t.observeEach(o, t.builder.EbpfNetConnections, "event", map[string]uint64{
		"opened": c.Opened, "adopted": c.Adopted, "failed": c.Failed, "abandoned": c.Abandoned,
		"closed": c.Closed, "lost_close": c.LostClose,
	})
	t.observeEach(o, t.builder.EbpfNetLimits, "limit", map[string]uint64{
		"kernel_connections": stats.Kernel.ConnsFull, "kernel_counts": stats.Kernel.CountsFull, "kernel_flows": stats.Kernel.FlowsFull,
		"connections": c.Refused, "attributes": c.Folded, "flows": c.FlowsFolded,
		"stage_owners":  stats.Kernel.Stages.Folded(),
		"metrics_queue": stats.Lost.Metrics, "logs_queue": stats.Lost.Logs, "traces_queue": stats.Lost.Spans,
	})
}

func (t *telemetry) observeCalls(o metric.Observer, stats *engine.Stats) {
	t.observeEach(o, t.builder.EbpfNetCalls, "outcome", map[string]uint64{
		"span": stats.Spans.Spans, "unsampled": stats.Spans.Unsampled, "over_limit": stats.Spans.OverLimit,
		"unwanted": stats.Spans.Unwanted,
	})
	captured, givenUp := map[string]uint64{}, map[string]uint64{}
	for capture, count := range stats.Calls.ByCapture {
		captured[l7.Capture(capture).String()] = count
	}
	for reason, count := range stats.Calls.GivenUp {
		givenUp[l7.Reason(reason).String()] = count
	}
	t.observeEach(o, t.builder.EbpfNetCallsCaptured, "capture", captured)
	t.observeEach(o, t.builder.EbpfNetCallsGivenUp, "reason", givenUp)
	o.ObserveInt64(t.builder.EbpfNetPayloadGaps, int64(stats.Calls.Gaps), t.with())
}

func (t *telemetry) observeLookups(o metric.Observer, stats *engine.Stats) {
	t.observeEach(o, t.builder.EbpfNetLookups, "outcome", map[string]uint64{
		"answered": stats.Lookups.Answered, "timed_out": stats.Lookups.TimedOut,
		"unknown": stats.Lookups.Unknown, "pending": stats.Lookups.Pending,
	})
}

// observeStages leaves out what has not happened: few stages have all reasons.
func (t *telemetry) observeStages(o metric.Observer, losses *wire.StageLosses) {
	reasons := [...]string{
		wire.StageNoStamp: "no_stamp", wire.StageClock: "clock", wire.StageInterrupted: "interrupted",
		wire.StageRate: "rate",
	}
	for direction, stages := range losses {
		for stage, of := range stages {
			for reason, name := range reasons {
				if name != "" && of[reason] > 0 {
					o.ObserveInt64(t.builder.EbpfNetStagesUnmeasured, int64(of[reason]), t.with(
						attribute.String("direction", otlp.DirectionName(uint8(direction))),
						attribute.String("stage", unmeasuredStage(uint8(direction), uint8(stage))),
						attribute.String("reason", name)))
				}
			}
		}
	}
}

func unmeasuredStage(direction, stage uint8) string {
	if stage != wire.StageWait {
		return otlp.StageName(direction, stage)
	}
	if direction == wire.DirectionReceive {
		return "read_wait"
	}
	return "write_wait"
}

// observeEach observes counts by the value that the attribute called name has for them.
func (t *telemetry) observeEach(
	o metric.Observer, instrument metric.Int64Observable, name string, counts map[string]uint64,
	attributes ...attribute.KeyValue,
) {
	for value, count := range counts {
		o.ObserveInt64(instrument, int64(count), t.with(append(attributes, attribute.String(name, value))...))
	}
}

// stop ends the reading of the engine's statistics.
func (t *telemetry) stop() error {
	t.builder.Shutdown()
	if t.registration == nil {
		return nil
	}
	return t.registration.Unregister()
}
