package conn

import "github.com/ebpfnet/ebpfnetreceiver/internal/wire"

// lostAfter is how many collections in a row a connection may be missing. One can be chance: it was
// established while the kernel's iterator had passed its place.
const lostAfter = 2

// spares is how many forgotten connections are kept for reuse. What a burst leaves behind beyond that is given back.
const spares = 1024

// add makes the Connection of a first record, nil where the table is full.
func (t *Table) add(r *wire.ConnRecord) *Connection {
	if len(t.byID) >= t.options.MaxConnections && !t.letGo() {
		return nil
	}
	c := t.free
	if c == nil {
		c = new(Connection)
	} else {
		t.free = c.next
		t.spare--
	}
	*c = Connection{
		id: r.ID, pair: r.Pair, openedNs: r.OpenedNs, state: r.State,
		firstCollection: t.collection, lastCollection: t.collection,
		slot: int32(len(t.live)),
	}
	if r.Flags&wire.ConnAdopted != 0 && r.EstablishedNs == 0 && r.Flags&wire.ConnEstablished != 0 {
		c.flags |= adopted
		c.transmitted, c.received = firstTransmissions(r), r.BytesReceived
		c.segsOut, c.segsIn, c.outOfOrder = r.SegsOut, r.SegsIn, r.OutOfOrder
	}
	t.byID[r.ID] = c
	t.live = append(t.live, c)
	t.stats.Seen++
	t.stats.Handshaking++
	return c
}

// end takes c from the live ones; it can be looked up for a while longer.
func (t *Table) end(c *Connection) {
	last := t.live[len(t.live)-1]
	t.live[c.slot] = last
	last.slot = c.slot
	t.live[len(t.live)-1] = nil
	t.live = t.live[:len(t.live)-1]
	c.slot = -1
	c.leave()

	c.endedNs = max(t.now, 1)
	if t.ended.tail == nil {
		t.ended.head = c
	} else {
		t.ended.tail.next = c
	}
	t.ended.tail = c
}

// advance moves the time on and lets go of what ended too long ago.
func (t *Table) advance(timeNs uint64) {
	t.now = max(t.now, timeNs)
	for c := t.ended.head; c != nil && c.endedNs+uint64(t.options.Linger) < t.now; c = t.ended.head {
		t.letGo()
	}
}

// letGo forgets the connection that ended longest ago; false: there is none.
func (t *Table) letGo() bool {
	c := t.ended.head
	if c == nil {
		return false
	}
	if t.ended.head = c.next; t.ended.head == nil {
		t.ended.tail = nil
	}
	delete(t.byID, c.id)
	if t.spare < spares {
		*c = Connection{next: t.free}
		t.free = c
		t.spare++
	}
	return true
}

// Collect ends a collection at timeNs (CLOCK_MONOTONIC; offsetNs as in wire.Collection): it takes the
// gauges, observes round-trip times and gives up connections whose end was lost.
//
// RTT and MinRTT get one observation per collection from each established connection that moved payload
// since the one before, and a last one at its end; one that never moved any gets a single one, at its
// end. So the distribution is of connections in use, not of packets, and idle ones do not repeat a stale
// value.
func (t *Table) Collect(timeNs uint64, offsetNs int64) {
	t.advance(timeNs)
	for group := range t.owners.All {
		for _, s := range group.Value.order {
			s.States, s.ZeroWindow = [StateCount]uint64{}, [3]uint64{}
		}
	}
	for i := len(t.live) - 1; i >= 0; i-- { // backwards: end moves the last one into the gap
		c := t.live[i]
		if t.collection-c.lastCollection >= lostAfter {
			t.lose(c)
			continue
		}
		c.group.Touch()
		if c.series != nil {
			c.gauge()
			if c.state == StateEstablished {
				t.observeRTT(c, false)
			}
		}
	}
	t.owners.Sweep()
	t.sets = 0
	for group := range t.owners.All {
		t.sets += len(group.Value.order)
	}
	if t.flows != nil {
		t.flows.Sweep()
	}
	t.collection++
	t.sinceNs, t.offsetNs = timeNs, offsetNs
}

// NoSnapshot says, before Collect, that the live connections were not told of in this collection: that one is
// missing means nothing then.
func (t *Table) NoSnapshot() {
	for _, c := range t.live {
		c.lastCollection = t.collection
	}
}

func (c *Connection) gauge() {
	if c.state >= StateCount {
		return
	}
	s := c.series
	s.States[c.state]++
	s.StatesSeen |= 1 << c.state
	switch c.state {
	case StateEstablished, StateFinWait1, StateClosing, StateCloseWait, StateLastACK: // may have data to send
		if c.sndWnd == 0 {
			s.ZeroWindow[wire.DirectionTransmit]++
		}
	}
	switch c.state {
	case StateEstablished, StateFinWait1, StateFinWait2: // the peer may have
		if c.rcvWnd == 0 {
			s.ZeroWindow[wire.DirectionReceive]++
		}
	}
}

// lose ends a connection whose end was not reported, with the values known last. Why and when it ended is
// not known, so neither Closed nor Duration has it; Stats has.
func (t *Table) lose(c *Connection) {
	if c.is(established) {
		t.attribute(c)
		t.observeRTT(c, !c.is(rttSeen))
		t.stats.LostClose++
		t.stats.Live--
	} else {
		t.stats.Abandoned++
		t.stats.Handshaking--
	}
	t.end(c)
}
