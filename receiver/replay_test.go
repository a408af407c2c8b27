package receiver

import (
	"maps"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componentstatus"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/ebpfnet/ebpfnetreceiver/internal/engine"
)

func TestARecordingBecomesThreeSignals(t *testing.T) {
	config := defaultConfig()
	config.Replay.Path = tinyRecording
	metrics, logs, traces := new(consumertest.MetricsSink), new(consumertest.LogsSink), new(consumertest.TracesSink)
	factory, set, host := NewFactory(), nopSettings(), newStatusHost()
	m, err := factory.CreateMetrics(t.Context(), set, config, metrics)
	require.NoError(t, err)
	l, err := factory.CreateLogs(t.Context(), set, config, logs)
	require.NoError(t, err)
	s, err := factory.CreateTraces(t.Context(), set, config, traces)
	require.NoError(t, err)
	for _, signal := range []component.Component{m, l, s} {
		require.NoError(t, signal.Start(t.Context(), host))
	}
	select {
	case <-m.(*instance).done:
	case <-time.After(time.Minute):
		t.Fatal("the recording does not end")
	}
	for _, signal := range []component.Component{m, l, s} {
		require.NoError(t, signal.Shutdown(t.Context()))
	}

	const container = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	require.Equal(t, 1, traces.SpanCount())
	spans := traces.AllTraces()[0].ResourceSpans().At(0)
	assertAttribute(t, spans.Resource().Attributes(), "container.id", container)
	span := spans.ScopeSpans().At(0).Spans().At(0)
	assert.Equal(t, "GET", span.Name())
	assertAttribute(t, span.Attributes(), "url.path", "/hello")

	require.Equal(t, 1, logs.LogRecordCount())
	records := logs.AllLogs()[0].ResourceLogs().At(0)
	assertAttribute(t, records.Resource().Attributes(), "container.id", container)
	record := records.ScopeLogs().At(0).LogRecords().At(0)
	assert.Equal(t, "network.packet.drop", record.EventName())
	assertAttribute(t, record.Attributes(), "network.packet.drop.reason", "NETFILTER_DROP")
	assert.Subset(t, documented(t, record.EventName()), keys(record.Attributes()))
	assert.Subset(t, documented(t, ""), keys(records.Resource().Attributes()))

	require.NotEmpty(t, metrics.AllMetrics())
	assert.Subset(t, metricNames(metrics), []string{
		"network.tcp.connection.opened", "network.tcp.connection.closed", "network.io", "network.packet.drops",
		"http.server.request.duration",
	})
	for len(host.events) > 0 {
		assert.Equal(t, componentstatus.StatusOK, (<-host.events).Status())
	}
}

func TestAMetricThatIsOffIsNotSent(t *testing.T) {
	config := defaultConfig()
	config.Replay.Path = tinyRecording
	config.Metrics = map[string]MetricConfig{"network.io": {Enabled: false}}
	metrics := new(consumertest.MetricsSink)
	m, err := NewFactory().CreateMetrics(t.Context(), nopSettings(), config, metrics)
	require.NoError(t, err)
	require.NoError(t, m.Start(t.Context(), componenttest.NewNopHost()))
	<-m.(*instance).done
	require.NoError(t, m.Shutdown(t.Context()))
	assert.Contains(t, metricNames(metrics), "network.tcp.rtt")
	assert.NotContains(t, metricNames(metrics), "network.io")
}

func TestWhatCannotBeOpenedIsNamed(t *testing.T) {
	for name, path := range map[string]string{
		"no such file":    filepath.Join(t.TempDir(), "none"),
		"not a recording": "testdata/config.yaml",
	} {
		t.Run(name, func(t *testing.T) {
			config := defaultConfig()
			config.Replay.Path = path
			assert.ErrorContains(t, startError(t, config), path)
		})
	}
}

func TestOtherSystemsSaySo(t *testing.T) {
	if runtime.GOOS == "linux" && (runtime.GOARCH == "amd64" || runtime.GOARCH == "arm64") {
		t.Skip("this system is supported")
	}
	assert.ErrorIs(t, startError(t, defaultConfig()), engine.ErrUnsupported)
}

func startError(t *testing.T, config *Config) error {
	t.Helper()
	logs, err := NewFactory().CreateLogs(t.Context(), nopSettings(), config, consumertest.NewNop())
	require.NoError(t, err)
	started := logs.Start(t.Context(), componenttest.NewNopHost())
	require.Error(t, started)
	require.NoError(t, logs.Shutdown(t.Context()))
	return started
}

func metricNames(sink *consumertest.MetricsSink) (names []string) {
	for _, metrics := range sink.AllMetrics() {
		for _, resource := range metrics.ResourceMetrics().All() {
			for _, scope := range resource.ScopeMetrics().All() {
				for _, metric := range scope.Metrics().All() {
					names = append(names, metric.Name())
				}
			}
		}
	}
	return names
}

func keys(attributes pcommon.Map) []string {
	return slices.Collect(maps.Keys(attributes.AsRaw()))
}

func assertAttribute(t *testing.T, attributes pcommon.Map, name, want string) {
	t.Helper()
	got, ok := attributes.Get(name)
	if assert.True(t, ok, "%s is missing", name) {
		assert.Equal(t, want, got.AsString(), name)
	}
}
