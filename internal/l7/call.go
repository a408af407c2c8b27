// Package l7 makes calls out of payload: requests paired with their answers, per connection.
package l7

// Capture says how much of a call was seen. It becomes the span attribute ebpfnet.capture.
type Capture uint8

const (
	Complete  Capture = iota // every byte that matters was seen
	Truncated                // a head was longer than what is captured of it
	MidStream                // the connection was joined after the call began
	Gap                      // bytes in the middle were not seen
)

func (c Capture) String() string {
	switch c {
	case Truncated:
		return "truncated"
	case MidStream:
		return "mid_stream"
	case Gap:
		return "gap"
	default:
		return "complete"
	}
}

// Call is one request and its answer. What was not seen for certain has its zero value.
type Call struct {
	ConnID uint64
	Server bool // the request was received here; else it was sent from here

	ProtocolVersion string // "1.0", "1.1", "2"
	Method          string // as sent; empty: not seen
	Target          string // request-target as sent (RFC 9112 section 3.2), query included; empty: not seen
	Authority       string // Host header field, :authority
	Scheme          string // :scheme, of HTTP/2 only
	Status          int    // 0: none seen
	UserAgent       string

	RequestSequence uint32 // TCP sequence number of the request's first byte
	SequenceKnown   bool
	StreamID        uint32 // HTTP/2; 0 for HTTP/1

	// ResponseSequence is the TCP sequence number of the first byte of the final answer: what the kernel does
	// to these bytes, even after the call has ended, is done to this call.
	ResponseSequence      uint32
	ResponseSequenceKnown bool

	StartNs         uint64 // first byte of the request
	RequestEndNs    uint64 // its last byte; 0: not seen, or not before the call ended
	ResponseStartNs uint64 // first byte of the final answer; 0: none
	EndNs           uint64 // last byte of the answer
	RequestBody     int64  // bytes of content, -1: not known
	ResponseBody    int64

	RPC              string // rpc.system.name: "grpc"; empty: plain HTTP
	RPCStatus        string // name of the status in the trailers, such as OK, a number if it has none; empty: none seen
	RequestMessages  int64  // of an RPC, -1: not known
	ResponseMessages int64

	Traceparent, Tracestate string // W3C Trace Context
	B3                      string // single header b3, or the multi-header form joined into it

	Headers []Header // only those of Options.Headers

	Capture Capture
	Error   string // error.type: why there is no (whole) answer; empty: there is
	Within  Within // of a request that was sent from here
	TGID    uint32 // process that moved the request's first byte, 0: not known
}

// Seconds is how long a call took of which both ends were seen.
func (c *Call) Seconds() float64 { return float64(c.EndNs-c.StartNs) / 1e9 }

// Header is a captured header field of the allow-list.
type Header struct {
	Name     string // lower case
	Value    string
	Response bool
}
