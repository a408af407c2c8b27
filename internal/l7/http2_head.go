package l7

import (
	"bytes"
	"slices"
	"unicode/utf8"

	"github.com/ebpfnet/ebpfnetreceiver/internal/l7/http1"
	"github.com/ebpfnet/ebpfnetreceiver/internal/l7/http2"
)

// What a header field means to a call of HTTP/2, beyond http1.Name up to Listed. It is in the low bits of
// an http2.ID; in the high ones, the field's place in the allow-list plus one.
const (
	fieldMethod = http1.Listed + iota
	fieldPath
	fieldAuthority
	fieldScheme
	fieldStatus
	fieldContentType
	fieldGRPCStatus

	fieldBits = 5
)

func (t *Tracker) headID(name []byte) http2.ID {
	var field http1.Name
	switch string(name) {
	case ":method":
		field = fieldMethod
	case ":path":
		field = fieldPath
	case ":authority":
		field = fieldAuthority
	case ":scheme":
		field = fieldScheme
	case ":status":
		field = fieldStatus
	case "content-type":
		field = fieldContentType
	case "grpc-status":
		field = fieldGRPCStatus
	default:
		field = t.requestNames.Find(name)
	}
	listed := -1
	if len(t.options.Headers) > 0 {
		listed = slices.Index(t.options.Headers, string(name))
	}
	return http2.ID(field) | http2.ID(listed+1)<<fieldBits
}

func meaning(f *http2.Field) http1.Name { return http1.Name(f.ID & (1<<fieldBits - 1)) }

// headFields acts on a header block: that of a request, an answer, an interim answer, or trailers.
func (c *conn) headFields(i int, timeNs uint64) {
	s, b := &c.h2.sides[i], &c.t.block
	asks, answers, method := false, false, false
	status := 0
	var place [fieldStatus - fieldMethod + 1]int // of each pseudo-header field, from one
	for k := range b.Fields {
		f := &b.Fields[k]
		name := meaning(f)
		if name < fieldMethod || name > fieldStatus {
			continue
		}
		if name == fieldStatus {
			status, answers = parseStatus(f.Value), true
		} else {
			asks, method = true, method || name == fieldMethod
		}
		if first := &place[name-fieldMethod]; *first == 0 {
			*first = k + 1
		} else { // of two values neither is certain (RFC 9113 section 8.3 forbids them)
			b.Fields[*first-1].ID, f.ID = 0, 0
			if name == fieldStatus {
				status = 0
			}
		}
	}
	if c.requests == undecided && asks != answers {
		c.requests = uint8(i)
		if answers {
			c.requests = uint8(1 - i)
		}
	}
	switch {
	case c.requests == undecided:
	case asks && !method && b.Unknown == 0:
		c.t.stats.GivenUp[Malformed]++ // RFC 9113 section 8.3.1
	case asks && answers, asks && c.part(i) == response, answers && c.part(i) == request:
		c.malformedHTTP2(i) // or not what it was taken for
	case c.part(i) == request:
		c.requestHead(s, asks, timeNs)
	default:
		c.responseHead(s, status, timeNs)
	}
}

func parseStatus(value []byte) (status int) {
	if len(value) != 3 {
		return 0
	}
	for _, digit := range value {
		if digit < '0' || digit > '9' {
			return 0
		}
		status = status*10 + int(digit-'0')
	}
	if status < 100 || status > 599 {
		return 0
	}
	return status
}

func (c *conn) requestHead(s *http2Side, asks bool, timeNs uint64) {
	h, head := c.h2, &s.head
	st := h.find(head.stream)
	if st == nil || !st.requestSeen {
		// Without a pseudo-header field these are the trailers of a request that was not seen. A block that was
		// lost is that of a request if none can have gone unseen.
		begins := asks || head.lost && !s.broken && !c.midStream
		if !begins || head.stream%2 == 0 || head.stream <= h.highest {
			return
		}
		h.highest = head.stream
		if st == nil {
			if st = c.openStream(head.stream); st == nil {
				return
			}
		}
		c.beginCall(st, s)
	}
	st.lastNs = c.lastNs
	if head.endStream {
		c.endStream(st, request, timeNs)
	} else if st.done && st.requestDone {
		c.finishStream(st)
	}
}

