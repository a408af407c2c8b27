package tracecontext

// Parent is the context that a request carried.
type Parent struct {
	TraceID [16]byte
	SpanID  [8]byte
	// Flags are W3C trace-flags; of B3, only the sampled bit.
	Flags uint8
	// Undecided says that the sender left the sampling decision open, as only B3 can.
	Undecided bool
	// TraceState is tracestate as it came; empty: none, or not fit to pass on.
	TraceState string
}

// Bits of Parent.Flags.
const (
	Sampled = 1 << 0
	Random  = 1 << 1 // the trace id is random, as level 2 of the specification has it
)

// FromHeaders takes what the headers of a request carry: traceparent if it is valid, else B3.
func FromHeaders(traceparent, tracestate, b3 string) (Parent, bool) {
	if traceparent != "" {
		if p, ok := FromTraceparent(traceparent, tracestate); ok {
			return p, true
		}
	}
	if b3 == "" {
		return Parent{}, false
	}
	return FromB3(b3)
}

// MaxState is the longest tracestate that is passed on. W3C Trace Context section 3.3.1.5 asks for at
// least 512 characters; more than this is nobody's context.
const MaxState = 2048

// FromTraceparent reads traceparent as W3C Trace Context (level 2) section 3.2 has it. Of a version that is
// not known yet it takes what it has in common with version 00, as section 4.3 demands. ok is false for
// anything else; then tracestate counts for nothing either.
func FromTraceparent(traceparent, tracestate string) (p Parent, ok bool) {
	const (
		length = len("00-11111111111111112222222222222222-3333333333333333-01")
		trace  = len("00-")
		span   = trace + 32 + 1
		flags  = span + 16 + 1
	)
	s := traceparent
	if len(s) < length || s[2] != '-' || s[span-1] != '-' || s[flags-1] != '-' {
		return Parent{}, false
	}
	var version, flag [1]byte
	if !decode(version[:], s[:2]) || version[0] == 0xff ||
		!decode(p.TraceID[:], s[trace:trace+32]) || !decode(p.SpanID[:], s[span:span+16]) ||
		!decode(flag[:], s[flags:length]) {
		return Parent{}, false
	}
	if len(s) > length && (version[0] == 0 || s[length] != '-') {
		return Parent{}, false
	}
	if p.TraceID == [16]byte{} || p.SpanID == [8]byte{} {
		return Parent{}, false
	}
	p.Flags = flag[0] & (Sampled | Random) // the other bits mean nothing yet and are not passed on
	if fitState(tracestate) {
		p.TraceState = tracestate
	}
	return p, true
}

// fitState says whether tracestate can be passed on unread: printable, and of a sane length.
func fitState(s string) bool {
	if len(s) > MaxState {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < ' ' || c > '~') && c != '\t' {
			return false
		}
	}
	return true
}

// decode reads lower-case hex digits; only those are valid in traceparent.
func decode(out []byte, hex string) bool {
	if len(hex) != 2*len(out) {
		return false
	}
	all := byte(0)
	for i := range out {
		high, low := digits[hex[2*i]], digits[hex[2*i+1]]
		all |= high | low
		out[i] = high<<4 | low
	}
	return all <= 0xf
}

// digits are the values of lower-case hex digits, of other characters more than those.
var digits = func() (values [256]byte) {
	for c := range values {
		values[c] = 0xff
	}
	for value, c := range []byte("0123456789abcdef") {
		values[c] = byte(value)
	}
	return values
}()
