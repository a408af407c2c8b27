package otlp

import (
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/ebpfnet/ebpfnetreceiver/internal/conn/histogram"
	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

func qdisc(first uint32, counts ...uint32) wire.StageTimes {
	return wire.StageTimes{
		Owner: wire.OwnerRef{CgroupID: podCgroup}, Direction: wire.DirectionTransmit, Stage: wire.StageQdisc,
		SumNs: 1e9, First: first, Counts: counts,
	}
}

func TestSlotsAreTheBucketsThatTheirDurationsFallInto(t *testing.T) {
	for slot := 1; slot < wire.HistogramSlots; slot++ {
		p := newPipeline(Options{})
		p.times = []wire.StageTimes{qdisc(uint32(slot), 1)}
		point := find(t, p.collect(), StageDuration).ExponentialHistogram().DataPoints().At(0)
		inside := math.Exp2((float64(slot)-0.5)/8 - wire.HistogramFinest)
		assert.EqualValues(t, histogram.Index(inside, int(point.Scale())), point.Positive().Offset(), slot)
		assert.Equal(t, []uint64{1}, point.Positive().BucketCounts().AsRaw())
		assert.EqualValues(t, 1, point.Count())
		assert.False(t, point.HasMin() || point.HasMax(), "the kernel keeps none")
	}
}

func TestTheLowestSlotIsTheZeroBucket(t *testing.T) {
	p := newPipeline(Options{})
	p.times = []wire.StageTimes{qdisc(0, 5, 0, 1)}
	point := find(t, p.collect(), StageDuration).ExponentialHistogram().DataPoints().At(0)
	assert.EqualValues(t, 5, point.ZeroCount())
	assert.EqualValues(t, 6, point.Count())
	assert.Equal(t, math.Exp2(-22), point.ZeroThreshold())
	assert.EqualValues(t, -175, point.Positive().Offset())
}

func TestStagesAddUpAcrossCollectionsAndShards(t *testing.T) {
	p := newPipeline(Options{})
	p.times = []wire.StageTimes{qdisc(100, 1, 2), qdisc(99, 4)}
	p.collect()
	p.times = []wire.StageTimes{qdisc(101, math.MaxUint32)}
	point := find(t, p.collect(), StageDuration).ExponentialHistogram().DataPoints().At(0)
	assert.Equal(t, []uint64{4, 1, 2 + math.MaxUint32}, point.Positive().BucketCounts().AsRaw())
	assert.EqualValues(t, 7+math.MaxUint32, point.Count())
	assert.Equal(t, 3.0, point.Sum())
	p.times = nil
	assert.EqualValues(t, 7+math.MaxUint32,
		find(t, p.collect(), StageDuration).ExponentialHistogram().DataPoints().At(0).Count(), "it is cumulative")
}

func TestExplicitBoundariesOfStagesAreExact(t *testing.T) {
	for _, bound := range stageBounds() {
		upTo := uint32(slotOf(bound))
		for slot, below := range map[uint32]bool{upTo: true, upTo + 1: false} {
			p := newPipeline(Options{ExplicitBuckets: true})
			p.times = []wire.StageTimes{qdisc(slot, 3)}
			point := find(t, p.collect(), StageDuration).Histogram().DataPoints().At(0)
			bucket := slices.Index(point.ExplicitBounds().AsRaw(), bound)
			if !below {
				bucket++
			}
			assert.EqualValues(t, 3, point.BucketCounts().At(bucket), "%v s", bound)
			assert.EqualValues(t, 3, point.Count())
		}
	}
}

func TestWhatTheKernelFoldedIsOverflow(t *testing.T) {
	p := newPipeline(Options{})
	times := qdisc(7, 1)
	times.Overflow, times.Owner = true, wire.OwnerRef{}
	p.times = []wire.StageTimes{times}
	found := 0
	each(p.collect(), func(resource pmetric.ResourceMetrics, metric pmetric.Metric) {
		require.Equal(t, StageDuration, metric.Name())
		assert.Equal(t, map[string]any{attrOverflow: true}, resource.Resource().Attributes().AsRaw())
		found++
	})
	assert.Equal(t, 1, found)
}

func TestAStageOfANewerKernelHalfIsLeftOut(t *testing.T) {
	p := newPipeline(Options{})
	for _, change := range []func(*wire.StageTimes){
		func(s *wire.StageTimes) { s.Direction = 3 },
		func(s *wire.StageTimes) { s.Stage = wire.StagesPerDirection },
		func(s *wire.StageTimes) { s.First = wire.HistogramSlots },
	} {
		times := qdisc(7, 1)
		change(&times)
		p.times = append(p.times, times)
	}
	assert.Zero(t, p.collect().MetricCount())
}

func TestAStageHasTheLongestTimeOfACallAsItsExemplar(t *testing.T) {
	for _, explicit := range []bool{false, true} {
		p := newPipeline(Options{ExplicitBuckets: explicit})
		exemplars := func() pmetric.ExemplarSlice {
			metric := find(t, p.collect(), StageDuration)
			if explicit {
				return metric.Histogram().DataPoints().At(0).Exemplars()
			}
			return metric.ExponentialHistogram().DataPoints().At(0).Exemplars()
		}
		took := func(ns, atNs uint64, span byte) {
			record := &wire.StageRecord{
				Header: wire.RecordHeader{TimeNs: atNs}, DurationNs: ns, Stage: wire.StageQdisc,
				Key: wire.StageKey{CgroupID: podCgroup, Direction: wire.DirectionTransmit, Shard: 3},
			}
			p.StageExemplar(record, Link{TraceID: [16]byte{9}, SpanID: [8]byte{span}})
		}
		p.times = []wire.StageTimes{qdisc(100, 1, 2)}
		took(2e6, p.time, 1)
		took(3e6, p.time, 2)
		took(1e6, p.time, 3)
		took(9e6, math.MaxUint64, 4) // after the kernel's counts will have been read
		found := exemplars()
		require.Equal(t, 1, found.Len())
		assert.Equal(t, 0.003, found.At(0).DoubleValue())
		assert.EqualValues(t, [8]byte{2}, found.At(0).SpanID())
		assert.EqualValues(t, [16]byte{9}, found.At(0).TraceID())
		assert.NotZero(t, found.At(0).Timestamp())
		assert.Zero(t, exemplars().Len(), "it was told of")
	}
}
