//go:build linux && (amd64 || arm64)

package k8stest

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

// telemetry is what a gateway handed on.
type telemetry struct {
	spans  []span
	events []event
	series map[string]series // the last point of each
	all    []map[string]any  // each resource of each batch
}

type span struct {
	resource map[string]any
	ptrace.Span
}

type event struct {
	resource map[string]any
	name     string
	stack    any
}

// series is a sum's value or a histogram's count.
type series struct {
	resource   map[string]any
	metric     string
	attributes map[string]any
	value      float64
}

// read reads the files of a gateway so far.
func read(t *testing.T, directory string) *telemetry {
	t.Helper()
	got := &telemetry{series: map[string]series{}}
	for _, line := range lines(t, directory, "traces") {
		traces, err := (&ptrace.JSONUnmarshaler{}).UnmarshalTraces(line)
		require.NoError(t, err)
		for _, rs := range traces.ResourceSpans().All() {
			resource := got.resource(rs.Resource())
			for _, ss := range rs.ScopeSpans().All() {
				for _, s := range ss.Spans().All() {
					got.spans = append(got.spans, span{resource, s})
				}
			}
		}
	}
	for _, line := range lines(t, directory, "logs") {
		logs, err := (&plog.JSONUnmarshaler{}).UnmarshalLogs(line)
		require.NoError(t, err)
		for _, rl := range logs.ResourceLogs().All() {
			resource := got.resource(rl.Resource())
			for _, sl := range rl.ScopeLogs().All() {
				for _, record := range sl.LogRecords().All() {
					got.events = append(got.events, event{resource, record.EventName(), record.Attributes().AsRaw()["code.stacktrace"]})
				}
			}
		}
	}
	for _, line := range lines(t, directory, "metrics") {
		metrics, err := (&pmetric.JSONUnmarshaler{}).UnmarshalMetrics(line)
		require.NoError(t, err)
		for _, rm := range metrics.ResourceMetrics().All() {
			resource := got.resource(rm.Resource())
			for _, sm := range rm.ScopeMetrics().All() {
				for _, metric := range sm.Metrics().All() {
					got.points(resource, metric)
				}
			}
		}
	}
	return got
}

// lines are the complete ones of a file that may not be there yet.
func lines(t *testing.T, directory, signal string) [][]byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(directory, signal))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	require.NoError(t, err)
	all := bytes.Split(text, []byte("\n"))
	return all[:len(all)-1]
}

func (got *telemetry) resource(r pcommon.Resource) map[string]any {
	resource := r.Attributes().AsRaw()
	got.all = append(got.all, resource)
	return resource
}

func (got *telemetry) points(resource map[string]any, metric pmetric.Metric) {
	put := func(attributes pcommon.Map, value float64) {
		// fmt prints maps sorted by key.
		key := fmt.Sprint(resource, metric.Name(), attributes.AsRaw())
		got.series[key] = series{resource, metric.Name(), attributes.AsRaw(), value}
	}
	switch metric.Type() {
	case pmetric.MetricTypeSum:
		for _, point := range metric.Sum().DataPoints().All() {
			value := point.DoubleValue()
			if point.ValueType() == pmetric.NumberDataPointValueTypeInt {
				value = float64(point.IntValue())
			}
			put(point.Attributes(), value)
		}
	case pmetric.MetricTypeExponentialHistogram:
		for _, point := range metric.ExponentialHistogram().DataPoints().All() {
			put(point.Attributes(), float64(point.Count()))
		}
	}
}

// sum adds up the series of a metric by what it is of: a container's id or the name of a service.
func (got *telemetry) sum(metric string, of string) (sum int) {
	for _, s := range got.series {
		if s.metric == metric && owner(s.resource) == of {
			sum += int(s.value)
		}
	}
	return sum
}

// counter is one of the kernel's TCP counters of a pod's network namespace.
func (got *telemetry) counter(name, uid string) (value int) {
	for _, s := range got.series {
		if s.metric == "network.tcp.counter" && s.attributes["network.counter.name"] == name && s.resource["k8s.pod.uid"] == uid {
			value += int(s.value)
		}
	}
	return value
}

// owner is what a resource is of: the id of a container, else the name of a service; "" if neither is known.
func owner(resource map[string]any) string {
	for _, key := range []string{"container.id", "service.name"} {
		if value, ok := resource[key].(string); ok {
			return value
		}
	}
	return ""
}