// beginCall takes the header block of a request.
func (c *conn) beginCall(st *http2Stream, s *http2Side) {
	t, head := c.t, &s.head
	st.requestSeen = true
	st.StartNs, st.TGID = head.startNs, head.tgid
	st.RequestSequence, st.SequenceKnown = head.sequence, true
	if head.lost || t.block.Unknown > 0 {
		st.mark(s.cause)
	}
	for k := range t.block.Fields {
		f := &t.block.Fields[k]
		switch meaning(f) {
		case fieldMethod:
			if st.Method = http1.KnownMethod(f.Value); st.Method == "" {
				st.Method = c.text(st, f.Value)
			}
		case fieldPath:
			st.Target = c.text(st, f.Value)
		case fieldAuthority:
			st.Authority = c.text(st, f.Value)
		case fieldScheme:
			switch string(f.Value) {
			case "http":
				st.Scheme = "http"
			case "https":
				st.Scheme = "https"
			}
		}
		c.field(st, f, false)
	}
	st.joinB3(t.pool)
}

// text keeps a value of a call; empty if it cannot.
func (c *conn) text(st *http2Stream, value []byte) string {
	if len(value) > http1.MaxTarget || !utf8.Valid(value) {
		st.mark(Truncated)
		return ""
	}
	if bytes.ContainsAny(value, "\x00\r\n") { // RFC 9113 section 8.2.1: nobody may take it
		return ""
	}
	kept, ok := st.keep(value, c.t.pool)
	if !ok {
		st.mark(Truncated)
		c.t.stats.GivenUp[BytesFull]++
	}
	return kept
}

// field takes what requests and answers have in common, and what HTTP/1 has too.
func (c *conn) field(st *http2Stream, f *http2.Field, answer bool) {
	c.t.sink.e, c.t.sink.response = st.exchange, answer
	switch name := meaning(f); {
	case name == fieldContentType:
		if isGRPC(f.Value) && st.RPC == "" {
			st.RPC = "grpc"
			for part, content := range st.body {
				if content > 0 { // in which no messages were looked for
					st.messages[part].Lose()
				}
			}
		}
	case answer || name == http1.None || name >= http1.Listed:
	case name == http1.Host && st.Authority != "": // which :authority goes before
	default:
		c.t.sink.Field(name, f.Value, false)
	}
	if listed := f.ID >> fieldBits; listed > 0 {
		c.t.sink.Field(http1.Listed+http1.Name(listed-1), f.Value, false)
	}
}

// responseHead takes the header block of an answer. status 0: it has none, or it is not known.
func (c *conn) responseHead(s *http2Side, status int, timeNs uint64) {
	h, t, head := c.h2, c.t, &s.head
	st := h.find(head.stream)
	if st == nil {
		if head.stream%2 == 0 || head.stream <= h.highest || head.lost {
			return // pushed, or given up, or nothing is known of it
		}
		// Its request was not seen, or not yet: two CPUs may have handed over the directions out of order.
		if st = c.openStream(head.stream); st == nil {
			return
		}
	}
	st.lastNs = c.lastNs
	if status/100 == 1 {
		if !head.endStream {
			return
		}
		status = 0 // the final answer never came (RFC 9113 section 8.1 has that malformed)
	}
	if head.lost || t.block.Unknown > 0 {
		st.mark(s.cause)
	}
	first := !st.answered && status != 0
	if first {
		st.answered, st.Status, st.ResponseStartNs = true, status, head.startNs
	}
	for k := range t.block.Fields {
		f := &t.block.Fields[k]
		if meaning(f) == fieldGRPCStatus && head.endStream {
			if st.RPCStatus = statusName(f.Value); st.RPCStatus == "" {
				st.RPCStatus = c.text(st, f.Value)
			}
		}
		if first {
			c.field(st, f, true)
		}
	}
	switch {
	case head.endStream:
		c.endStream(st, response, timeNs)
	case first && st.Method == "CONNECT" && status/100 == 2:
		// As with HTTP/1, the call is over when the tunnel is open.
		st.requestDone, st.RequestEndNs, st.bodyLost = true, st.StartNs, [2]bool{true, true}
		c.endStream(st, response, timeNs)
	}
}
