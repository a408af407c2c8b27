package histogram

import (
	"math"
	"math/big"
	"slices"
)

// MaxScale is the finest scale: 256 buckets per doubling, each 0.27 % wide. The data model would allow 20,
// but a histogram of MaxSize buckets keeps a finer scale only while all its values lie within half a
// percent; in exchange every boundary fits into a table and the mapping is exact, without logarithms. It is also
// the finest schema of Prometheus' native histograms, which take these buckets as they are.
const MaxScale = 8

// MinScale is the coarsest scale: one bucket holds every float64 from 1 up, another every one below.
const MinScale = -10

const (
	significandBits = 52
	significandMask = 1<<significandBits - 1
	exponentBias    = 1023
	steps           = 1 << MaxScale // boundaries per doubling
)

// Of the powers 2^(i/steps), i in 1…steps-1, the significand of the largest float64 that is not above it.
// The powers are irrational, so no float64 lies on one: "at most the power" and "at most this float64" are
// the same. firstAbove[s] is the lowest i whose boundary can lie at or above a significand with top bits s.
var boundaries, firstAbove = makeBoundaries()

// makeBoundaries takes the square root of 2 MaxScale times at 256 bits and multiplies up; rounding toward zero
// at the end gives the largest float64 that is not above, as the error stays far below 2^-200.
func makeBoundaries() (table [steps]uint64, first [steps]uint16) {
	const precision = 256
	root := big.NewFloat(2).SetPrec(precision)
	for range MaxScale {
		root.Sqrt(root)
	}
	power := big.NewFloat(1).SetPrec(precision)
	for i := 1; i < steps; i++ {
		power.Mul(power, root)
		float, _ := new(big.Float).SetMode(big.ToZero).SetPrec(significandBits + 1).Set(power).Float64()
		table[i] = math.Float64bits(float) & significandMask
	}
	for s := range first {
		low := uint64(s) << (significandBits - MaxScale)
		i, _ := slices.BinarySearch(table[1:], low)
		first[s] = uint16(i + 1)
	}
	return table, first
}

// Index is the bucket of value at scale: the i with base^i < value <= base^(i+1), base = 2^(2^-scale)
// (OpenTelemetry metrics data model, "ExponentialHistogram"). value must be positive and finite; scale
// between MinScale and MaxScale. Subnormal values are mapped as the smallest normal one, as the data model
// permits.
func Index(value float64, scale int) int {
	bits := math.Float64bits(value)
	exponent := int(bits>>significandBits) - exponentBias
	significand := bits & significandMask
	if exponent == -exponentBias {
		exponent, significand = exponent+1, 0
	}
	// At MaxScale: the upper boundary belongs to the bucket, so an exact power of two is in the one below.
	index := exponent<<MaxScale - 1
	if significand != 0 {
		i := firstAbove[significand>>(significandBits-MaxScale)]
		for i < steps && boundaries[i] < significand {
			i++
		}
		index += int(i)
	}
	return index >> (MaxScale - scale)
}
