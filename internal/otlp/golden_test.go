package otlp

import (
	"flag"
	"path/filepath"
	"testing"

	"github.com/open-telemetry/opentelemetry-collector-contrib/pkg/golden"
	"github.com/open-telemetry/opentelemetry-collector-contrib/pkg/pdatatest/plogtest"
	"github.com/open-telemetry/opentelemetry-collector-contrib/pkg/pdatatest/pmetrictest"
	"github.com/open-telemetry/opentelemetry-collector-contrib/pkg/pdatatest/ptracetest"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

var update = flag.Bool("update", false, "write the golden files anew")

func path(name string) string { return filepath.Join("testdata", name+".yaml") }

func goldenMetrics(t *testing.T, name string, got pmetric.Metrics) {
	t.Helper()
	if *update {
		require.NoError(t, golden.WriteMetricsToFile(path(name), got, golden.SkipMetricTimestampNormalization()))
	}
	want, err := golden.ReadMetrics(path(name))
	require.NoError(t, err)
	require.NoError(t, pmetrictest.CompareMetrics(want, got, pmetrictest.IgnoreResourceMetricsOrder(),
		pmetrictest.IgnoreMetricsOrder(), pmetrictest.IgnoreMetricDataPointsOrder()))
}

func goldenLogs(t *testing.T, name string, got plog.Logs) {
	t.Helper()
	if *update {
		require.NoError(t, golden.WriteLogsToFile(path(name), got))
	}
	want, err := golden.ReadLogs(path(name))
	require.NoError(t, err)
	require.NoError(t, plogtest.CompareLogs(want, got))
}

func goldenTraces(t *testing.T, name string, got ptrace.Traces) {
	t.Helper()
	if *update {
		require.NoError(t, golden.WriteTracesToFile(path(name), got))
	}
	want, err := golden.ReadTraces(path(name))
	require.NoError(t, err)
	require.NoError(t, ptracetest.CompareTraces(want, got))
}
