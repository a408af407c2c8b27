package l7

import (
	"github.com/ebpfnet/ebpfnetreceiver/internal/l7/http1"
	"github.com/ebpfnet/ebpfnetreceiver/internal/l7/stream"
)

// maxProbe bounds what is looked at to find out whether a record begins with a head.
const maxProbe = http1.MaxTarget + 64

// cursor is a segment while it is parsed.
type cursor struct {
	data     []byte
	unseen   int64  // bytes behind data that were not captured
	sequence uint32 // of data[0]
	timeNs   uint64
	tgid     uint32
	thread   uint32
	start    bool // data[0] is the first byte of a record
	lost     bool // nobody saw these bytes

	// Where the message began if data is what was gathered in state tentative.
	beganNs   uint64
	beganTGID uint32
}

func (cur *cursor) skip(n int) {
	if n > 0 {
		cur.data = cur.data[n:]
		cur.sequence += uint32(n)
		cur.start = false
	}
}

func (cur *cursor) skipAll() { cur.skip(len(cur.data)) }

// feed parses a segment. If the direction has to wait for the other one, the rest of it is held; rest is
// its length.
func (c *conn) feed(d *direction, seg *stream.Segment) (rest uint32) {
	cur := cursor{
		data: seg.Data, unseen: int64(seg.Length) - int64(len(seg.Data)), sequence: seg.Sequence,
		timeNs: seg.TimeNs, tgid: seg.TGID, thread: seg.Thread, start: seg.Start, lost: seg.Lost,
	}
	for len(cur.data) > 0 && c.verdict == follow && c.h2 == nil {
		switch d.state {
		case lost:
			if c.search(d, &cur); d.state == lost && !d.blocked {
				c.unrecognized(d, cur.timeNs)
			}
		case tentative:
			c.gather(d, &cur)
		case boundary:
			c.begin(d, &cur)
		case head, trailer:
			c.feedHead(d, &cur)
		case length:
			n := min(d.left, int64(len(cur.data)))
			d.left -= n
			cur.skip(int(n))
			if d.left == 0 {
				c.messageDone(d, cur.timeNs)
			}
		case chunked:
			n, progress := d.chunks.Feed(cur.data)
			cur.skip(n)
			switch progress {
			case http1.Done:
				d.body = d.chunks.Total
				d.head.Trailer(c.t.pool)
				d.state = trailer
			case http1.Invalid:
				c.malformed(d)
			}
		case untilClose:
			d.body += int64(len(cur.data))
			cur.skipAll()
		case finished:
			cur.skipAll()
		}
		if d.blocked {
			rest = uint32(int64(len(cur.data)) + cur.unseen)
			if rest > 0 {
				c.hold(d, stream.Segment{Sequence: cur.sequence, Length: rest, Data: cur.data,
					TimeNs: cur.timeNs, TGID: cur.tgid, Thread: cur.thread, Start: cur.start})
			}
			break
		}
	}
	switch {
	case c.h2 != nil:
		if !d.blocked {
			c.feedHTTP2(d, &cur)
		}
	case rest == 0 && cur.unseen > 0 && c.verdict == follow:
		c.pass(d, &cur)
	}
	if !seg.Lost {
		d.lastNs = seg.TimeNs
	}
	if d.state != tentative && d.probe != nil {
		c.t.pool.Put(d.probe)
		d.probe = nil
	}
	return rest
}

// feedHead parses what of a head, or of a trailer section, is there.
func (c *conn) feedHead(d *direction, cur *cursor) {
	c.t.sink.e, c.t.sink.response = d.current, !c.isRequest(d)
	if d.interim() {
		c.t.sink.e = nil // its fields are not those of the answer
	}
	n, progress := d.head.Feed(cur.data, c.t.pool, &c.t.sink)
	if progress == http1.StartLine && !c.startLine(d) {
		progress = http1.Invalid
	}
	cur.skip(n)
	switch {
	case progress == http1.Invalid:
		c.malformed(d)
	case progress != http1.Done:
	case d.state == trailer:
		c.messageDone(d, cur.timeNs)
	default:
		c.headDone(d, cur.timeNs)
	}
}

// pass goes over bytes that were not seen. Content of known length is skipped by arithmetic; anywhere
// else they take the framing with them.
func (c *conn) pass(d *direction, cur *cursor) {
	endNs := cur.timeNs
	if cur.lost {
		endNs = 0
	}
	for n := cur.unseen; n > 0 && c.verdict == follow; {
		switch d.state {
		case length:
			k := min(d.left, n)
			d.left -= k
			n -= k
			if d.left > 0 {
				return
			}
			if cur.lost && d.current != nil {
				d.current.mark(Gap) // its last byte was not seen, nor when it came
			}
			c.messageDone(d, endNs)
			continue
		case chunked:
			if d.chunks.Skip(n) {
				return
			}
		case untilClose:
			d.body += n
			return
		case finished:
			return
		}
		if d.state == lost && !cur.lost {
			c.unrecognized(d, cur.timeNs)
		}
		if cur.lost {
			c.lose(d, Gap, true)
		} else {
			c.lose(d, Truncated, false)
		}
		return
	}
}

func (c *conn) malformed(d *direction) {
	c.t.stats.GivenUp[Malformed]++
	c.lose(d, Complete, false)
}
