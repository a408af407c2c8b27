package receiver

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componentstatus"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/receiver"
	"go.opentelemetry.io/collector/receiver/receivertest"
	"go.uber.org/zap"

	"github.com/ebpfnet/ebpfnetreceiver/internal/engine"
)

// fakeEngine stands in for the engine: Run calls run if there is one, else it waits for its context and then
// calls last, as the engine hands on its last data.
type fakeEngine struct {
	openErr error
	run     func(context.Context) error
	last    func(engine.Sink) error
	books   engine.Stats

	opened, running atomic.Int32
	sink            engine.Sink
}

func (e *fakeEngine) open(_ engine.Config, sink engine.Sink, _ *zap.Logger) (runner, error) {
	e.opened.Add(1)
	e.sink = sink
	return e, e.openErr
}

func (e *fakeEngine) Run(ctx context.Context) error {
	e.running.Add(1)
	defer e.running.Add(-1)
	if e.run != nil {
		return e.run(ctx)
	}
	<-ctx.Done()
	if e.last != nil {
		return e.last(e.sink)
	}
	return nil
}

func (e *fakeEngine) Stats() engine.Stats { return e.books }

// statusHost is a host as the Collector gives one to each signal.
type statusHost struct {
	component.Host
	events chan *componentstatus.Event
}

func newStatusHost() *statusHost {
	return &statusHost{Host: componenttest.NewNopHost(), events: make(chan *componentstatus.Event, 10)}
}

func (h *statusHost) Report(event *componentstatus.Event) { h.events <- event }

// signals are the three components of one receiver.
type signals struct{ metrics, logs, traces component.Component }

func (s signals) all() []component.Component {
	return []component.Component{s.metrics, s.logs, s.traces}
}

func createSignals(
	t *testing.T, factory receiver.Factory, set receiver.Settings, config *Config, next consumertest.Consumer,
) signals {
	t.Helper()
	metrics, err := factory.CreateMetrics(t.Context(), set, config, next)
	require.NoError(t, err)
	logs, err := factory.CreateLogs(t.Context(), set, config, next)
	require.NoError(t, err)
	traces, err := factory.CreateTraces(t.Context(), set, config, next)
	require.NoError(t, err)
	return signals{metrics, logs, traces}
}

func defaultConfig() *Config { return createDefaultConfig().(*Config) }

func nopSettings() receiver.Settings { return receivertest.NewNopSettings(typ) }

func idOf(text string) component.ID {
	var id component.ID
	if err := id.UnmarshalText([]byte(text)); err != nil {
		panic(err)
	}
	return id
}
