package conn

import (
	"net/netip"
	"time"

	"github.com/ebpfnet/ebpfnetreceiver/internal/owner"
	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

// Connection is one TCP connection as seen from one of its ends.
type Connection struct {
	id   uint64
	ref  wire.OwnerRef
	pair wire.AddressPair
	comm [16]uint8

	openedNs      uint64
	establishedNs uint64 // 0: not established, or adopted
	seenNs        uint64 // time of the newest record
	endedNs       uint64 // when the table took note of the end; 0: live

	owner  *owner.Owner
	group  *Owned[Group]
	series *Series // nil: not yet attributed, see Table.attributable
	flow   *Flow   // nil: not yet attributed, or flows are not wanted

	// What no flow contains yet, of a client that has not got through: transmitted, received.
	early [2]struct{ bytes, packets uint16 } // a few SYNs, of which one may hold data

	// What the sums already contain.
	transmitted, received       uint64
	segsOut, segsIn, outOfOrder uint32

	srttUs, minRTTUs uint32
	sndWnd, rcvWnd   uint32
	retransmits      uint32
	errno            uint32

	traceID [16]byte // of the newest span since the RTT was counted last
	spanID  [8]byte  // zero: none

	firstCollection, lastCollection uint32
	slot                            int32 // place in Table.live, -1: not there
	next                            *Connection

	flags status
	state uint8
	role  uint8
	bits  uint8 // wire.Conn* of the newest record
}

type status uint16

const (
	established   status = 1 << iota // in Stats.Live, or was
	adopted                          // before the start: what came before is not claimed
	openCounted                      // in Series.Opened
	openSeen                         // the OPEN record came
	handshakeSeen                    // in Series.Handshake
	rttSeen                          // at least once in Series.RTT
	moved                            // payload since the last observation of RTT
	closeDue                         // ended by FAILED: the CLOSE record that follows says nothing new
	ending                           // the record of its end is being taken
)

func (c *Connection) is(s status) bool { return c.flags&s != 0 }

// ID is unique for the life of the receiver.
func (c *Connection) ID() uint64 { return c.id }

// Owner is whom the connection belongs to, as far as it is known by now. Comparable, never nil.
func (c *Connection) Owner() owner.Owner { return *c.owner }

// OwnerAt is where Owner is kept, which does not change there. Connections of one owner mostly have it in
// the same place: for who looks up something by owner, often.
func (c *Connection) OwnerAt() *owner.Owner { return c.owner }

// Ref is what the kernel knows of the owner.
func (c *Connection) Ref() wire.OwnerRef { return c.ref }

// Process is the process that holds the connection; 0 where none or more than one does.
func (c *Connection) Process() uint32 {
	if c.bits&wire.ConnTGIDAmbiguous != 0 {
		return 0
	}
	return c.ref.TGID
}

// SetSpan names a span that was made of a call on this connection: an exemplar for its next RTT.
func (c *Connection) SetSpan(traceID [16]byte, spanID [8]byte) { c.traceID, c.spanID = traceID, spanID }

// Local is this end's address and port.
func (c *Connection) Local() netip.AddrPort { return c.pair.LocalAddr() }

// Remote is the other end's address and port, as this end sees it (before destination NAT).
func (c *Connection) Remote() netip.AddrPort { return c.pair.RemoteAddr() }

// Role is wire.RoleClient where this end connected, wire.RoleServer where it accepted, else
// wire.RoleUnknown.
func (c *Connection) Role() uint8 { return c.role }

// State is the TCP state (State* constants) in the newest record.
func (c *Connection) State() uint8 { return c.state }

// Adopted reports whether the connection was established before the receiver started.
func (c *Connection) Adopted() bool { return c.is(adopted) }

// Ended reports whether the connection is closed, failed or lost.
func (c *Connection) Ended() bool { return c.endedNs != 0 }

// RTT is the smoothed round-trip time in the newest record, 0 where there is no sample.
func (c *Connection) RTT() time.Duration { return time.Duration(c.srttUs) * time.Microsecond }

// MinRTT is the least round-trip time in the newest record, 0 where there is no sample.
func (c *Connection) MinRTT() time.Duration { return time.Duration(c.minRTTUs) * time.Microsecond }

// Retransmits is how many segments were retransmitted, as of the newest record (tcp_sock.total_retrans).
func (c *Connection) Retransmits() uint32 { return c.retransmits }

// Errno is the socket's error at the end of the connection, 0: none.
func (c *Connection) Errno() uint32 { return c.errno }

// Comm is the name of the process that Ref tells.
func (c *Connection) Comm() string { return wire.Text(c.comm) }
