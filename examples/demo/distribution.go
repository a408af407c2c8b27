package main

import (
	"maps"
	"math"
	"slices"

	"go.opentelemetry.io/collector/pdata/pmetric"
)

// distribution adds up OTLP exponential histograms, whatever their scales, and gives quantiles of the sum.
type distribution struct {
	scale   int32
	zero    uint64
	buckets map[int32]uint64
	count   uint64
	min     float64
	max     float64
}

// add takes a data point. Only its positive half is looked at: no duration is negative.
func (d *distribution) add(point pmetric.ExponentialHistogramDataPoint) {
	if point.Count() == 0 {
		return
	}
	if d.buckets == nil {
		d.buckets, d.scale = map[int32]uint64{}, point.Scale()
		d.min, d.max = math.Inf(1), 0
	}
	d.coarsen(point.Scale())
	shift := point.Scale() - d.scale
	for i, n := range point.Positive().BucketCounts().AsRaw() {
		if n > 0 {
			d.buckets[(point.Positive().Offset()+int32(i))>>shift] += n
		}
	}
	d.zero += point.ZeroCount()
	d.count += point.Count()
	least, most := 0.0, math.Inf(1) // where it does not say
	if point.HasMin() {
		least = point.Min()
	}
	if point.HasMax() {
		most = point.Max()
	}
	d.min, d.max = min(d.min, least), max(d.max, most)
}

// coarsen makes room for a histogram of a smaller scale: one step merges two neighbours into one bucket
// (OpenTelemetry metrics data model, "exponential scale").
func (d *distribution) coarsen(scale int32) {
	if scale >= d.scale {
		return
	}
	merged := map[int32]uint64{}
	for i, n := range d.buckets {
		merged[i>>(d.scale-scale)] += n
	}
	d.buckets, d.scale = merged, scale
}

// quantile is the value below which a share q of all values lies, NaN where there are none. It is the
// geometric middle of a bucket, so off by half a bucket at most: 4 % at scale 3.
func (d *distribution) quantile(q float64) float64 {
	if d.count == 0 {
		return math.NaN()
	}
	rank := max(1, uint64(math.Ceil(q*float64(d.count))))
	if rank <= d.zero {
		return 0
	}
	seen := d.zero
	for _, i := range slices.Sorted(maps.Keys(d.buckets)) {
		if seen += d.buckets[i]; seen >= rank {
			middle := math.Exp2((float64(i) + 0.5) * math.Exp2(-float64(d.scale)))
			return min(max(middle, d.min), d.max)
		}
	}
	return d.max
}

// p50p99 writes two quantiles, a dash where there is no value.
func (d *distribution) p50p99() string {
	if d.count == 0 {
		return "–"
	}
	return seconds(d.quantile(0.5)) + " / " + seconds(d.quantile(0.99))
}
