package l7

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

// turn is what one end sends before the other one does: '>' is the client's, '<' the server's.
type turn string

// record is a payload record in the making.
type record struct {
	server   bool // sent by the server
	offset   int  // in its direction
	data     string
	captured int
	timeNs   uint64
}

// records makes one record of each turn, 1000 ns apart.
func records(turns []turn) []record {
	var out []record
	var offset [2]int
	for i, turn := range turns {
		side := 0
		if turn[0] == '<' {
			side = 1
		}
		data := string(turn[1:])
		out = append(out, record{side == 1, offset[side], data, len(data), uint64(i+1) * 1000})
		offset[side] += len(data)
	}
	return out
}

// split cuts a record in two; the second part comes a little later.
func split(all []record, i, at int) []record {
	a, b := all[i], all[i]
	a.data, b.data = a.data[:at], b.data[at:]
	b.offset += at
	b.timeNs++
	a.captured, b.captured = len(a.data), len(b.data)
	return slices.Concat(all[:i], []record{a, b}, all[i+1:])
}

// bytewise makes a record of each byte.
func bytewise(all []record) []record {
	var out []record
	for _, r := range all {
		for i := range len(r.data) {
			out = append(out, record{r.server, r.offset + i, r.data[i : i+1], 1, r.timeNs + uint64(i)%999})
		}
	}
	return out
}

// Sequence numbers of the first bytes: both directions go round soon.
const (
	requestOrigin  = ^uint32(0) - 20
	responseOrigin = ^uint32(0) - 50
)

// observer is one end of a connection.
type observer struct {
	id      uint64
	client  bool // at the client's end
	origin  Origin
	options Options
	totals  [2]uint64 // bytes sent by client and server; 0: not known
	close   string
}

// ends are both ends of a connection on which these records are all there is, with all that a kernel can
// tell of them.
func ends(all []record) []observer {
	var totals [2]uint64
	for _, r := range all {
		side := 0
		if r.server {
			side = 1
		}
		totals[side] += uint64(len(r.data))
	}
	return []observer{
		{id: 1, totals: totals, origin: Origin{Sequences: true, Receive: requestOrigin, Transmit: responseOrigin}},
		{id: 2, totals: totals, client: true, origin: Origin{Sequences: true, Receive: responseOrigin, Transmit: requestOrigin}},
	}
}

// see runs records through a tracker and returns copies of the calls.
func (o observer) see(t testing.TB, all []record) ([]Call, Stats) {
	var calls []Call
	tracker := NewTracker(o.options, func(c *Call) { calls = append(calls, clone(c)) })
	if o.origin != (Origin{}) {
		tracker.Mark(o.id, o.origin)
	}
	var last uint64
	for _, r := range all {
		tracker.Payload(o.payload(r))
		last = max(last, r.timeNs)
	}
	if o.client {
		tracker.Totals(o.id, o.totals[1], o.totals[0])
	} else {
		tracker.Totals(o.id, o.totals[0], o.totals[1])
	}
	tracker.Close(o.id, last+5000, o.close)
	balanced(t, tracker)
	return calls, tracker.Stats()
}

func (o observer) payload(r record) (*wire.PayloadRecord, []byte) {
	rec := &wire.PayloadRecord{ConnID: o.id, TGID: 7, Length: uint32(len(r.data)), Captured: uint32(r.captured)}
	rec.Header.TimeNs = r.timeNs
	rec.Direction = wire.DirectionTransmit
	if r.server == o.client {
		rec.Direction = wire.DirectionReceive
	}
	rec.Sequence = requestOrigin + uint32(r.offset)
	if r.server {
		rec.Sequence = responseOrigin + uint32(r.offset)
	}
	return rec, []byte(r.data[:r.captured])
}

// balanced says that nothing is held and no request is unaccounted for once all connections are closed.
func balanced(t testing.TB, tracker *Tracker) {
	s := tracker.Stats()
	if s.Requests == s.Calls+s.GivenUp[NoMethod] && s.Pending+s.Connections+s.HeldBytes+len(tracker.active)+len(tracker.marks) == 0 {
		return
	}
	require.Equal(t, s.Requests, s.Calls+s.GivenUp[NoMethod], "requests = calls + unknown ones")
	require.Zero(t, s.Pending)
	require.Zero(t, s.Connections)
	require.Zero(t, s.HeldBytes)
	require.Zero(t, len(tracker.active))
	require.Zero(t, len(tracker.marks))
}

func clone(c *Call) Call {
	out := *c
	for _, s := range []*string{&out.Method, &out.Target, &out.Authority, &out.UserAgent, &out.Traceparent,
		&out.Tracestate, &out.B3, &out.Error, &out.ProtocolVersion} {
		*s = strings.Clone(*s)
	}
	out.Headers = nil
	for _, h := range c.Headers {
		out.Headers = append(out.Headers, Header{strings.Clone(h.Name), strings.Clone(h.Value), h.Response})
	}
	return out
}

// brief is a call in one line, times left out.
func brief(c Call) string {
	s := fmt.Sprintf("%s %s %d %d/%d", c.Method, c.Target, c.Status, c.RequestBody, c.ResponseBody)
	if c.Capture != Complete {
		s += " " + c.Capture.String()
	}
	if c.Error != "" {
		s += " " + c.Error
	}
	return s
}

func briefs(calls []Call) []string {
	out := []string{}
	for _, c := range calls {
		out = append(out, brief(c))
	}
	return out
}
