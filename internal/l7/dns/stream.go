package dns

import (
	"encoding/binary"
	"net/netip"

	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

const (
	maxStreams = 1024
	// keptBytes of a message are parsed: its question is among them, as nothing else comes before it.
	keptBytes = headerSize + maxName + 5
)

// Connection is a connection to a DNS server, at its beginning.
type Connection struct {
	ID              uint64
	Owner           wire.OwnerRef
	Comm            [16]uint8
	Server          netip.AddrPort
	FirstSent       uint32 // TCP sequence numbers of the first bytes
	FirstReceived   uint32
	sent, delivered half
}

type streams struct{ Connection }

// half is one direction: messages, each after its length in two bytes (RFC 1035 section 4.2.2).
type half struct {
	next   uint32 // sequence number
	head   int    // bytes of the length that are there
	length int    // of the message
	left   int    // bytes of it to come
	kept   []byte
	timeNs uint64 // of its first byte
}

// Open follows a connection; where there are too many it is not followed, and nothing is said of its lookups.
func (t *Tracker) Open(c *Connection) {
	if len(t.streams) >= maxStreams {
		return
	}
	s := &streams{*c}
	s.sent.next, s.delivered.next = c.FirstSent, c.FirstReceived
	t.streams[c.ID] = s
}

// Close ends a connection that may have been followed.
func (t *Tracker) Close(id uint64) { delete(t.streams, id) }

// Payload takes a record of a connection. What Open was not called for is ignored.
func (t *Tracker) Payload(r *wire.PayloadRecord, data []byte) {
	s, ok := t.streams[r.ConnID]
	if !ok {
		return
	}
	h := &s.delivered
	if r.Direction == wire.DirectionTransmit {
		h = &s.sent
	}
	// What is missing may be left out only where it is of no interest.
	missing := int(r.Length) - len(data)
	if r.Sequence != h.next || !t.feed(s, h, r, data) || missing > 0 && !h.skip(missing) {
		t.doubt(s.ID)
		delete(t.streams, s.ID)
		return
	}
	h.next += r.Length
}

// feed takes bytes of one direction; false: they are no DNS.
func (t *Tracker) feed(s *streams, h *half, r *wire.PayloadRecord, data []byte) bool {
	for len(data) > 0 {
		if h.head < 2 {
			if h.head == 0 {
				h.timeNs, h.length, h.kept = r.Header.TimeNs, 0, h.kept[:0]
			}
			h.length = h.length<<8 | int(data[0])
			h.head++
			data = data[1:]
			if h.head == 2 {
				if h.left = h.length; h.left < headerSize {
					return false
				}
			}
			continue
		}
		n := min(h.left, len(data))
		if keep := min(n, keptBytes-len(h.kept)); keep > 0 {
			h.kept = append(h.kept, data[:keep]...)
		}
		data = data[n:]
		if h.left -= n; h.left == 0 && !t.complete(s, h, r) {
			return false
		}
	}
	return true
}

// skip goes past bytes that were not captured, if they are of a message whose question is there already.
func (h *half) skip(n int) bool {
	if h.head < 2 || len(h.kept) < keptBytes || n >= h.left {
		return false
	}
	h.left -= n
	return true
}

// complete takes a message; false: it is none.
func (t *Tracker) complete(s *streams, h *half, r *wire.PayloadRecord) bool {
	h.head = 0
	if !t.parsed.Parse(h.kept) {
		t.stats.Malformed++
		return binary.BigEndian.Uint16(h.kept[2:])&opcodeMask != 0 // another operation, such as an update
	}
	if h == &s.sent {
		if t.parsed.Response {
			t.stats.Malformed++
			return false
		}
		t.asked(s.ID, Lookup{
			Owner: s.Owner, Comm: t.text(s.Comm), Server: s.Server, Transport: protocolTCP, StartNs: h.timeNs,
		})
		return true
	}
	t.answered(s.ID, r.Header.TimeNs)
	return true
}

const protocolTCP = 6
