package receiver

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.uber.org/zap"

	"github.com/ebpfnet/ebpfnetreceiver/internal/engine"
)

func TestThreeSignalsShareOneEngine(t *testing.T) {
	fake := &fakeEngine{}
	all := createSignals(t, newFactory(fake.open), nopSettings(), defaultConfig(), consumertest.NewNop())
	for _, signal := range all.all() {
		require.NoError(t, signal.Start(t.Context(), componenttest.NewNopHost()))
	}
	assert.EqualValues(t, 1, fake.opened.Load())
	assert.NotNil(t, fake.sink.Metrics)
	assert.NotNil(t, fake.sink.Logs)
	assert.NotNil(t, fake.sink.Traces)
	for _, signal := range all.all() {
		require.NoError(t, signal.Shutdown(t.Context()))
		assert.Zero(t, fake.running.Load(), "the first Shutdown stops the engine")
	}
}

func TestASignalThatIsInNoPipelineIsNotBuilt(t *testing.T) {
	fake := &fakeEngine{}
	logs, err := newFactory(fake.open).CreateLogs(t.Context(), nopSettings(), defaultConfig(), consumertest.NewNop())
	require.NoError(t, err)
	require.NoError(t, logs.Start(t.Context(), componenttest.NewNopHost()))
	assert.Nil(t, fake.sink.Metrics)
	assert.NotNil(t, fake.sink.Logs)
	assert.Nil(t, fake.sink.Traces)
	require.NoError(t, logs.Shutdown(t.Context()))
}

func TestTheLastDataReachEverySignal(t *testing.T) {
	fake := &fakeEngine{last: func(sink engine.Sink) error {
		ended, cancel := context.WithCancel(context.Background())
		cancel()
		return errors.Join(sink.Metrics(ended, oneMetric()), sink.Logs(ended, oneLog()), sink.Traces(ended, oneSpan()))
	}}
	metrics, logs, traces := new(consumertest.MetricsSink), new(consumertest.LogsSink), new(consumertest.TracesSink)
	factory, set, config := newFactory(fake.open), nopSettings(), defaultConfig()
	m, err := factory.CreateMetrics(t.Context(), set, config, metrics)
	require.NoError(t, err)
	l, err := factory.CreateLogs(t.Context(), set, config, logs)
	require.NoError(t, err)
	s, err := factory.CreateTraces(t.Context(), set, config, traces)
	require.NoError(t, err)
	for _, signal := range []component.Component{m, l, s} {
		require.NoError(t, signal.Start(t.Context(), componenttest.NewNopHost()))
	}
	require.NoError(t, l.Shutdown(t.Context()))
	assert.Equal(t, 1, metrics.DataPointCount())
	assert.Equal(t, 1, logs.LogRecordCount())
	assert.Equal(t, 1, traces.SpanCount())
	require.NoError(t, m.Shutdown(t.Context()))
	require.NoError(t, s.Shutdown(t.Context()))
}

func TestAFailedStartIsNotRepeated(t *testing.T) {
	fake := &fakeEngine{openErr: errors.New("missing privilege")}
	all := createSignals(t, newFactory(fake.open), nopSettings(), defaultConfig(), consumertest.NewNop())
	for _, signal := range all.all() {
		require.ErrorIs(t, signal.Start(t.Context(), componenttest.NewNopHost()), fake.openErr)
	}
	assert.EqualValues(t, 1, fake.opened.Load())
	for _, signal := range all.all() {
		require.NoError(t, signal.Shutdown(t.Context()))
	}
}

func TestTwoReceiversHaveAnEngineEach(t *testing.T) {
	first, second := &fakeEngine{}, &fakeEngine{}
	engines := []*fakeEngine{first, second}
	factory := newFactory(func(c engine.Config, s engine.Sink, l *zap.Logger) (runner, error) {
		fake := engines[0]
		engines = engines[1:]
		return fake.open(c, s, l)
	})
	config, set := defaultConfig(), nopSettings()
	a := createSignals(t, factory, set, config, consumertest.NewNop())
	set.ID = component.MustNewIDWithName("ebpf_net", "other")
	b := createSignals(t, factory, set, config, consumertest.NewNop())
	require.NoError(t, a.metrics.Start(t.Context(), componenttest.NewNopHost()))
	require.NoError(t, b.metrics.Start(t.Context(), componenttest.NewNopHost()))
	assert.EqualValues(t, 1, first.opened.Load())
	assert.EqualValues(t, 1, second.opened.Load())
	require.NoError(t, a.metrics.Shutdown(t.Context()))
	require.NoError(t, b.metrics.Shutdown(t.Context()))
}

