package receiver

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/consumer/consumererror"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/receiver/receivertest"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/metric/metricdata/metricdatatest"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/ebpfnet/ebpfnetreceiver/receiver/internal/metadatatest"
)

// delivered starts a receiver whose consumers return err, hands one item of each signal to them and returns
// what was measured.
func delivered(t *testing.T, err error) *componenttest.Telemetry {
	t.Helper()
	telemetry := componenttest.NewTelemetry()
	t.Cleanup(func() { assert.NoError(t, telemetry.Shutdown(context.Background())) })
	set := receivertest.NewNopSettings(typ)
	set.ID = idOf("ebpf_net")
	set.TelemetrySettings = telemetry.NewTelemetrySettings()

	fake := &fakeEngine{}
	all := createSignals(t, newFactory(fake.open), set, defaultConfig(), consumertest.NewErr(err))
	require.NoError(t, all.metrics.Start(t.Context(), componenttest.NewNopHost()))
	assert.ErrorIs(t, fake.sink.Metrics(t.Context(), oneMetric()), err)
	assert.ErrorIs(t, fake.sink.Logs(t.Context(), oneLog()), err)
	assert.ErrorIs(t, fake.sink.Traces(t.Context(), oneSpan()), err)
	require.NoError(t, all.metrics.Shutdown(t.Context()))
	return telemetry
}

func TestWhatIsTakenIsAccepted(t *testing.T) {
	telemetry := delivered(t, nil)
	assertCollectorCounts(t, telemetry, 1, 0)
	assertItems(t, telemetry, "accepted")
}

func TestWhatIsNotTakenNowIsRefused(t *testing.T) {
	telemetry := delivered(t, errors.New("sending queue is full"))
	assertCollectorCounts(t, telemetry, 0, 1)
	assertItems(t, telemetry, "refused")
}

func TestWhatIsNeverTakenIsDropped(t *testing.T) {
	telemetry := delivered(t, consumererror.NewPermanent(errors.New("bad data")))
	assertCollectorCounts(t, telemetry, 0, 1)
	assertItems(t, telemetry, "dropped")
}

// assertCollectorCounts compares with what the Collector counts for every receiver.
func assertCollectorCounts(t *testing.T, telemetry *componenttest.Telemetry, accepted, refused int64) {
	t.Helper()
	for name, want := range map[string]int64{
		"otelcol_receiver_accepted_metric_points": accepted, "otelcol_receiver_refused_metric_points": refused,
		"otelcol_receiver_accepted_log_records": accepted, "otelcol_receiver_refused_log_records": refused,
		"otelcol_receiver_accepted_spans": accepted, "otelcol_receiver_refused_spans": refused,
	} {
		metric, err := telemetry.GetMetric(name)
		require.NoError(t, err)
		points := metric.Data.(metricdata.Sum[int64]).DataPoints
		require.Len(t, points, 1, name)
		assert.Equal(t, want, points[0].Value, name)
		id, _ := points[0].Attributes.Value("receiver")
		assert.Equal(t, "ebpf_net", id.AsString())
	}
}

func assertItems(t *testing.T, telemetry *componenttest.Telemetry, outcome string) {
	t.Helper()
	var points []metricdata.DataPoint[int64]
	for _, signal := range []string{"metrics", "logs", "traces"} {
		points = append(points, metricdata.DataPoint[int64]{Value: 1, Attributes: attribute.NewSet(
			attribute.String("receiver", "ebpf_net"), attribute.String("signal", signal),
			attribute.String("outcome", outcome))})
	}
	metadatatest.AssertEqualEbpfNetItems(t, telemetry, points, ignoreTimes, metricdatatest.IgnoreExemplars())
}

func TestNothingIsSentWhenThereIsNothing(t *testing.T) {
	sink := new(consumertest.LogsSink)
	fake := &fakeEngine{}
	logs, err := newFactory(fake.open).CreateLogs(t.Context(), nopSettings(), defaultConfig(), sink)
	require.NoError(t, err)
	require.NoError(t, logs.Start(t.Context(), componenttest.NewNopHost()))
	require.NoError(t, fake.sink.Logs(t.Context(), plog.NewLogs()))
	assert.Empty(t, sink.AllLogs())
	require.NoError(t, logs.Shutdown(t.Context()))
}

func TestAConsumerHasADeadlineEvenWhenTheEngineStops(t *testing.T) {
	var deadline bool
	var ended error
	next, err := consumer.NewLogs(func(ctx context.Context, _ plog.Logs) error {
		_, deadline = ctx.Deadline()
		ended = ctx.Err()
		return nil
	})
	require.NoError(t, err)
	fake := &fakeEngine{}
	logs, err := newFactory(fake.open).CreateLogs(t.Context(), nopSettings(), defaultConfig(), next)
	require.NoError(t, err)
	require.NoError(t, logs.Start(t.Context(), componenttest.NewNopHost()))
	stopped, cancel := context.WithCancel(t.Context())
	cancel()
	require.NoError(t, fake.sink.Logs(stopped, oneLog()))
	assert.True(t, deadline)
	assert.NoError(t, ended)
	require.NoError(t, logs.Shutdown(t.Context()))
}

func TestAnOutageIsLoggedTwice(t *testing.T) {
	var failing error
	next, err := consumer.NewLogs(func(context.Context, plog.Logs) error { return failing })
	require.NoError(t, err)
	core, lines := observer.New(zapcore.InfoLevel)
	set := nopSettings()
	set.Logger = zap.New(core)
	fake := &fakeEngine{}
	logs, err := newFactory(fake.open).CreateLogs(t.Context(), set, defaultConfig(), next)
	require.NoError(t, err)
	require.NoError(t, logs.Start(t.Context(), componenttest.NewNopHost()))
	failing = errors.New("queue is full")
	for range 5 {
		_ = fake.sink.Logs(t.Context(), oneLog())
	}
	failing = nil
	for range 5 {
		_ = fake.sink.Logs(t.Context(), oneLog())
	}
	require.NoError(t, logs.Shutdown(t.Context()))
	require.Equal(t, 2, lines.Len())
	assert.Equal(t, "queue is full", lines.All()[0].ContextMap()["error"])
	assert.EqualValues(t, 5, lines.All()[1].ContextMap()["batches_lost"])
}
