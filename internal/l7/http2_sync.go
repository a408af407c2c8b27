package l7

import (
	"slices"

	"github.com/ebpfnet/ebpfnetreceiver/internal/l7/http2"
)

// upgradeHTTP2 goes on with HTTP/2 after the answer 101 to a request that asked for it (RFC 7540 section
// 3.2): the request becomes stream 1.
func (c *conn) upgradeHTTP2(e *exchange) {
	c.queue, c.answered = c.queue[:0], 0
	c.startHTTP2()
	server := int(1 - c.requests)
	c.begunHTTP2(server)
	c.h2.sides[server].table.AllowAny() // HTTP2-Settings may say more than the preface will
	c.h2.sides[c.requests].state = preface
	st := c.newStream(e, 1)
	e.Status, e.answered, e.ResponseStartNs = 0, false, 0
	e.Headers = slices.DeleteFunc(e.Headers, func(h Header) bool { return h.Response })
	st.requestSeen = true
	st.body[request], st.bodyLost[request] = e.RequestBody, e.RequestBody < 0
	c.h2.highest = 1
}

// begunHTTP2 says that the first frame of a direction comes next.
func (c *conn) begunHTTP2(i int) {
	s := &c.h2.sides[i]
	s.state, s.first, s.began = between, true, true
	s.table.Begin()
	s.table.Allow(s.allowed)
}

// frames looks for frames at the start of a record.
func (c *conn) frames(i int, cur *cursor) bool {
	s, d := &c.h2.sides[i], &c.directions[i]
	if len(s.probe) > 0 {
		probe, ok := c.t.pool.Append(s.probe, cur.data)
		s.probe = probe
		if ok && len(probe) <= maxProbe {
			switch http2.Recognize(probe, c.h2.open) {
			case http2.Maybe:
				return false
			case http2.Certain:
				s.used, s.probe = probe, nil
				cur.data, cur.sequence, cur.start = probe, s.start, true
				cur.beganNs, cur.beganTGID = s.startNs, s.startTGID
				c.foundFrames(i, d, cur)
				return true
			}
		}
		s.probe = s.probe[:0]
	}
	if !cur.start {
		return false
	}
	if !s.began && c.requests == uint8(1-i) && d.fresh() && !c.midStream {
		c.begunHTTP2(i)
		return true
	}
	n := min(len(cur.data), len(http2.Preface))
	if !s.began && n >= len("PRI") && (c.requests == undecided || c.requests == uint8(i)) && string(cur.data[:n]) == http2.Preface[:n] {
		s.state, s.matched = preface, 0
		return true
	}
	switch http2.Recognize(cur.data, c.h2.open) {
	case http2.Maybe: // many programs read a frame's header and its payload in two calls
		s.probe, _ = c.t.pool.Append(s.probe[:0], cur.data)
		s.startNs, s.start, s.startTGID = cur.timeNs, cur.sequence, cur.tgid
		return false
	case http2.Other:
		return false
	}
	c.foundFrames(i, d, cur)
	return true
}

func (c *conn) foundFrames(i int, d *direction, cur *cursor) {
	s := &c.h2.sides[i]
	h := http2.ParseHeader(cur.data)
	switch {
	case s.began:
		c.t.stats.Resyncs++
	case d.fresh() && !c.midStream && h.Type == http2.Settings && !h.Has(http2.FlagAck):
		c.begunHTTP2(i)
		return
	}
	s.state, s.began = between, true
}

// passHTTP2 goes over bytes that were not seen. Within a frame they take only that with them.
func (c *conn) passHTTP2(i int, cur *cursor) {
	s := &c.h2.sides[i]
	endNs, why := cur.timeNs, Truncated
	if cur.lost {
		endNs, why = 0, Gap
	}
	for n := cur.unseen; n > 0; {
		switch s.state {
		case unframed:
			return
		case within:
			k := min(int64(s.left), n)
			c.skipPayload(i, uint32(k), why)
			n -= k
			if s.left -= uint32(k); s.left == 0 && s.state == within {
				c.frameDone(i, endNs)
			}
		default:
			c.loseHTTP2(i, why)
			return
		}
	}
}

func (c *conn) malformedHTTP2(i int) {
	c.t.stats.GivenUp[Malformed]++
	c.loseHTTP2(i, Gap)
}

// loseHTTP2 gives up the framing of a direction. Any number of blocks may have gone by unseen.
func (c *conn) loseHTTP2(i int, why Capture) {
	s := &c.h2.sides[i]
	c.t.pool.Put(s.head.block)
	s.head = http2Head{}
	s.state, s.have, s.first, s.broken = unframed, 0, false, true
	s.table.Forget()
	s.cause = why
	for _, st := range c.h2.streams {
		part := c.part(i)
		if st.ended(part) {
			continue
		}
		st.mark(why)
		st.bodyLost[part] = true
		st.messages[part].Lose()
		st.missed = st.missed || part == response
	}
}

// part says what a direction carries.
func (c *conn) part(i int) int {
	if c.requests == uint8(i) {
		return request
	}
	return response
}
