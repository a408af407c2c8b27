package otlp

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/ebpfnet/ebpfnetreceiver/internal/conn"
	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

// everything makes each metric at least once: both ends of a connection, one that failed, one that is
// closed, packets of a process, of a pod and of no socket, and calls.
func everything(options Options) pmetric.Metrics {
	p := newPipeline(options)
	p.Conn(client(1, startNs+1e9, wire.RecordConnOpen))
	p.Conn(serverEnd(2, startNs+1e9, wire.RecordConnOpen))
	closing := client(3, startNs+2e9, wire.RecordConnClose)
	closing.CloseReason = wire.CloseResetReceived
	p.Conn(closing)
	for i, errno := range []uint32{111, 111, 0, 74, 75} { // 0: aborted
		failing := client(uint64(10+i), startNs+3e9, wire.RecordConnFailed)
		failing.State, failing.Flags, failing.EstablishedNs, failing.Error = conn.StateSynSent, 0, 0, errno
		failing.CloseReason = wire.CloseLocalFIN
		p.Conn(failing)
	}
	p.Call(get(1, false), p.get(1))
	p.Call(get(2, true), p.get(2))
	failed := get(2, true)
	failed.Status = 503
	p.Call(failed, p.get(2))
	p.Call(echo(1, false, "NOT_FOUND"), p.get(1))
	p.Call(echo(2, true, "NOT_FOUND"), p.get(2))
	p.namespaces = []wire.NamespaceCounters{
		{Inode: hostNetns, Identity: 1, Counters: allCounters()},
		{Inode: podNetns, Identity: 2, ZeroNs: startNs - 100e9, Counters: []wire.Counter{
			{Group: wire.CounterTCP, Name: "ListenDrops", Value: 3},
			{Group: wire.CounterSocket, Name: "CurrEstab"},
			{Group: wire.CounterInterface, Device: "eth0", Name: "rx_bytes", Value: 1 << 40},
		}},
	}
	p.Lookup(lookup(1, 0))
	p.Lookup(lookup(28, 3))
	p.Lookup(lookup(1, 2))
	timedOut := lookup(1, 0)
	timedOut.TimedOut = true
	p.Lookup(timedOut)
	process, inPod, nobody := wire.OwnerRef{TGID: curlPID}, wire.OwnerRef{CgroupID: podCgroup}, wire.OwnerRef{Netns: 4026531840}
	p.times = []wire.StageTimes{
		{Owner: inPod, Direction: wire.DirectionReceive, Stage: wire.StageTCPToApp, SumNs: 3e9, First: 176, Counts: []uint32{1, 0, 2}},
		{Owner: inPod, Direction: wire.DirectionTransmit, Stage: wire.StageQdisc, SumNs: 400, Counts: []uint32{2}},
		{Owner: nobody, Stage: wire.StageNetfilter, SumNs: 4000, First: 17, Counts: []uint32{4}},
		{Owner: inPod, Direction: wire.DirectionReceive, Stage: wire.StageWait, SumNs: 5e6, First: 115, Counts: []uint32{1}},
		{Owner: inPod, Direction: wire.DirectionTransmit, Stage: wire.StageWait, SumNs: 6e6, First: 117, Counts: []uint32{1}},
	}
	p.softirqs = []wire.SoftirqTimes{
		{CPU: 3, Vector: 3, Phase: wire.SoftirqWait, SumNs: 900, First: 16, Counts: []uint32{1}},
		{CPU: 3, Vector: 3, Phase: wire.SoftirqRun, SumNs: 1800, First: 24, Counts: []uint32{0, 1}},
		{CPU: 3, Vector: wire.SoftirqVectors}, {CPU: 1 << 31}, {Phase: wire.SoftirqPhases}, {First: wire.HistogramSlots, Counts: []uint32{1}},
	}
	p.commands = []wire.CommandTimes{
		{Key: command("eth1", 0), SumNs: 900, First: 16, Counts: []uint32{1}},
		{Key: command("eth0", 4), SumNs: 1800, First: 24, Counts: []uint32{0, 1}},
		{First: wire.HistogramSlots, Counts: []uint32{1}},
	}
	return p.collect(
		wire.Count{Key: wire.CountKey{Owner: process, Kind: wire.RecordRetransmit, Reason: wire.RetransmitFast, HasReason: 1, Direction: wire.DirectionTransmit}, Value: 3},
		wire.Count{Key: wire.CountKey{Owner: inPod, Kind: wire.RecordReset, Reason: rstReason, HasReason: 1, Direction: wire.DirectionTransmit}, Value: 2},
		wire.Count{Key: wire.CountKey{Owner: inPod, Kind: wire.RecordReset, Direction: wire.DirectionReceive}, Value: 1},
		wire.Count{Key: wire.CountKey{Owner: nobody, Kind: wire.RecordDrop, Reason: 8, HasReason: 1, Direction: wire.DirectionReceive}, Value: 7},
		wire.Count{Key: wire.CountKey{Owner: nobody, Kind: wire.RecordDrop, Location: dropsAt}, Value: 4},
		wire.Count{Key: wire.CountKey{Owner: nobody, Kind: wire.RecordDrop, Reason: 131073, HasReason: 1}, Value: 1},
	)
}

