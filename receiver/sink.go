package receiver

import (
	"context"
	"time"

	"go.opentelemetry.io/collector/consumer/consumererror"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/receiver"
	"go.opentelemetry.io/collector/receiver/receiverhelper"
	"go.uber.org/zap"

	"github.com/ebpfnet/ebpfnetreceiver/internal/engine"
)

// deliveryTimeout bounds how long the next consumer may take for one batch. The engine queues a few batches;
// when they are all waiting nobody empties the ring buffer, and the kernel half must drop records (which it
// counts). It is as long as exporters allow themselves by default, so that an exporter without a queue of
// its own still works.
const deliveryTimeout = 5 * time.Second

// format is what the Collector's own spans about receive operations call the input.
const format = "ebpf"

// What became of an item, as the attribute "outcome" of otelcol_ebpf_net_items says it.
const (
	accepted = "accepted"
	refused  = "refused" // the consumer might have taken it later; there is no later, see deliver
	dropped  = "dropped" // the consumer will never take it
)

// newSink makes the functions that hand data to the next consumers. A signal that is in no pipeline stays
// nil, and the engine does not build it.
func newSink(set receiver.Settings, next consumers, telemetry *telemetry) (engine.Sink, error) {
	report, err := receiverhelper.NewObsReport(receiverhelper.ObsReportSettings{
		ReceiverID: set.ID, ReceiverCreateSettings: set,
	})
	if err != nil {
		return engine.Sink{}, err
	}
	var sink engine.Sink
	if next.metrics != nil {
		sink.Metrics = delivery[pmetric.Metrics]{
			signal: "metrics", count: pmetric.Metrics.DataPointCount, consume: next.metrics.ConsumeMetrics,
			begin: report.StartMetricsOp, end: report.EndMetricsOp,
		}.sink(set.Logger, telemetry)
	}
	if next.logs != nil {
		sink.Logs = delivery[plog.Logs]{
			signal: "logs", count: plog.Logs.LogRecordCount, consume: next.logs.ConsumeLogs,
			begin: report.StartLogsOp, end: report.EndLogsOp,
		}.sink(set.Logger, telemetry)
	}
	if next.traces != nil {
		sink.Traces = delivery[ptrace.Traces]{
			signal: "traces", count: ptrace.Traces.SpanCount, consume: next.traces.ConsumeTraces,
			begin: report.StartTracesOp, end: report.EndTracesOp,
		}.sink(set.Logger, telemetry)
	}
	return sink, nil
}

// delivery is how one signal is handed on and accounted for.
type delivery[Data any] struct {
	signal  string
	count   func(Data) int
	consume func(context.Context, Data) error
	begin   func(context.Context) context.Context
	end     func(ctx context.Context, format string, items int, err error)
}

// sink makes the engine's side of the delivery. There is no second try: what a full pipeline refuses is
// refused for good, because waiting would hold up what comes after it, and keeping it would be the queue that
// exporters have already. The engine calls a sink from one goroutine at a time.
func (d delivery[Data]) sink(logger *zap.Logger, telemetry *telemetry) func(context.Context, Data) error {
	logger = logger.With(zap.String("signal", d.signal))
	failures := 0 // batches in a row: an outage is two log lines, however long it lasts
	return func(ctx context.Context, data Data) error {
		items := d.count(data)
		if items == 0 {
			return nil
		}
		// The engine's context has ended already when it hands on its last data.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), deliveryTimeout)
		defer cancel()

		// Counted before the call: the data belong to the consumer afterwards.
		ctx = d.begin(ctx)
		err := d.consume(ctx, data)
		d.end(ctx, format, items, err)

		outcome := accepted
		switch {
		case err == nil:
			if failures > 0 {
				logger.Info("The next consumer takes data again", zap.Int("batches_lost", failures))
			}
			failures = 0
		case consumererror.IsPermanent(err):
			outcome = dropped
		default:
			outcome = refused
		}
		telemetry.addItems(ctx, d.signal, outcome, items)
		if err != nil {
			if failures == 0 {
				logger.Warn("The next consumer did not take data; they are lost and counted",
					zap.String("outcome", outcome), zap.Int("items", items), zap.Error(err))
			}
			failures++
		}
		return err
	}
}
