package engine

import (
	"testing"

	"github.com/open-telemetry/opentelemetry-collector-contrib/pkg/pdatatest/plogtest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/ebpfnet/ebpfnetreceiver/internal/l7"
	"github.com/ebpfnet/ebpfnetreceiver/internal/otlp"
)

// On 6.12 and 5.10 alike: packets of answers were dropped on their way out of the server.
func TestWhatHappensToAnAnswerCarriesItsTrace(t *testing.T) {
	for _, path := range []string{"../../testdata/loss-6.12/recording", "../../testdata/loss-5.10/recording"} {
		got := replay(t, path)
		servers := map[pcommon.SpanID]pcommon.TraceID{}
		for _, resource := range got.traces.ResourceSpans().All() {
			for _, scope := range resource.ScopeSpans().All() {
				for _, span := range scope.Spans().All() {
					servers[span.SpanID()] = span.TraceID()
				}
			}
		}
		require.NotEmpty(t, servers)
		events := 0
		for _, resource := range got.logs.ResourceLogs().All() {
			for _, scope := range resource.ScopeLogs().All() {
				for _, record := range scope.LogRecords().All() {
					events++
					trace, ok := servers[record.SpanID()]
					assert.True(t, ok, "%s: %s names no span", path, record.Body().Str())
					assert.Equal(t, trace, record.TraceID(), "%s: %s", path, record.Body().Str())
				}
			}
		}
		assert.NotZero(t, events)
	}
}

func TestEventsNameTheSameSpansWhereThereAreNone(t *testing.T) {
	for _, path := range []string{"../../testdata/loss-6.12/recording", "../../testdata/loss-5.10/recording"} {
		traced := replay(t, path)
		got := &collected{}
		sink := got.sink()
		sink.Traces = nil
		replayInto(t, path, sink)
		require.NotZero(t, got.logs.LogRecordCount())
		require.NoError(t, plogtest.CompareLogs(traced.logs, got.logs), path)
	}
}

func TestBytesOfAnEarlierAnswerAreToldApart(t *testing.T) {
	a := newAnswers()
	link := func(n byte) ids { return ids{Link: otlp.Link{SpanID: [8]byte{n}}} }
	// The sequence numbers wrap in the third answer.
	for i, first := range []uint32{0xfffff000, 0xfffff800, 0xffffff00, 0x00000100, 0x00000900} {
		a.add(&l7.Call{ConnID: 7, Server: true, ResponseSequence: first, ResponseSequenceKnown: true}, link(byte(i+1)))
	}
	for sequence, want := range map[uint32]byte{
		0xfffff800: 2, 0xfffff9ff: 2, 0xffffff00: 3, 0x000000ff: 3, 0x00000100: 4, 0x000008ff: 4, 0x00000900: 5, 0x0000ffff: 5,
	} {
		got, ok := a.find(7, sequence)
		assert.True(t, ok)
		assert.Equal(t, link(want), got, "%#x", sequence)
	}
	_, ok := a.find(7, 0xfffff7ff)
	assert.False(t, ok, "older than all that is remembered")
	_, ok = a.find(8, 0)
	assert.False(t, ok)
	a.sweep(func(uint64) bool { return false })
	_, ok = a.find(7, 0x900)
	assert.False(t, ok)
}

func TestTheClientsEndHasNoAnswersOfItsOwn(t *testing.T) {
	a := newAnswers()
	a.add(&l7.Call{ConnID: 1, ResponseSequenceKnown: true}, ids{})
	assert.Empty(t, a.byConn)
}

func TestMetricsPointToTheSpansThatTheyAreOf(t *testing.T) {
	for _, path := range []string{"../../testdata/loss-6.12/recording", "../../testdata/loss-5.10/recording"} {
		got := replay(t, path)
		spans := map[pcommon.SpanID]pcommon.TraceID{}
		for _, resource := range got.traces.ResourceSpans().All() {
			for _, scope := range resource.ScopeSpans().All() {
				for _, span := range scope.Spans().All() {
					spans[span.SpanID()] = span.TraceID()
				}
			}
		}
		exemplars := map[string]int{}
		check := func(name string, of pmetric.ExemplarSlice) {
			for _, e := range of.All() {
				exemplars[name]++
				assert.Equal(t, spans[e.SpanID()], e.TraceID(), "%s: %s", path, name)
				assert.False(t, e.TraceID().IsEmpty())
				assert.NotZero(t, e.Timestamp())
			}
		}
		for _, metrics := range got.metrics {
			for _, metric := range allMetrics(metrics) {
				switch metric.Type() {
				case pmetric.MetricTypeSum:
					for _, point := range metric.Sum().DataPoints().All() {
						check(metric.Name(), point.Exemplars())
					}
				case pmetric.MetricTypeExponentialHistogram:
					for _, point := range metric.ExponentialHistogram().DataPoints().All() {
						check(metric.Name(), point.Exemplars())
					}
				}
			}
		}
		assert.NotZero(t, exemplars["network.packet.drops"], "%s: %v", path, exemplars)
		assert.NotZero(t, exemplars["network.tcp.rtt"], "%s: %v", path, exemplars)
	}
}

func allMetrics(in pmetric.Metrics) (all []pmetric.Metric) {
	for _, resource := range in.ResourceMetrics().All() {
		for _, scope := range resource.ScopeMetrics().All() {
			for _, metric := range scope.Metrics().All() {
				all = append(all, metric)
			}
		}
	}
	return all
}
