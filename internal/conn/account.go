package conn

import (
	"github.com/ebpfnet/ebpfnetreceiver/internal/conn/histogram"
	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

// identify takes over what r knows better than what came before.
func (t *Table) identify(c *Connection, r *wire.ConnRecord) {
	c.bits = r.Flags
	if c.pair.LocalPort == 0 { // a snapshot may come before connect() has chosen the port
		c.pair = r.Pair
	}
	if r.EstablishedNs != 0 {
		c.establishedNs = r.EstablishedNs
	}
	if c.role == wire.RoleUnknown {
		if role := r.Role; role != wire.RoleUnknown && role <= wire.RoleServer {
			c.role = role
			c.leave()
			if t.options.Dimensions.Role || t.options.Dimensions.ServerPort {
				c.series = nil
			}
		}
	}
	// A record made where no process was at hand (softirq) does not unmake one that was; a second process does.
	better := r.Owner.TGID != 0 || c.ref.TGID == 0 || r.Flags&wire.ConnTGIDAmbiguous != 0
	if r.Owner != c.ref && better || c.owner == nil {
		c.ref, c.comm = r.Owner, r.Comm
		t.own(c, r.Header.TimeNs)
	}
}

func (t *Table) own(c *Connection, timeNs uint64) {
	o := t.resolver.Resolve(c.ref, t.text(c.comm), timeNs)
	if c.owner != nil && *c.owner == o {
		return
	}
	start := t.sinceNs
	if c.openedNs != 0 && !c.is(adopted) {
		start = min(start, c.openedNs)
	}
	c.group = t.owners.Of(o, uint64(int64(start)+t.offsetNs))
	c.owner, c.series = &c.group.Owner, nil
	c.leave()
	if c.group.Overflow {
		own := o // here, so that o stays on the stack otherwise
		c.owner = &own
		t.stats.Folded++
	}
}

// text interns process names: there are few, and a string each time would be an allocation each time.
func (t *Table) text(comm [16]uint8) string {
	name, ok := t.comms[comm]
	if !ok {
		if len(t.comms) >= 4096 {
			clear(t.comms)
		}
		name = wire.Text(comm)
		t.comms[comm] = name
	}
	return name
}

// establish notes the change to ESTABLISHED, seen now or by finding the connection past it.
func (t *Table) establish(c *Connection, r *wire.ConnRecord) {
	if c.is(established) || r.Flags&wire.ConnEstablished == 0 {
		return
	}
	c.flags |= established
	t.stats.Handshaking--
	t.stats.Live++
	if c.is(adopted) {
		t.stats.Adopted++
	} else {
		t.stats.Opened++
	}
}

// attributable reports whether it is time to add the connection to its owner's sums. The accepting end
// is established in softirq, where no process can be told; a process is known from the first call on
// the socket. Sums cannot be taken back, so outside containers, whose sockets are told by cgroup, a
// connection without a process waits for one until the next collection.
func (t *Table) attributable(c *Connection) bool {
	return c.series != nil || c.ref.TGID != 0 || c.bits&wire.ConnTGIDAmbiguous != 0 || c.owner.InContainer() ||
		c.firstCollection != t.collection
}

// attribute makes c one of its owner's connections.
func (t *Table) attribute(c *Connection) *Series {
	c.group.Touch()
	if c.series == nil {
		c.series = c.group.Value.of(t.options.Dimensions.of(c), &t.options, &t.sets)
		if c.series.Attributes.Overflow {
			t.stats.Folded++
		}
	}
	t.join(c)
	if c.is(established) && !c.is(adopted) && !c.is(openCounted) {
		c.flags |= openCounted
		c.series.Opened[c.role]++
	}
	return c.series
}

// account adds what r has over what the owner's sums already contain.
func (t *Table) account(c *Connection, r *wire.ConnRecord) {
	s := t.attribute(c)
	if c.is(openCounted) && !c.is(handshakeSeen) && r.HandshakeUs != 0 {
		c.flags |= handshakeSeen
		s.Handshake[c.role].Record(float64(r.HandshakeUs) / 1e6)
	}
	var sent, received uint64
	if n := firstTransmissions(r); n > c.transmitted {
		sent, c.transmitted = n-c.transmitted, n
		c.flags |= moved
	}
	if n := r.BytesReceived; n > c.received {
		received, c.received = n-c.received, n
		c.flags |= moved
	}
	out, in := step(&c.segsOut, r.SegsOut), step(&c.segsIn, r.SegsIn)
	s.Bytes[wire.DirectionTransmit] += sent
	s.Bytes[wire.DirectionReceive] += received
	s.Packets[wire.DirectionTransmit] += out
	s.Packets[wire.DirectionReceive] += in
	if t.flows != nil {
		c.count(wire.DirectionTransmit, sent, out)
		c.count(wire.DirectionReceive, received, in)
	}
	s.OutOfOrder += step(&c.outOfOrder, r.OutOfOrder)
}

// firstTransmissions is the payload without what was sent again, so that what one end transmits is what
// the other receives. The kernel raises bytes_retrans just before bytes_sent (__tcp_retransmit_skb): read
// in between, the difference is short for a moment, which account waits out.
func firstTransmissions(r *wire.ConnRecord) uint64 {
	if r.BytesRetrans > r.BytesSent {
		return 0
	}
	return r.BytesSent - r.BytesRetrans
}

// step is how far a 32-bit counter went since last, across a wrap; a record from before last counts nothing.
func step(last *uint32, now uint32) uint64 {
	difference := int32(now - *last)
	if difference <= 0 {
		return 0
	}
	*last = now
	return uint64(difference)
}

func (c *Connection) remember(r *wire.ConnRecord) {
	c.seenNs = max(c.seenNs, r.Header.TimeNs)
	c.state = r.State
	c.srttUs, c.minRTTUs = r.SRTTUs, r.MinRTTUs
	c.sndWnd, c.rcvWnd = r.SndWnd, r.RcvWnd
	c.retransmits = r.Retransmits
	c.errno = r.Error
}

// observeRTT counts the round-trip time once if payload moved since it was counted last, or anyway.
func (t *Table) observeRTT(c *Connection, anyway bool) {
	if c.srttUs == 0 || !anyway && !c.is(moved) {
		return
	}
	c.flags = c.flags&^moved | rttSeen
	rtt := float64(c.srttUs) / 1e6
	c.series.RTT.Record(rtt)
	if c.spanID != ([8]byte{}) {
		c.series.RTT.Exemplify(histogram.Exemplar{
			Value: rtt, TimeNs: uint64(int64(c.seenNs) + t.offsetNs), TraceID: c.traceID, SpanID: c.spanID,
		})
		c.spanID = [8]byte{}
	}
	if c.minRTTUs != 0 {
		c.series.MinRTT.Record(float64(c.minRTTUs) / 1e6)
	}
}
