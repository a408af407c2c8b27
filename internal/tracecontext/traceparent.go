package tracecontext

// Parent is the context that a request carried.
type Parent struct {
	TraceID [16]byte
	SpanID  [8]byte
	// Sampled is the caller's sampling decision, if Decided.
	Sampled, Decided bool
	// State is tracestate as it came; empty: none, or not fit to pass on.
	State string
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
	p.Sampled, p.Decided = flag[0]&1 != 0, true
	if fitState(tracestate) {
		p.State = tracestate
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
	for i := range out {
		high, ok1 := digit(hex[2*i])
		low, ok2 := digit(hex[2*i+1])
		if !ok1 || !ok2 {
			return false
		}
		out[i] = high<<4 | low
	}
	return true
}

func digit(c byte) (byte, bool) {
	switch {
	case c >= '0' && c <= '9':
		return c - '0', true
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10, true
	}
	return 0, false
}
