package tracecontext

import "strings"

// FromB3 reads the single header b3 of Zipkin's B3 propagation:
//
//	{trace id}-{span id}[-{sampling state}[-{parent span id}]]
//
// with 32 or 16 hex digits of trace id; 16 are the right half of 32. The multiple headers X-B3-* are read
// after they were joined into this form. A sampling state alone ("0") carries no context: ok is false.
func FromB3(b3 string) (p Parent, ok bool) {
	trace, rest, _ := strings.Cut(b3, "-")
	span, rest, more := strings.Cut(rest, "-")
	switch len(trace) {
	case 32:
		ok = decodeFold(p.TraceID[:], trace)
	case 16:
		ok = decodeFold(p.TraceID[8:], trace)
	}
	if !ok || !decodeFold(p.SpanID[:], span) || p.TraceID == [16]byte{} || p.SpanID == [8]byte{} {
		return Parent{}, false
	}
	if !more {
		p.Undecided = true
		return p, true
	}
	state, parent, more := strings.Cut(rest, "-")
	switch state {
	case "1", "d":
		p.Flags = Sampled
	case "0":
	default:
		return Parent{}, false
	}
	if more {
		var id [8]byte
		if !decodeFold(id[:], parent) {
			return Parent{}, false
		}
	}
	return p, true
}

// decodeFold is decode for either case: B3 asks for lower case, and old tracers send upper case.
func decodeFold(out []byte, hex string) bool {
	if len(hex) != 2*len(out) {
		return false
	}
	var lower [32]byte
	for i := range len(hex) {
		c := hex[i]
		if c >= 'A' && c <= 'F' {
			c |= 0x20
		}
		lower[i] = c
	}
	return decode(out, string(lower[:len(hex)]))
}