func TestMetricsAreAsTheGoldenFileSays(t *testing.T) {
	goldenMetrics(t, "metrics", everything(Options{Version: "1.2.3"}))
}

func TestExplicitBucketsAreAsTheGoldenFileSays(t *testing.T) {
	goldenMetrics(t, "metrics_explicit", everything(Options{Version: "1.2.3", ExplicitBuckets: true, Attributes: OptionalAttributes()}))
}

func TestTheGoldenFileHoldsEveryInstrumentAsDescribed(t *testing.T) {
	seen := map[string]bool{}
	each(everything(Options{Flows: &conn.FlowLimits{}}), func(_ pmetric.ResourceMetrics, metric pmetric.Metric) {
		for _, what := range Instruments() {
			if what.Name != metric.Name() {
				continue
			}
			seen[what.Name] = true
			assert.Equal(t, what.Unit, metric.Unit())
			assert.Equal(t, what.Description, metric.Description())
			allowed := append(append([]string{}, what.Attributes...), what.Optional...)
			points(metric, func(attributes pcommon.Map) {
				for name := range attributes.All() {
					assert.Contains(t, allowed, name, what.Name)
				}
			})
			switch what.Kind {
			case Sum, UpDownCounter:
				assert.Equal(t, what.Kind == Sum, metric.Sum().IsMonotonic(), what.Name)
				assert.Equal(t, pmetric.AggregationTemporalityCumulative, metric.Sum().AggregationTemporality())
			case Histogram:
				assert.Equal(t, pmetric.AggregationTemporalityCumulative, metric.ExponentialHistogram().AggregationTemporality())
			}
		}
	})
	for _, what := range Instruments() {
		assert.True(t, seen[what.Name], what.Name)
		assert.True(t, strings.HasSuffix(what.Description, "."), what.Name)
		assert.Equal(t, what.Kind == Histogram, len(what.Bounds) > 0, what.Name)
		assert.IsIncreasing(t, append([]float64{0}, what.Bounds...), what.Name)
	}
}

func points(metric pmetric.Metric, f func(pcommon.Map)) {
	switch metric.Type() {
	case pmetric.MetricTypeSum:
		for _, point := range metric.Sum().DataPoints().All() {
			f(point.Attributes())
		}
	case pmetric.MetricTypeExponentialHistogram:
		for _, point := range metric.ExponentialHistogram().DataPoints().All() {
			f(point.Attributes())
		}
	case pmetric.MetricTypeHistogram:
		for _, point := range metric.Histogram().DataPoints().All() {
			f(point.Attributes())
		}
	}
}

func TestTheSameInputGivesTheSameBytes(t *testing.T) {
	marshal := func() []byte {
		bytes, err := (&pmetric.ProtoMarshaler{}).MarshalMetrics(everything(Options{}))
		require.NoError(t, err)
		return bytes
	}
	first := marshal()
	for range 20 {
		require.Equal(t, first, marshal())
	}
}

