package histogram

// Exemplar is one of the values that were counted, with the span during which it was measured.
type Exemplar struct {
	Value   float64
	TimeNs  uint64 // CLOCK_REALTIME
	TraceID [16]byte
	SpanID  [8]byte // zero: there is no exemplar
}

// Exemplify offers an exemplar of a value that was recorded. Of those since the last TakeExemplar the one
// with the largest value stays: that is what somebody who looks at the histogram wants to see the trace of.
func (h *Histogram) Exemplify(e Exemplar) {
	if h.exemplar.SpanID == ([8]byte{}) || e.Value >= h.exemplar.Value {
		h.exemplar = e
	}
}

// TakeExemplar is the exemplar since the last call; false: there is none.
func (h *Histogram) TakeExemplar() (e Exemplar, ok bool) {
	e, h.exemplar = h.exemplar, Exemplar{}
	return e, e.SpanID != [8]byte{}
}
