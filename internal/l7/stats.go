package l7

// Reason says why something was given up.
type Reason uint8

const (
	// ConnectionsFull counts records of connections beyond MaxConnections.
	ConnectionsFull Reason = iota
	// PendingFull counts connections with more than MaxPending unanswered requests.
	PendingFull
	// BytesFull counts records of which the bytes could not be held, or values of calls that could not.
	BytesFull
	// PipeliningGap counts connections on which records were lost while, as far as can be told, several
	// requests were waiting: which answer belongs to which is not certain any more.
	PipeliningGap
	// NoRequest counts answers of which the request was not seen.
	NoRequest
	// NoMethod counts requests of which not even the method was seen; there is no call for them. Of HTTP/2, those
	// of which only the answer was seen.
	NoMethod
	// NotPaired counts calls that were emitted without their answer because it was not certain which it was.
	NotPaired
	// Malformed counts messages that are not HTTP, or framed so that recipients may differ.
	Malformed
	// StreamsFull counts HTTP/2 requests beyond MaxStreams.
	StreamsFull
	// Idle counts connections that were forgotten after IdleTimeout.
	Idle

	reasons
)

func (r Reason) String() string {
	return [reasons]string{"connections_full", "pending_full", "bytes_full", "pipelining_gap", "no_request",
		"no_method", "not_paired", "malformed", "streams_full", "idle"}[r]
}

// Reasons is the number of reasons, for walking through Stats.GivenUp.
const Reasons = int(reasons)

// Stats are a Tracker's books. Counts are cumulative; Requests = Calls + GivenUp[NoMethod] + Pending.
type Stats struct {
	Records    uint64
	Duplicates uint64 // records of which every byte had been seen
	Reordered  uint64 // records that came before one that precedes them
	Gaps       uint64 // holes in the sequence numbers
	GapBytes   uint64
	Resyncs    uint64 // heads that were found again after framing was lost

	Requests  uint64 // requests that began
	Calls     uint64 // calls that were emitted
	ByCapture [Gap + 1]uint64
	GivenUp   [reasons]uint64

	HTTP1  uint64 // connections recognised, by protocol
	HTTP2  uint64
	Opaque uint64 // spoke neither, or changed to something else

	Connections int // followed now, opaque ones included
	Pending     int // requests in flight now
	HeldBytes   int // see Options.MaxBytes
}