func TestADisabledMetricIsNotThere(t *testing.T) {
	for _, what := range Instruments() {
		each(everything(Options{Disabled: map[string]bool{what.Name: true}}), func(_ pmetric.ResourceMetrics, metric pmetric.Metric) {
			assert.NotEqual(t, what.Name, metric.Name())
		})
	}
	all := map[string]bool{}
	for _, what := range Instruments() {
		all[what.Name] = true
	}
	assert.Zero(t, everything(Options{Disabled: all}).ResourceMetrics().Len(), "and no empty Resource remains")
}

func TestOneOwnerHasOneResource(t *testing.T) {
	seen := map[any]bool{}
	for _, resource := range everything(Options{}).ResourceMetrics().All() {
		key := ""
		for name, value := range resource.Resource().Attributes().All() {
			key += name + "=" + value.AsString() + " "
		}
		assert.False(t, seen[key], key)
		seen[key] = true
	}
	assert.Len(t, seen, 5)
}

func TestCountsKeepTheirStartAndOnlyGrow(t *testing.T) {
	p := newPipeline(Options{})
	key := wire.CountKey{Owner: wire.OwnerRef{Netns: 9}, Kind: wire.RecordDrop, Reason: 8, HasReason: 1}
	other := key
	other.Owner.TGID = 0
	other.Location = 5 // another key of the kernel's map, the same reason
	p.collect()
	started := pcommon.Timestamp(p.time + uint64(offsetNs))
	for _, step := range []struct {
		counts []wire.Count
		want   int64
	}{
		{[]wire.Count{{Key: key, Value: 5}}, 5},
		{[]wire.Count{{Key: key, Value: 6}, {Key: other, Value: 10}}, 16},
		{[]wire.Count{{Key: key, Value: 2}, {Key: other, Value: 10}}, 18}, // removed from the map and counted anew
		{nil, 18},
		{[]wire.Count{{Key: key, Value: 1}}, 19},
	} {
		points := find(t, p.collect(step.counts...), "network.packet.drops").Sum().DataPoints()
		require.Equal(t, 1, points.Len())
		assert.Equal(t, step.want, points.At(0).IntValue())
		assert.Equal(t, started, points.At(0).StartTimestamp(), "the collection before it was first seen")
		assert.Equal(t, pcommon.Timestamp(p.time+uint64(offsetNs)), points.At(0).Timestamp())
	}
}

func TestOwnersBeyondTheLimitAreOneResourceThatSaysSo(t *testing.T) {
	p := newPipeline(Options{Limits: conn.Limits{Owners: 1}})
	for i := range uint64(4) {
		r := client(i, startNs+1e9, wire.RecordConnSnapshot)
		r.Owner.TGID += uint32(i)
		p.Conn(r)
	}
	resources := p.collect().ResourceMetrics()
	require.Equal(t, 2, resources.Len())
	assert.Equal(t, map[string]any{attrOverflow: true}, resources.At(1).Resource().Attributes().AsRaw())
}

func TestCallsBeyondTheLimitOfAttributesFold(t *testing.T) {
	p := newPipeline(Options{MaxSets: 7})
	p.Conn(client(1, startNs+1e9, wire.RecordConnOpen))
	for status := range 20 {
		call := get(1, false)
		call.Status = 200 + status
		p.Call(call, p.get(1))
	}
	points := find(t, p.collect(), "http.client.request.duration").ExponentialHistogram().DataPoints()
	require.Equal(t, 4, points.Len())
	total := uint64(0)
	for _, point := range points.All() {
		total += point.Count()
	}
	assert.EqualValues(t, 20, total)
}

func TestACallWhoseDurationIsNotKnownIsNotTimed(t *testing.T) {
	p := newPipeline(Options{})
	p.Conn(client(1, startNs+1e9, wire.RecordConnOpen))
	for _, times := range [][2]uint64{{0, startNs}, {startNs, 0}, {startNs + 1, startNs}} {
		call := get(1, false)
		call.StartNs, call.EndNs = times[0], times[1]
		p.Call(call, p.get(1))
	}
	each(p.collect(), func(_ pmetric.ResourceMetrics, metric pmetric.Metric) {
		assert.NotEqual(t, "http.client.request.duration", metric.Name())
	})
}
