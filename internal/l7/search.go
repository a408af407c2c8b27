package l7

import (
	"github.com/ebpfnet/ebpfnetreceiver/internal/l7/http1"
	"github.com/ebpfnet/ebpfnetreceiver/internal/l7/http2"
)

// search looks whether a head begins where a record begins: nowhere else would one that only looks like a
// head be told from one.
func (c *conn) search(d *direction, cur *cursor) {
	if !cur.start {
		cur.skipAll()
		return
	}
	d.strict = !d.fresh() || !d.stream.Origin()
	guess := http1.Recognize(cur.data, cur.unseen > 0, d.strict)
	if guess != http1.Maybe {
		c.found(d, cur, guess)
		return
	}
	if !c.keepProbe(d, cur) {
		cur.skipAll()
	}
}

// keepProbe keeps what a record began with until more is there.
func (c *conn) keepProbe(d *direction, cur *cursor) bool {
	probe, ok := c.t.pool.Append(d.probe[:0], cur.data)
	d.probe = probe
	if !ok {
		c.t.stats.GivenUp[BytesFull]++
		return false
	}
	d.state = tentative
	d.startNs, d.startSequence, d.startTGID = cur.timeNs, cur.sequence, cur.tgid
	cur.skipAll()
	return true
}

// gather adds to what a record began with until it is clear what it is.
func (c *conn) gather(d *direction, cur *cursor) {
	probe, ok := c.t.pool.Append(d.probe, cur.data)
	d.probe = probe
	guess := http1.Other
	if ok {
		guess = http1.Recognize(probe, cur.unseen > 0, d.strict)
		if guess == http1.Other && c.requests == undecided {
			switch http2.Recognize(probe, nil) {
			case http2.Certain:
				guess = http1.Preface
			case http2.Maybe:
				guess = http1.Maybe
			}
		}
		if guess == http1.Maybe && len(probe) > maxProbe {
			guess = http1.Other
		}
	}
	if guess == http1.Maybe {
		cur.skipAll()
		return
	}
	d.state = lost
	if guess == http1.Other { // but this record alone may be something
		c.search(d, cur)
		return
	}
	cur.data, cur.sequence, cur.start = probe, d.startSequence, true
	cur.beganNs, cur.beganTGID = d.startNs, d.startTGID
	c.found(d, cur, guess)
}

// found acts on what a record turned out to begin with.
func (c *conn) found(d *direction, cur *cursor, guess http1.Guess) {
	switch {
	case guess == http1.Preface && (c.requests == undecided || c.isRequest(d)):
		c.startHTTP2()
		return
	case guess == http1.Request && (c.requests == undecided || c.isRequest(d)):
		c.decide(d, true)
		if c.admitsRequest(d) {
			gap := d.holed || d.began || c.midStream
			c.resynced(d)
			c.beginRequest(d, cur, gap)
			if last := len(c.queue) - 1; last >= 0 {
				c.queue[last].unsynced = true
			}
			return
		}
	case guess == http1.Response && (c.requests == undecided || !c.isRequest(d)):
		c.decide(d, false)
		if c.awaitsRequest(d) {
			d.blocked = true
			return
		}
		if e := c.pairAfterLoss(d, cur); e != nil {
			c.resynced(d)
			c.beginMessage(d, cur, e)
			return
		}
	case c.requests == undecided:
		switch http2.Recognize(cur.data, nil) {
		case http2.Certain:
			c.startHTTP2()
			return
		case http2.Maybe:
			if cur.unseen == 0 && c.keepProbe(d, cur) {
				return
			}
		}
		c.misses++
		if c.misses >= missesMidStream || c.misses >= missesFresh && !c.midStream {
			c.verdict = opaque
		}
	}
	cur.skipAll()
}

// decide settles which direction carries the requests.
func (c *conn) decide(d *direction, request bool) {
	if c.requests != undecided {
		return
	}
	c.t.stats.HTTP1++
	c.requests = receive
	if (d == &c.directions[receive]) != request {
		c.requests = transmit
	}
	// On a connection that was seen from its beginning, the first byte of a direction begins a message.
	c.midStream = c.midStream || c.misses > 0
	if r := c.response(); r != d && r.state == lost && r.fresh() && !c.midStream {
		r.state = boundary
	}
}

func (c *conn) resynced(d *direction) {
	if !d.fresh() {
		c.t.stats.Resyncs++
	}
	d.holed, d.waited = false, false
}

// fresh says that what comes next is the first byte of the direction, as far as is known.
func (d *direction) fresh() bool { return d.lastNs == 0 && !d.holed }

func (c *conn) isRequest(d *direction) bool {
	return c.requests != undecided && d == &c.directions[c.requests]
}
