package l7

import (
	"github.com/ebpfnet/ebpfnetreceiver/internal/l7/http2"
)

// framing is where a direction of an HTTP/2 connection is.
type framing uint8

const (
	unframed framing = iota // looking for frames at the start of a record
	preface                 // in the client's connection preface
	between                 // before a frame, or in its header
	within                  // in a frame's payload
)

// http2Conn is what a connection has beyond conn once it speaks HTTP/2.
type http2Conn struct {
	sides   [2]http2Side // by receive and transmit
	ids     []uint32     // of streams
	streams []*http2Stream
	highest uint32 // stream of a request
}

// http2Side is one direction of it.
type http2Side struct {
	state    framing
	matched  uint8 // bytes of the preface
	have     uint8 // bytes of raw
	first    bool  // the next frame is the first: it must be SETTINGS
	began    bool  // frames were seen
	broken   bool  // framing was lost once
	raw      [http2.HeaderSize]byte
	maxFrame uint32
	allowed  uint32  // size of the table
	cause    Capture // why not all of table is known
	table    http2.Table

	frame      http2.Header
	startNs    uint64 // record with the frame's first byte
	start      uint32 // that byte's sequence number
	startTGID  uint32
	left       uint32 // of the payload
	content    uint32 // of that, without prefix and padding; meaningful once the prefix is complete
	prefix     [6]byte
	control    [8]byte // content of a frame that is short
	controls   uint8
	lostPrefix bool
	lostBytes  bool // some of the content was not seen

	head  http2Head
	probe []byte // what a record began with that may be frames, lent by the pool
	used  []byte // the same, while it is read
}

// http2Head is a header block that is being read: a frame and those that continue it.
type http2Head struct {
	block     []byte // lent by the pool
	direct    []byte // all of the block, where one record has it
	open      bool   // CONTINUATION has to follow
	lost      bool
	cut       bool // lost because it was not captured
	promise   bool
	endStream bool
	stream    uint32
	startNs   uint64
	sequence  uint32
	tgid      uint32
}

// startHTTP2 is called in the state lost, at the start of a record that begins with a preface or with frames.
func (c *conn) startHTTP2() {
	t := c.t
	t.stats.HTTP2++
	c.midStream = c.midStream || c.misses > 0
	if n := len(t.spareHTTP2); n > 0 {
		c.h2, t.spareHTTP2 = t.spareHTTP2[n-1], t.spareHTTP2[:n-1]
	} else {
		c.h2 = &http2Conn{}
	}
	for i := range c.h2.sides {
		s := &c.h2.sides[i]
		s.table.Forget()
		s.maxFrame, s.cause = http2.LargestFrame, MidStream
	}
	for i := range c.directions {
		c.directions[i].blocked = false
	}
}

func (c *conn) releaseHTTP2() {
	h := c.h2
	if h == nil {
		return
	}
	for i := range h.sides {
		s := &h.sides[i]
		s.table.Release(c.t.pool)
		c.t.pool.Put(s.head.block)
		c.t.pool.Put(s.probe)
		*s = http2Side{}
	}
	clear(h.streams)
	h.ids, h.streams, h.highest = h.ids[:0], h.streams[:0], 0
	if len(c.t.spareHTTP2) < spares {
		c.t.spareHTTP2 = append(c.t.spareHTTP2, h)
	}
	c.h2 = nil
}

func (c *conn) feedHTTP2(d *direction, cur *cursor) {
	i := c.sideOf(d)
	s := &c.h2.sides[i]
	for len(cur.data) > 0 {
		switch s.state {
		case unframed:
			if !c.frames(i, cur) {
				cur.skipAll()
			}
		case preface:
			n := min(len(cur.data), len(http2.Preface)-int(s.matched))
			if string(cur.data[:n]) != http2.Preface[s.matched:int(s.matched)+n] {
				c.malformedHTTP2(i)
				continue
			}
			cur.skip(n)
			if s.matched += uint8(n); int(s.matched) == len(http2.Preface) {
				c.requests = uint8(i)
				c.begunHTTP2(i)
			}
		case between:
			c.frameHeader(i, cur)
		case within:
			n := min(int64(s.left), int64(len(cur.data)))
			c.payload(i, cur.data[:n], int64(len(cur.data)) >= int64(s.left))
			cur.skip(int(n))
			if s.left -= uint32(n); s.left == 0 && s.state == within {
				c.frameDone(i, cur.timeNs)
			}
		}
	}
	if cur.unseen > 0 {
		c.passHTTP2(i, cur)
	}
	c.t.pool.Put(s.used)
	s.used = nil
	if s.probe != nil && (s.state != unframed || cur.unseen > 0 || len(s.probe) == 0) {
		c.t.pool.Put(s.probe)
		s.probe = nil
	}
}

func (c *conn) sideOf(d *direction) int {
	if d == &c.directions[transmit] {
		return transmit
	}
	return receive
}

func (c *conn) frameHeader(i int, cur *cursor) {
	s := &c.h2.sides[i]
	if s.have == 0 {
		s.startNs, s.start, s.startTGID = cur.timeNs, cur.sequence, cur.tgid
		if cur.beganNs != 0 {
			s.startNs, s.startTGID = cur.beganNs, cur.beganTGID
			cur.beganNs = 0
		}
	}
	if s.have == 0 && len(cur.data) >= http2.HeaderSize {
		h := http2.ParseHeader(cur.data)
		cur.skip(http2.HeaderSize)
		c.beginFrame(i, h, cur.timeNs)
		return
	}
	n := copy(s.raw[s.have:], cur.data)
	cur.skip(n)
	if s.have += uint8(n); s.have == http2.HeaderSize {
		s.have = 0
		c.beginFrame(i, http2.ParseHeader(s.raw[:]), cur.timeNs)
	}
}
