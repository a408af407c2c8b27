package histogram

import "slices"

// MaxSize is the largest number of buckets an exponential histogram keeps, as in the OpenTelemetry SDKs.
// At 160 buckets, five decades are resolved to 8 buckets per doubling.
const MaxSize = 160

// Histogram is a distribution of values that are not negative. The zero value is an empty exponential
// histogram; New makes one with explicit boundaries. Record allocates only while the buckets grow.
type Histogram struct {
	Count    uint64
	Sum      float64
	Min, Max float64 // valid where Count > 0

	// Exponential: Counts[i] is bucket Offset+i at Scale, ZeroCount the values equal to 0.
	Scale     int
	Offset    int
	ZeroCount uint64

	// Explicit: Counts[i] holds the values in (Bounds[i-1], Bounds[i]], the last everything above.
	Bounds []float64

	Counts []uint64

	exemplar Exemplar
}

// New makes an empty histogram: with explicit boundaries, ascending, or exponential where there are none.
func New(bounds []float64) Histogram {
	h := Histogram{Bounds: bounds}
	if len(bounds) > 0 {
		h.Counts = make([]uint64, len(bounds)+1)
	}
	return h
}

// Record counts one value. A negative or not finite value is a fault of the caller and is left out.
func (h *Histogram) Record(value float64) {
	if !(value >= 0 && value <= maxFinite) {
		return
	}
	if h.Count == 0 {
		h.Min, h.Max = value, value
	}
	h.Min, h.Max = min(h.Min, value), max(h.Max, value)
	h.Count++
	h.Sum += value
	switch {
	case len(h.Bounds) > 0:
		i, _ := slices.BinarySearch(h.Bounds, value) // the first boundary that is not below value
		h.Counts[i]++
	case value == 0:
		h.ZeroCount++
	default:
		h.count(value)
	}
}

const maxFinite = 0x1p1023 * (1 + (1 - 0x1p-52))

func (h *Histogram) count(value float64) {
	if len(h.Counts) == 0 {
		h.Scale = MaxScale
		h.Offset = Index(value, h.Scale)
		h.Counts = append(h.Counts, 1)
		return
	}
	index := Index(value, h.Scale)
	low, high := min(h.Offset, index), max(h.Offset+len(h.Counts)-1, index)
	shift := 0
	for high>>shift-low>>shift >= MaxSize {
		shift++
	}
	if shift > 0 {
		h.downscale(shift)
		index >>= shift
	}
	h.cover(index)
	h.Counts[index-h.Offset]++
}

// downscale merges 2^shift neighbours into one; at the coarser scale they are one bucket exactly.
func (h *Histogram) downscale(shift int) {
	offset := h.Offset >> shift
	for i, n := range h.Counts {
		h.Counts[i] = 0
		h.Counts[(h.Offset+i)>>shift-offset] += n
	}
	last := (h.Offset+len(h.Counts)-1)>>shift - offset
	h.Counts = h.Counts[:last+1]
	h.Offset = offset
	h.Scale -= shift
}

// cover widens the buckets to include index, which the caller knows to fit into MaxSize.
func (h *Histogram) cover(index int) {
	if below := h.Offset - index; below > 0 {
		n := len(h.Counts)
		h.grow(n + below)
		copy(h.Counts[below:], h.Counts[:n])
		clear(h.Counts[:below])
		h.Offset = index
	}
	if n := index - h.Offset + 1; n > len(h.Counts) {
		h.grow(n)
	}
}

func (h *Histogram) grow(n int) {
	old := len(h.Counts)
	if n > cap(h.Counts) {
		wider := make([]uint64, old, min(MaxSize, max(2*n, 16)))
		copy(wider, h.Counts)
		h.Counts = wider
	}
	h.Counts = h.Counts[:n]
	clear(h.Counts[old:])
}
