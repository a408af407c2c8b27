package l7

import (
	"encoding/binary"

	"github.com/ebpfnet/ebpfnetreceiver/internal/l7/http2"
)

func (c *conn) beginFrame(i int, h http2.Header, timeNs uint64) {
	s := &c.h2.sides[i]
	continues := h.Type == http2.Continuation
	if h.Check(s.maxFrame) != nil || continues != s.head.open || continues && h.Stream != s.head.stream ||
		s.first && (h.Type != http2.Settings || h.Has(http2.FlagAck)) {
		c.malformedHTTP2(i)
		return
	}
	s.frame, s.left, s.state, s.first = h, h.Length, within, false
	s.content, s.controls, s.lostPrefix, s.lostBytes = 0, 0, false, false
	if h.Type == http2.Headers || h.Type == http2.PushPromise {
		s.head = http2Head{
			block: s.head.block[:0], stream: h.Stream, promise: h.Type == http2.PushPromise,
			endStream: h.Type == http2.Headers && h.Has(http2.FlagEndStream),
			startNs:   s.startNs, sequence: s.start, tgid: s.startTGID,
		}
	}
	if h.Prefix() == 0 {
		c.beginContent(i)
	}
	if s.left == 0 && s.state == within {
		c.frameDone(i, timeNs)
	}
}

// beginContent is called when the prefix is complete.
func (c *conn) beginContent(i int) {
	s := &c.h2.sides[i]
	n, err := s.frame.Content(s.prefix[:s.frame.Prefix()])
	if err != nil {
		c.malformedHTTP2(i)
		return
	}
	s.content = uint32(n)
	if s.frame.Type == http2.Data {
		if st := c.h2.find(s.frame.Stream); st != nil {
			st.lastNs = c.lastNs
			if !st.ended(c.part(i)) {
				st.body[c.part(i)] += int64(n)
			}
		}
	}
}

// payload takes a piece of the payload that was seen; last: the rest of it.
func (c *conn) payload(i int, data []byte, last bool) {
	s := &c.h2.sides[i]
	if have := s.frame.Length - s.left; have < uint32(s.frame.Prefix()) {
		n := copy(s.prefix[have:s.frame.Prefix()], data)
		data = data[n:]
		if have+uint32(n) < uint32(s.frame.Prefix()) {
			return
		}
		if !s.lostPrefix {
			c.beginContent(i)
		}
	}
	if s.state != within || s.lostPrefix {
		return
	}
	data = data[:min(len(data), int(s.content))]
	s.content -= uint32(len(data))
	switch s.frame.Type {
	case http2.Headers, http2.PushPromise, http2.Continuation:
		c.block(s, data, last)
	case http2.Data:
		if st := c.h2.find(s.frame.Stream); st != nil && st.RPC != "" && !st.ended(c.part(i)) {
			st.messages[c.part(i)].Feed(data)
		}
	case http2.RSTStream, http2.GoAway:
		s.controls += uint8(copy(s.control[s.controls:], data))
	case http2.Settings:
		for len(data) > 0 {
			n := copy(s.control[s.controls:6], data)
			s.controls += uint8(n)
			data = data[n:]
			if s.controls == 6 {
				s.controls = 0
				c.setting(i, binary.BigEndian.Uint16(s.control[:]), binary.BigEndian.Uint32(s.control[2:]))
			}
		}
	}
}

// block takes a piece of a header block. One that lies whole in this record is not copied.
func (c *conn) block(s *http2Side, data []byte, last bool) {
	head := &s.head
	if head.lost || len(data) == 0 {
		return
	}
	if last && s.content == 0 && len(head.block) == 0 && s.frame.Has(http2.FlagEndHeaders) {
		head.direct = data
		return
	}
	var ok bool
	if head.block, ok = c.t.pool.Append(head.block, data); !ok {
		c.t.stats.GivenUp[BytesFull]++
		head.lost, head.cut = true, true
	}
}

// setting takes what one end allows the other.
func (c *conn) setting(i int, id uint16, value uint32) {
	other := &c.h2.sides[1-i]
	switch id {
	case http2.SettingHeaderTableSize:
		other.allowed = max(other.allowed, value)
		other.table.Allow(value)
	case http2.SettingMaxFrameSize:
		other.maxFrame = max(other.maxFrame, value)
	}
}

// skipPayload goes over a piece of the payload that was not seen.
func (c *conn) skipPayload(i int, n uint32, why Capture) {
	s := &c.h2.sides[i]
	part := c.part(i)
	prefix := uint32(s.frame.Prefix())
	content := uint32(0)
	if have := s.frame.Length - s.left; have < prefix {
		s.lostPrefix = true
	} else {
		content = min(s.content, n)
		s.content -= content
	}
	s.lostBytes = s.lostBytes || content > 0 || s.lostPrefix
	switch s.frame.Type {
	case http2.Headers, http2.PushPromise, http2.Continuation:
		if s.lostBytes {
			s.head.lost, s.head.cut = true, why == Truncated
		}
	case http2.Data:
		st := c.h2.find(s.frame.Stream)
		switch {
		case st == nil:
		case s.lostPrefix:
			st.bodyLost[part] = true
			st.messages[part].Lose()
		default:
			st.messages[part].Skip(int64(content))
		}
	case http2.Settings:
		c.h2.sides[1-i].table.AllowAny()
	}
}

// frameDone ends a frame at timeNs; 0: it is not known when.
func (c *conn) frameDone(i int, timeNs uint64) {
	s := &c.h2.sides[i]
	s.state = between
	switch s.frame.Type {
	case http2.Data:
		if st := c.h2.find(s.frame.Stream); st != nil && s.frame.Has(http2.FlagEndStream) {
			c.endStream(st, c.part(i), timeNs)
		}
	case http2.Headers, http2.PushPromise, http2.Continuation:
		s.head.open = !s.frame.Has(http2.FlagEndHeaders)
		if !s.head.open {
			c.headBlock(i, timeNs)
		}
	case http2.RSTStream:
		name := "_OTHER"
		if !s.lostBytes {
			name = http2.ErrorName(binary.BigEndian.Uint32(s.control[:]))
		}
		if st := c.h2.find(s.frame.Stream); st != nil {
			c.reset(st, name, timeNs)
		}
	case http2.GoAway:
		if !s.lostBytes && c.requests == uint8(1-i) {
			c.goAway(binary.BigEndian.Uint32(s.control[:])&^(1<<31), timeNs)
		}
	}
}

// headBlock reads a header block that is complete.
func (c *conn) headBlock(i int, timeNs uint64) {
	s, t := &c.h2.sides[i], c.t
	head := &s.head
	block := head.block
	if head.direct != nil {
		block = head.direct
	}
	t.block.Fields, t.block.Unknown = t.block.Fields[:0], 0
	switch {
	case head.lost:
		s.table.Forget()
		if s.cause = Gap; head.cut {
			s.cause = Truncated
		}
	case !s.table.Decode(block, t.headNames, t.pool, &t.block):
		t.stats.GivenUp[Malformed]++
		head.lost, s.cause = true, Gap
	}
	t.pool.Put(head.block)
	head.block, head.direct = nil, nil
	if !head.promise { // a request that nobody made is no call
		c.headFields(i, timeNs)
	}
}
