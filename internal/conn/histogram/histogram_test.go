package histogram

import (
	"math"
	"math/big"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// atMost reports whether value <= 2^(power/2^scale), in integers: value^(2^scale) <= 2^power.
func atMost(value float64, power, scale int) bool {
	mantissa, exponent := math.Frexp(value)
	whole := new(big.Int).SetInt64(int64(math.Ldexp(mantissa, 53)))
	exponent -= 53
	if scale < 0 {
		power, scale = power<<-scale, 0
	}
	n := 1 << scale
	left := whole.Exp(whole, big.NewInt(int64(n)), nil)
	shift := power - exponent*n
	if shift < 0 {
		return false // whole >= 1
	}
	return left.Cmp(new(big.Int).Lsh(big.NewInt(1), uint(shift))) <= 0
}

func requireIn(t *testing.T, value float64, index, scale int) {
	t.Helper()
	require.False(t, atMost(value, index, scale), "%v must be above the lower boundary of bucket %d at scale %d", value, index, scale)
	require.True(t, atMost(value, index+1, scale), "%v must be at most the upper boundary of bucket %d at scale %d", value, index, scale)
}

func TestEveryBoundaryIsExactAtBothSides(t *testing.T) {
	for _, exponent := range []int{-20, 0, 7} {
		for i := range steps {
			boundary := math.Ldexp(math.Float64frombits(uint64(exponentBias)<<significandBits|boundaries[i]), exponent)
			upper := exponent*steps + i - 1
			assert.Equal(t, upper, Index(boundary, MaxScale))
			requireIn(t, boundary, upper, MaxScale)
			next := math.Nextafter(boundary, math.Inf(1))
			assert.Equal(t, upper+1, Index(next, MaxScale))
			requireIn(t, next, upper+1, MaxScale)
		}
	}
}

func TestPowersOfTwoAreInTheBucketThatTheyClose(t *testing.T) {
	for scale := MinScale; scale <= MaxScale; scale++ {
		for _, exponent := range []int{-1022, -30, -1, 0, 1, 2, 30, 1023} {
			value := math.Ldexp(1, exponent)
			requireIn(t, value, Index(value, scale), scale)
		}
	}
	assert.Equal(t, -1, Index(1, 0))
	assert.Equal(t, 0, Index(2, 0))
	assert.Equal(t, 1, Index(4, 0))
	assert.Equal(t, 1, Index(math.Nextafter(2, 3), 0))
	assert.Equal(t, Index(0x1p-1022, 3), Index(math.SmallestNonzeroFloat64, 3), "subnormal values count as the smallest normal one")
}

func TestAnyValueIsBetweenTheBoundariesOfItsBucket(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 3000 {
		value := math.Ldexp(1+random.Float64(), random.IntN(60)-40)
		for scale := MinScale; scale <= MaxScale; scale++ {
			requireIn(t, value, Index(value, scale), scale)
		}
	}
}

func TestOrderOfValuesDoesNotChangeTheBuckets(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	values := make([]float64, 5000)
	for i := range values {
		values[i] = math.Exp(random.NormFloat64() * 4)
	}
	var forth, back Histogram
	for i := range values {
		forth.Record(values[i])
		back.Record(values[len(values)-1-i])
	}
	assert.Equal(t, forth.Scale, back.Scale)
	assert.Equal(t, forth.Offset, back.Offset)
	assert.Equal(t, forth.Counts, back.Counts)
	assert.LessOrEqual(t, len(forth.Counts), MaxSize)

	// The same as if all had been counted at the final scale from the start.
	direct := map[int]uint64{}
	for _, value := range values {
		direct[Index(value, forth.Scale)]++
	}
	for i, n := range forth.Counts {
		assert.Equal(t, direct[forth.Offset+i], n)
	}
	// One scale finer would not have fitted.
	finer := Index(forth.Max, forth.Scale+1) - Index(forth.Min, forth.Scale+1) + 1
	assert.Greater(t, finer, MaxSize)
}

func TestExtremesFitIntoMaxSizeBuckets(t *testing.T) {
	var h Histogram
	for _, value := range []float64{math.MaxFloat64, math.SmallestNonzeroFloat64, 1, 0} {
		h.Record(value)
	}
	assert.LessOrEqual(t, len(h.Counts), MaxSize)
	assert.EqualValues(t, 1, h.ZeroCount)
	assert.EqualValues(t, 4, h.Count)
	var sum uint64
	for _, n := range h.Counts {
		sum += n
	}
	assert.EqualValues(t, 3, sum)
}

func TestValuesThatCannotBeDurationsAreLeftOut(t *testing.T) {
	var h Histogram
	for _, value := range []float64{-1, math.NaN(), math.Inf(1), math.Inf(-1)} {
		h.Record(value)
	}
	assert.Equal(t, Histogram{}, h)
}

func TestExplicitBoundariesIncludeTheUpperOne(t *testing.T) {
	h := New([]float64{0.1, 1, 10})
	for _, value := range []float64{0, 0.1, 0.2, 1, 10, 10.5} {
		h.Record(value)
	}
	assert.Equal(t, []uint64{2, 2, 1, 1}, h.Counts)
	assert.Equal(t, 0.0, h.Min)
	assert.Equal(t, 10.5, h.Max)
}

func TestRecordingAllocatesNothingOnceTheBucketsAreThere(t *testing.T) {
	var h Histogram
	value := 1e-6
	record := func() {
		h.Record(value)
		if value *= 1.01; value > 10 {
			value = 1e-6
		}
	}
	for range 2000 {
		record()
	}
	assert.Zero(t, testing.AllocsPerRun(2000, record))
}

func BenchmarkRecord(b *testing.B) {
	b.ReportAllocs()
	var h Histogram
	value := 1e-6
	for b.Loop() {
		h.Record(value)
		if value *= 1.01; value > 10 {
			value = 1e-6
		}
	}
}
