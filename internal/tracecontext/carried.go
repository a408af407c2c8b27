package tracecontext

import "encoding/hex"

// Carried is the trace that a request's header fields name.
type Carried struct {
	TraceID    [16]byte
	SpanID     [8]byte // of the sender
	Flags      uint8   // W3C trace-flags
	TraceState string
}

// maxTracestate bounds what is passed on; the specification asks for at least 512 characters.
const maxTracestate = 1024

// FromHeaders reads traceparent, or else B3 (either form as one string); ok is false where neither is
// there and valid. An invalid traceparent does not hide a valid B3.
func FromHeaders(traceparent, tracestate, b3 string) (carried Carried, ok bool) {
	if carried, ok = parseTraceparent(traceparent); ok {
		if len(tracestate) <= maxTracestate {
			carried.TraceState = tracestate
		}
		return carried, true
	}
	return parseB3(b3)
}

// parseTraceparent reads version-traceid-parentid-flags (W3C Trace Context section 3.2). Later versions
// may append to it.
func parseTraceparent(s string) (c Carried, ok bool) {
	if len(s) < 55 || s[2] != '-' || s[35] != '-' || s[52] != '-' {
		return c, false
	}
	var version, flags [1]byte
	if !lowerHex(version[:], s[:2]) || version[0] == 0xff || version[0] == 0 && len(s) != 55 ||
		len(s) > 55 && s[55] != '-' {
		return c, false
	}
	if !lowerHex(c.TraceID[:], s[3:35]) || !lowerHex(c.SpanID[:], s[36:52]) || !lowerHex(flags[:], s[53:55]) {
		return Carried{}, false
	}
	c.Flags = flags[0]
	if c.TraceID == ([16]byte{}) || c.SpanID == ([8]byte{}) {
		return Carried{}, false
	}
	return c, true
}

// parseB3 reads traceid-spanid[-sampled[-parentspanid]], the trace id of 16 or 32 digits.
func parseB3(s string) (c Carried, ok bool) {
	trace := c.TraceID[:]
	digits := 32
	if len(s) > 16 && s[16] == '-' {
		digits, trace = 16, trace[8:]
	}
	span := digits + 1
	end := span + 16
	if len(s) < end || s[digits] != '-' || len(s) > end && s[end] != '-' {
		return c, false
	}
	if !lowerHex(trace, s[:digits]) || !lowerHex(c.SpanID[:], s[span:end]) {
		return Carried{}, false
	}
	if c.TraceID == ([16]byte{}) || c.SpanID == ([8]byte{}) {
		return Carried{}, false
	}
	if len(s) > end+1 && (s[end+1] == '1' || s[end+1] == 'd') {
		c.Flags = 1
	}
	return c, true
}

// lowerHex decodes lower-case digits only, as both specifications have them.
func lowerHex(to []byte, s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	_, err := hex.Decode(to, []byte(s))
	return err == nil
}