func TestAfterShutdownTheSameConfigurationStartsAnew(t *testing.T) {
	fake := &fakeEngine{}
	factory, set, config := newFactory(fake.open), nopSettings(), defaultConfig()
	for range 2 {
		all := createSignals(t, factory, set, config, consumertest.NewNop())
		require.NoError(t, all.traces.Start(t.Context(), componenttest.NewNopHost()))
		require.NoError(t, all.traces.Shutdown(t.Context()))
	}
	assert.EqualValues(t, 2, fake.opened.Load())
}

func TestNothingStartsAfterShutdown(t *testing.T) {
	fake := &fakeEngine{}
	all := createSignals(t, newFactory(fake.open), nopSettings(), defaultConfig(), consumertest.NewNop())
	require.NoError(t, all.logs.Shutdown(t.Context()))
	require.ErrorIs(t, all.metrics.Start(t.Context(), componenttest.NewNopHost()), errShutDown)
	assert.Zero(t, fake.opened.Load())
}

func TestASignalCannotJoinARunningEngine(t *testing.T) {
	fake := &fakeEngine{}
	factory, set, config := newFactory(fake.open), nopSettings(), defaultConfig()
	metrics, err := factory.CreateMetrics(t.Context(), set, config, consumertest.NewNop())
	require.NoError(t, err)
	require.NoError(t, metrics.Start(t.Context(), componenttest.NewNopHost()))
	_, err = factory.CreateLogs(t.Context(), set, config, consumertest.NewNop())
	require.ErrorContains(t, err, "running already")
	require.NoError(t, metrics.Shutdown(t.Context()))
}

func TestShutdownGivesUpWhenItsContextEnds(t *testing.T) {
	release := make(chan struct{})
	fake := &fakeEngine{last: func(engine.Sink) error { <-release; return nil }}
	all := createSignals(t, newFactory(fake.open), nopSettings(), defaultConfig(), consumertest.NewNop())
	require.NoError(t, all.logs.Start(t.Context(), componenttest.NewNopHost()))
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, all.logs.Shutdown(ended), context.Canceled)
	close(release)
}

func TestShutdownReturnsWhyTheEngineFailedToStop(t *testing.T) {
	broken := errors.New("cannot write the recording")
	fake := &fakeEngine{last: func(engine.Sink) error { return broken }}
	all := createSignals(t, newFactory(fake.open), nopSettings(), defaultConfig(), consumertest.NewNop())
	require.NoError(t, all.logs.Start(t.Context(), componenttest.NewNopHost()))
	require.ErrorIs(t, all.logs.Shutdown(t.Context()), broken)
	require.NoError(t, all.metrics.Shutdown(t.Context()), "said once")
}

func TestStartsAndShutdownsMayOverlap(t *testing.T) {
	fake := &fakeEngine{}
	all := createSignals(t, newFactory(fake.open), nopSettings(), defaultConfig(), consumertest.NewNop())
	var group sync.WaitGroup
	for _, signal := range all.all() {
		group.Go(func() { _ = signal.Start(context.Background(), componenttest.NewNopHost()) })
		group.Go(func() { assert.NoError(t, signal.Shutdown(context.Background())) })
	}
	group.Wait()
	assert.LessOrEqual(t, fake.opened.Load(), int32(1))
	assert.Zero(t, fake.running.Load())
}

func oneMetric() pmetric.Metrics {
	metrics := pmetric.NewMetrics()
	metric := metrics.ResourceMetrics().AppendEmpty().ScopeMetrics().AppendEmpty().Metrics().AppendEmpty()
	metric.SetEmptyGauge().DataPoints().AppendEmpty().SetIntValue(1)
	return metrics
}

func oneLog() plog.Logs {
	logs := plog.NewLogs()
	logs.ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty().LogRecords().AppendEmpty()
	return logs
}

func oneSpan() ptrace.Traces {
	traces := ptrace.NewTraces()
	traces.ResourceSpans().AppendEmpty().ScopeSpans().AppendEmpty().Spans().AppendEmpty()
	return traces
}
