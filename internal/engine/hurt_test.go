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
	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
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

// answered is a call on connection 1 whose request and answer, of 100 bytes each, were read and written at that time.
func (t *times) answered(timeNs uint64, request, answer uint32) *span {
	t.note(movement(in, timeNs, request, 100))
	t.note(movement(out, timeNs+10, answer, 100))
	return t.ended(&l7.Call{
		ConnID: 1, Server: true, RequestSequence: request, SequenceKnown: true,
		ResponseSequence: answer, ResponseSequenceKnown: true,
		StartNs: timeNs, ResponseStartNs: timeNs + 10, EndNs: timeNs + 10,
	})
}

func TestBytesOfAnEarlierAnswerAreToldApart(t *testing.T) {
	known := newTimes()
	first := uint32(0xfffffed4) // the sequence numbers wrap in the fourth answer
	for i := range uint32(5) {
		known.answered(uint64(i+1)*1000, 5000+100*i, first+100*i).ids.Link = otlp.Link{SpanID: [8]byte{byte(i + 1)}}
	}
	for sequence, want := range map[uint32]byte{100: 2, 199: 2, 200: 3, 300: 4, 399: 4, 400: 5, 499: 5} {
		got := known.spanAt(1, false, first+sequence)
		require.NotNil(t, got, sequence)
		assert.Equal(t, want, got.ids.SpanID[0], sequence)
		assert.Equal(t, got, known.spanAt(1, true, 5000+sequence), "and so are requests")
	}
	assert.Nil(t, known.spanAt(1, false, first+99), "older than all that is remembered")
	assert.Nil(t, known.spanAt(1, false, first+500), "of none that has ended")
	assert.Nil(t, known.spanAt(1, true, 5500))
	assert.Nil(t, known.spanAt(2, false, first+499))
	known.sweep(func(uint64) bool { return false })
	assert.Nil(t, known.spanAt(1, false, first+499))
}

func TestBytesThatCameAfterTheAnswerBeganAreNotTheRequests(t *testing.T) {
	known := newTimes()
	known.note(movement(in, 1000, 5000, 100))
	known.note(movement(out, 2000, 700, 10))
	known.note(movement(in, 3000, 5100, 100)) // pipelined
	known.note(movement(out, 4000, 710, 20))
	known.ended(&l7.Call{
		ConnID: 1, Server: true, RequestSequence: 5000, SequenceKnown: true,
		ResponseSequence: 700, ResponseSequenceKnown: true, StartNs: 1000, ResponseStartNs: 2000, EndNs: 4000,
	})
	assert.NotNil(t, known.spanAt(1, true, 5099))
	assert.Nil(t, known.spanAt(1, true, 5100))
	assert.NotNil(t, known.spanAt(1, false, 729))
	assert.Nil(t, known.spanAt(1, false, 730))
}

func TestTheClientsEndSentTheRequest(t *testing.T) {
	known := newTimes()
	known.note(movement(out, 1000, 700, 10))
	known.note(movement(in, 2000, 5000, 100))
	known.ended(&l7.Call{
		ConnID: 1, RequestSequence: 700, SequenceKnown: true,
		ResponseSequence: 5000, ResponseSequenceKnown: true, StartNs: 1000, ResponseStartNs: 2000, EndNs: 2000,
	})
	assert.NotNil(t, known.spanAt(1, false, 709))
	assert.Nil(t, known.spanAt(1, false, 710))
	assert.NotNil(t, known.spanAt(1, true, 5099))
	assert.Nil(t, known.spanAt(1, true, 5100))
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

// A reader that is late may close its connection as soon as it has read all, before its slow reads are told of.
func TestWhatIsSlowOnAConnectionThatClosesCarriesItsTrace(t *testing.T) {
	got := &collected{}
	s := serve(got.sink())
	s.request.Header.TimeNs, s.answer.Header.TimeNs = 2e9, 4e9
	s.Payload(&s.request, s.requestData)
	s.Slow(&wire.SlowEvent{
		Header: wire.RecordHeader{TimeNs: 3e9, Kind: wire.RecordSlow}, ConnID: 1, What: wire.SlowWrite, DurationNs: 5e8,
	})
	s.Payload(&s.answer, s.answerData[:s.answer.Captured])
	s.Conn(&wire.ConnRecord{
		Header: wire.RecordHeader{TimeNs: 5e9, Kind: wire.RecordConnClose}, ID: 1, Owner: wire.OwnerRef{Netns: 1, TGID: 80},
		OpenedNs: 1e9, EstablishedNs: 1e9, State: 7, Role: wire.RoleServer, Flags: wire.ConnEstablished | wire.ConnSequences,
		FirstReceived: 100, FirstSent: 200, BytesReceived: uint64(len(s.requestData)), BytesSent: uint64(len(s.answerData)),
	})
	s.Flush(6e9)
	s.close()
	require.Equal(t, 1, got.traces.SpanCount())
	span := got.traces.ResourceSpans().At(0).ScopeSpans().At(0).Spans().At(0)
	require.Equal(t, 1, got.logs.LogRecordCount())
	record := got.logs.ResourceLogs().At(0).ScopeLogs().At(0).LogRecords().At(0)
	assert.Equal(t, span.SpanID(), record.SpanID())
	assert.Equal(t, span.TraceID(), record.TraceID())
}

// What holds an answer up, the kernel tells of after the answer was given.
func TestWhatIsSlowOnItsWayOutCarriesTheTraceOfItsBytes(t *testing.T) {
	got := &collected{}
	s := serve(got.sink())
	s.request.Header.TimeNs, s.answer.Header.TimeNs = 2e9, 4e9
	s.Payload(&s.request, s.requestData)
	s.Payload(&s.answer, s.answerData[:s.answer.Captured])
	first, end := s.answer.Sequence, s.answer.Sequence+s.answer.Length
	for _, sequence := range []uint32{first, end - 1, end, 0} {
		s.Slow(&wire.SlowEvent{
			Header: wire.RecordHeader{TimeNs: 5e9, Kind: wire.RecordSlow}, ConnID: 1, What: wire.SlowStage, Stage: wire.StageQdisc,
			Direction: wire.DirectionTransmit, Sequence: sequence, DurationNs: 5e8,
		})
	}
	s.Flush(6e9)
	s.Flush(7e9)
	s.close()
	span := got.traces.ResourceSpans().At(0).ScopeSpans().At(0).Spans().At(0)
	require.Equal(t, 4, got.logs.LogRecordCount())
	told := map[pcommon.SpanID]int{}
	for _, resource := range got.logs.ResourceLogs().All() {
		for _, record := range resource.ScopeLogs().At(0).LogRecords().All() {
			told[record.SpanID()]++
		}
	}
	assert.Equal(t, map[pcommon.SpanID]int{span.SpanID(): 2, {}: 2}, told, "what is behind the answer, or is no byte, is nobody's")
}
