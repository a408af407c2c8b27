package main

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"go.opentelemetry.io/collector/pdata/pmetric"
)

// exponential makes a data point as the OTLP data model defines it.
func exponential(scale, offset int32, zero uint64, counts ...uint64) pmetric.ExponentialHistogramDataPoint {
	point := pmetric.NewExponentialHistogramDataPoint()
	point.SetScale(scale)
	point.SetZeroCount(zero)
	point.Positive().SetOffset(offset)
	point.Positive().BucketCounts().FromRaw(counts)
	count := zero
	for _, n := range counts {
		count += n
	}
	point.SetCount(count)
	return point
}

func TestQuantilesOfExponentialHistograms(t *testing.T) {
	limited := exponential(0, 3, 0, 10) // (8, 16]
	limited.SetMin(9)
	limited.SetMax(10)
	for _, test := range []struct {
		name   string
		points []pmetric.ExponentialHistogramDataPoint
		q      float64
		want   float64
	}{
		{"nothing", nil, 0.5, math.NaN()},
		{"one bucket: its geometric middle", []pmetric.ExponentialHistogramDataPoint{exponential(0, 3, 0, 10)}, 0.5, math.Exp2(3.5)},
		{"not above the largest value", []pmetric.ExponentialHistogramDataPoint{limited}, 0.99, 10},
		{"values below one have negative indexes", []pmetric.ExponentialHistogramDataPoint{exponential(1, -20, 0, 1)}, 0.5, math.Exp2(-9.75)},
		{"half is in the first bucket", []pmetric.ExponentialHistogramDataPoint{exponential(0, 0, 0, 5, 0, 5)}, 0.5, math.Exp2(0.5)},
		{"more than half is not", []pmetric.ExponentialHistogramDataPoint{exponential(0, 0, 0, 5, 0, 5)}, 0.51, math.Exp2(2.5)},
		{"zeros come first", []pmetric.ExponentialHistogramDataPoint{exponential(0, 0, 99, 1)}, 0.99, 0},
		{"the highest of a hundred", []pmetric.ExponentialHistogramDataPoint{exponential(0, 0, 99, 1)}, 1, math.Exp2(0.5)},
		{"a coarser histogram makes the sum coarse", []pmetric.ExponentialHistogramDataPoint{
			exponential(2, -4, 0, 1, 1, 1, 1), // four quarters of (0.5, 1]
			exponential(0, -1, 0, 4),          // (0.5, 1]
		}, 0.5, math.Exp2(-0.5)},
		{"a finer one is put into the coarse buckets", []pmetric.ExponentialHistogramDataPoint{
			exponential(0, 0, 0, 1),
			exponential(3, 8, 0, 0, 3), // within (2, 4]
		}, 0.99, math.Exp2(1.5)},
		{"an empty one changes nothing", []pmetric.ExponentialHistogramDataPoint{
			exponential(-5, 0, 0), exponential(0, 3, 0, 10),
		}, 0.5, math.Exp2(3.5)},
	} {
		t.Run(test.name, func(t *testing.T) {
			var d distribution
			for _, point := range test.points {
				d.add(point)
			}
			got := d.quantile(test.q)
			if math.IsNaN(test.want) {
				assert.True(t, math.IsNaN(got))
				assert.Equal(t, "–", d.p50p99())
				return
			}
			assert.InDelta(t, test.want, got, 1e-9)
		})
	}
}
