package otlp

import (
	"math"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/ebpfnet/ebpfnetreceiver/internal/conn"
	"github.com/ebpfnet/ebpfnetreceiver/internal/conn/histogram"
	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

// stageNames are the values of network.stage.name by direction and number.
var stageNames = [len(wire.StageLosses{})][wire.StagesPerDirection]string{
	wire.DirectionUnknown: {wire.StageIP: "ip", wire.StageNetfilter: "netfilter"},
	wire.DirectionTransmit: {
		wire.StageIP: "ip", wire.StageNetfilter: "netfilter", wire.StageSocket: "socket",
		wire.StageNeighbor: "neighbor", wire.StageQdisc: "qdisc", wire.StageDriver: "driver",
	},
	wire.DirectionReceive: {
		wire.StageIP: "ip", wire.StageNetfilter: "netfilter", wire.StageNICToTCP: "nic_to_tcp",
		wire.StageTCPToApp: "tcp_to_app",
	},
}

// StageName is the value of network.stage.name; empty for a stage that does not exist in this direction.
func StageName(direction, stage uint8) string {
	if int(direction) >= len(stageNames) || int(stage) >= wire.StagesPerDirection {
		return ""
	}
	return stageNames[direction][stage]
}

// DirectionName is the value of network.io.direction; empty where there is none.
func DirectionName(direction uint8) string { return at(directions[:], direction) }

// stages sums up what the kernel counted per owner.
type stages struct {
	environment Environment
	owners      *conn.Owners[stageSums]
	examples    []stageExample // since the last collection
}

// stageExample is a time that was counted, of a packet of a call of which there is a span.
type stageExample struct {
	wire.StageRecord
	link Link
}

// maxStageExamples bounds how many are kept from one collection to the next.
const maxStageExamples = 2048

// stageSums are the distributions of one owner since its start; nil where nothing has come.
type stageSums [len(wire.StageLosses{})][wire.StagesPerDirection]*stageSum

// stageSum has of its slots those that were ever counted in, and those between: mostly a few dozen.
type stageSum struct {
	sumNs    uint64
	first    int
	slots    []uint64
	exemplar histogram.Exemplar // the longest of those since the last collection, if any
}

func newStages(limits conn.Limits, environment Environment) stages {
	return stages{environment: environment, owners: conn.NewOwners[stageSums](limits)}
}

func (s *stages) add(collection *wire.Collection, sinceNs uint64) {
	for i := range collection.Stages {
		times := &collection.Stages[i]
		if StageName(times.Direction, times.Stage) == "" && times.Stage != wire.StageWait || int(times.First)+len(times.Counts) > wire.HistogramSlots {
			continue // of a newer kernel half, in a recording
		}
		entry := s.of(times.Owner, times.Overflow, collection.TimeNs, sinceNs)
		entry.Touch()
		sum := entry.Value[times.Direction][times.Stage]
		if sum == nil {
			sum = &stageSum{}
			entry.Value[times.Direction][times.Stage] = sum
		}
		sum.add(times.SumNs, times.First, times.Counts)
	}
}

func (s *stages) of(o wire.OwnerRef, overflow bool, timeNs, sinceNs uint64) *conn.Owned[stageSums] {
	if overflow {
		return s.owners.Overflowing(sinceNs)
	}
	return s.owners.Of(s.environment.Owners.Resolve(o, "", timeNs), sinceNs)
}

// exemplify gives each distribution the longest time of those that calls were told of. One that is not counted
// yet, because the counts were read before, waits.
func (s *stages) exemplify(collection *wire.Collection, sinceNs uint64) {
	waiting := s.examples[:0]
	for _, e := range s.examples {
		if e.Header.TimeNs > collection.TimeNs {
			waiting = append(waiting, e)
			continue
		}
		key := &e.Key
		if StageName(key.Direction, e.Stage) == "" {
			continue // of a newer kernel half, in a recording
		}
		entry := s.of(wire.OwnerRef{CgroupID: key.CgroupID, Netns: key.Netns}, key.Overflow != 0, collection.TimeNs, sinceNs)
		sum, seconds := entry.Value[key.Direction][e.Stage], float64(e.DurationNs)/1e9
		if sum == nil || sum.exemplar.Value > seconds {
			continue
		}
		sum.exemplar = histogram.Exemplar{
			Value: seconds, TimeNs: uint64(int64(e.Header.TimeNs) + collection.OffsetNs),
			TraceID: e.link.TraceID, SpanID: e.link.SpanID,
		}
	}
	s.examples = waiting
}

func (s *stageSum) add(sumNs uint64, first uint32, counts []uint32) {
	s.sumNs += sumNs
	from, to := int(first), int(first)+len(counts)
	if len(s.slots) > 0 {
		from, to = min(from, s.first), max(to, s.first+len(s.slots))
	}
	if to-from != len(s.slots) {
		slots := make([]uint64, to-from)
		if len(s.slots) > 0 {
			copy(slots[s.first-from:], s.slots)
		}
		s.first, s.slots = from, slots
	}
	for i, n := range counts {
		s.slots[int(first)-s.first+i] += uint64(n)
	}
}

// stages writes the distributions of one owner.
func (w *writer) stages(entry *conn.Owned[stageSums], bounds []float64) {
	if w.instrument(stageDuration, entry.StartNs) {
		for direction := range entry.Value {
			for stage, sum := range entry.Value[direction] {
				if sum == nil || stage == wire.StageWait {
					continue
				}
				to := w.stage(sum, bounds)
				putStr(to, attrIODirection, at(directions[:], uint8(direction)))
				putStr(to, attrStageName, StageName(uint8(direction), uint8(stage)))
			}
		}
	}
	w.wait(socketReadWait, entry, wire.DirectionReceive, bounds)
	w.wait(socketWriteWait, entry, wire.DirectionTransmit, bounds)
}

func (w *writer) wait(id instrument, entry *conn.Owned[stageSums], direction uint8, bounds []float64) {
	if sum := entry.Value[direction][wire.StageWait]; sum != nil && w.instrument(id, entry.StartNs) {
		w.stage(sum, bounds)
	}
}

// zeroThreshold is what slot 0 ends with, in seconds.
var zeroThreshold = math.Ldexp(1, -wire.HistogramFinest)

// stage writes the slots as they are: they are buckets of this scale already. The kernel keeps no minimum and no
// maximum.
func (w *writer) stage(sum *stageSum, bounds []float64) pcommon.Map {
	if len(bounds) > 0 {
		return w.explicitStage(sum, bounds)
	}
	metric := w.begin()
	if metric.Type() == pmetric.MetricTypeEmpty {
		metric.SetEmptyExponentialHistogram().SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
	}
	point := metric.ExponentialHistogram().DataPoints().AppendEmpty()
	point.SetStartTimestamp(w.start)
	point.SetTimestamp(w.now)
	point.SetSum(float64(sum.sumNs) / 1e9)
	point.SetScale(wire.HistogramScale)
	point.SetZeroThreshold(zeroThreshold)
	var count, zero uint64
	first, last := 0, -1 // of the positive ones, in sum.slots
	for i, n := range sum.slots {
		switch count += n; {
		case n == 0:
		case sum.first+i == 0:
			zero = n
		case last < 0:
			first, last = i, i
		default:
			last = i
		}
	}
	point.SetCount(count)
	point.SetZeroCount(zero)
	if last >= 0 {
		point.Positive().SetOffset(int32(sum.first + first - 1 - wire.HistogramFinest<<wire.HistogramScale))
		point.Positive().BucketCounts().FromRaw(sum.slots[first : 1+last])
	}
	sum.exemplify(point.Exemplars())
	return point.Attributes()
}

// explicitStage merges slots: the boundaries are some of theirs.
func (w *writer) explicitStage(sum *stageSum, bounds []float64) pcommon.Map {
	metric := w.begin()
	if metric.Type() == pmetric.MetricTypeEmpty {
		metric.SetEmptyHistogram().SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
	}
	point := metric.Histogram().DataPoints().AppendEmpty()
	point.SetStartTimestamp(w.start)
	point.SetTimestamp(w.now)
	point.SetSum(float64(sum.sumNs) / 1e9)
	counts := make([]uint64, len(bounds)+1)
	var count uint64
	bucket := 0
	for i, n := range sum.slots {
		for bucket < len(bounds) && sum.first+i > slotOf(bounds[bucket]) {
			bucket++
		}
		counts[bucket] += n
		count += n
	}
	point.SetCount(count)
	point.ExplicitBounds().FromRaw(bounds)
	point.BucketCounts().FromRaw(counts)
	sum.exemplify(point.Exemplars())
	return point.Attributes()
}

func (s *stageSum) exemplify(to pmetric.ExemplarSlice) {
	if s.exemplar.SpanID != ([8]byte{}) {
		writeExemplar(to.AppendEmpty(), &s.exemplar).SetDoubleValue(s.exemplar.Value)
		s.exemplar = histogram.Exemplar{}
	}
}

// slotOf is the slot that ends with bound, a power of two.
func slotOf(bound float64) int {
	_, exponent := math.Frexp(bound)
	return (exponent - 1 + wire.HistogramFinest) << wire.HistogramScale
}

// stageBounds are every fourth power of two from 1 µs to 16 s.
func stageBounds() (bounds []float64) {
	for exponent := -20; exponent <= 4; exponent += 2 {
		bounds = append(bounds, math.Ldexp(1, exponent))
	}
	return bounds
}
