package engine

import (
	"context"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/open-telemetry/opentelemetry-collector-contrib/pkg/golden"
	"github.com/open-telemetry/opentelemetry-collector-contrib/pkg/pdatatest/plogtest"
	"github.com/open-telemetry/opentelemetry-collector-contrib/pkg/pdatatest/pmetrictest"
	"github.com/open-telemetry/opentelemetry-collector-contrib/pkg/pdatatest/ptracetest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.uber.org/zap"

	"github.com/ebpfnet/ebpfnetreceiver/internal/otlp"
)

var update = flag.Bool("update", false, "write what comes of the recordings as what is expected of them")

// TestRecordingsGiveWhatTheyGaveBefore replays testdata/<case>/recording. The last collection is compared:
// sums are cumulative, so it holds the others. golden sorts Resources when it writes; that their order is the
// same each time is the next test.
func TestRecordingsGiveWhatTheyGaveBefore(t *testing.T) {
	recordings, err := filepath.Glob("../../testdata/*-*/recording") // not the demo's
	require.NoError(t, err)
	require.NotEmpty(t, recordings)
	for _, path := range recordings {
		dir := filepath.Dir(path)
		t.Run(filepath.Base(dir), func(t *testing.T) {
			got := replay(t, path)
			metrics, logs, traces := filepath.Join(dir, "metrics.yaml"), filepath.Join(dir, "logs.yaml"), filepath.Join(dir, "traces.yaml")
			if *update {
				require.NoError(t, golden.WriteMetricsToFile(metrics, got.lastMetrics(), golden.SkipMetricTimestampNormalization()))
				require.NoError(t, golden.WriteLogsToFile(logs, got.logs))
				require.NoError(t, golden.WriteTracesToFile(traces, got.traces))
			}
			wantMetrics, err := golden.ReadMetrics(metrics)
			require.NoError(t, err)
			assert.NoError(t, pmetrictest.CompareMetrics(wantMetrics, got.lastMetrics(), pmetrictest.IgnoreResourceMetricsOrder()))
			wantLogs, err := golden.ReadLogs(logs)
			require.NoError(t, err)
			assert.NoError(t, plogtest.CompareLogs(wantLogs, got.logs))
			wantTraces, err := golden.ReadTraces(traces)
			require.NoError(t, err)
			assert.NoError(t, ptracetest.CompareTraces(wantTraces, got.traces))
		})
	}
}

func TestAReplayIsTheSameEachTime(t *testing.T) {
	recordings, err := filepath.Glob("../../testdata/*-*/recording") // not the demo's
	require.NoError(t, err)
	for _, path := range recordings {
		first, second := replay(t, path), replay(t, path)
		assert.Equal(t, first.bytes(t), second.bytes(t), path)
	}
}

func TestTheBooksOfAReplayBalance(t *testing.T) {
	recordings, err := filepath.Glob("../../testdata/*-*/recording") // not the demo's
	require.NoError(t, err)
	for _, path := range recordings {
		got := replay(t, path)
		spans := got.stats.Spans
		assert.Equal(t, spans.Calls, spans.Spans+spans.Unsampled+spans.OverLimit+spans.Unwanted, path)
		assert.Equal(t, spans.Spans, uint64(got.traces.SpanCount()), path)
		assert.Equal(t, got.stats.Logs, uint64(got.logs.LogRecordCount()), path)
		for kind, books := range got.stats.Kernel.Kinds {
			assert.Equal(t, books.Seen, books.Submitted+books.Suppressed+books.Lost, "%s: kind %d", path, kind)
		}
		table := got.stats.Connections
		assert.Equal(t, table.Opened+table.Adopted, table.Live+table.Closed+table.LostClose, path)
	}
}

func TestAMissingRecordingIsNamed(t *testing.T) {
	_, err := New(Config{Replay: "/nowhere/recording"}, Sink{}, zap.NewNop())
	assert.ErrorIs(t, err, os.ErrNotExist)
	assert.ErrorContains(t, err, "/nowhere/recording")
}

// collected is what an engine gave to its sink.
type collected struct {
	mu      sync.Mutex
	metrics []pmetric.Metrics
	logs    plog.Logs
	traces  ptrace.Traces
	stats   Stats
}

func (c *collected) sink() Sink {
	c.logs, c.traces = plog.NewLogs(), ptrace.NewTraces()
	return Sink{
		Metrics: func(_ context.Context, m pmetric.Metrics) error {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.metrics = append(c.metrics, m)
			return nil
		},
		Logs: func(_ context.Context, l plog.Logs) error {
			c.mu.Lock()
			defer c.mu.Unlock()
			l.ResourceLogs().MoveAndAppendTo(c.logs.ResourceLogs())
			return nil
		},
		Traces: func(_ context.Context, traces ptrace.Traces) error {
			c.mu.Lock()
			defer c.mu.Unlock()
			traces.ResourceSpans().MoveAndAppendTo(c.traces.ResourceSpans())
			return nil
		},
	}
}

func (c *collected) lastMetrics() pmetric.Metrics {
	if len(c.metrics) == 0 {
		return pmetric.NewMetrics()
	}
	return c.metrics[len(c.metrics)-1]
}

func (c *collected) bytes(t *testing.T) [3][]byte {
	t.Helper()
	var out [3][]byte
	var err error
	out[0], err = (&pmetric.ProtoMarshaler{}).MarshalMetrics(c.lastMetrics())
	require.NoError(t, err)
	out[1], err = (&plog.ProtoMarshaler{}).MarshalLogs(c.logs)
	require.NoError(t, err)
	out[2], err = (&ptrace.ProtoMarshaler{}).MarshalTraces(c.traces)
	require.NoError(t, err)
	return out
}

func replay(t *testing.T, path string) *collected {
	t.Helper()
	got := &collected{}
	got.stats = replayInto(t, path, got.sink())
	return got
}

func replayInto(t *testing.T, path string, sink Sink) Stats {
	t.Helper()
	e, err := New(Config{
		Replay: path,
		OTLP:   otlp.Options{Version: "test"},
		Trace:  Trace{Ratio: 1, PerSecond: 1e6, JoinNetworks: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}},
	}, sink, zap.NewNop())
	require.NoError(t, err)
	require.NoError(t, e.Run(t.Context()))
	return e.Stats()
}
