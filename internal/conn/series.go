package conn

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/ebpfnet/ebpfnetreceiver/internal/conn/histogram"
	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

// TCP states, include/net/tcp_states.h.
const (
	StateEstablished = 1
	StateSynSent     = 2
	StateSynRecv     = 3
	StateFinWait1    = 4
	StateFinWait2    = 5
	StateTimeWait    = 6
	StateClose       = 7
	StateCloseWait   = 8
	StateLastACK     = 9
	StateListen      = 10
	StateClosing     = 11
	StateNewSynRecv  = 12
	StateCount       = 13
)

// Dimensions are the attributes that tell an owner's connections apart. None is the default: the number
// of points then depends on the number of owners alone.
type Dimensions struct {
	NetworkType bool // IPv4 or IPv6
	Role        bool // client or server
	Peer        bool // the peer's address
	ServerPort  bool // the port that was connected to, where the role is known
}

// Attributes is one combination of Dimensions. Those not in use, or not known, have their zero value.
type Attributes struct {
	Peer       netip.Addr
	ServerPort uint16
	Role       uint8 // wire.Role*
	IPVersion  uint8 // 4, 6
	Overflow   bool  // stands for all combinations beyond the limit
}

// Group is what one owner's connections add up to, by attributes.
type Group struct {
	sets  map[Attributes]*Series
	order []*Series
}

// Series are the sums and distributions of one owner and one combination of attributes.
type Series struct {
	Attributes Attributes

	Opened [3]uint64 // connections established, by wire.Role*
	Closed [7]uint64 // connections that ended, by wire.Close*
	Failed []Failure // connects that failed, ascending by errno

	Duration  histogram.Histogram    // seconds from established to closed
	Handshake [3]histogram.Histogram // seconds, by wire.Role*
	RTT       histogram.Histogram    // smoothed round-trip time in seconds, see Table.Collect
	MinRTT    histogram.Histogram    // least round-trip time in seconds, observed together with RTT

	Bytes      [3]uint64 // payload by wire.Direction*: each byte once, as the peer's stack took it
	Packets    [3]uint64 // segments by wire.Direction*, retransmissions and bare ACKs included
	OutOfOrder uint64    // segments received out of order

	// As of the last collection.
	States     [StateCount]uint64 // connections by TCP state
	StatesSeen uint16             // bit per state that was ever not zero: its point goes on at 0
	// ZeroWindow counts connections that are stopped by a closed window, by wire.Direction*: transmit is
	// the window that the peer offers, receive the one offered to it.
	ZeroWindow [3]uint64
}

// Failure counts failed connects with one error.
type Failure struct {
	Errno uint32 // or ErrnoAborted, ErrnoUnknown
	Count uint64
}

// What stands for an errno where a failed connect has none.
const (
	ErrnoAborted = 0         // the application closed the socket before there was an answer
	ErrnoUnknown = 1<<32 - 1 // connect itself failed: its error goes to the caller, not to the socket
)

// FailureOf is the error of a connect that failed, from its record of kind FAILED or CLOSE.
func FailureOf(r *wire.ConnRecord) uint32 {
	switch {
	case r.Error != 0:
		return r.Error
	case r.CloseReason == wire.CloseLocalFIN:
		return ErrnoAborted
	default:
		return ErrnoUnknown
	}
}

func (s *Series) fail(errno uint32) {
	at, found := slices.BinarySearchFunc(s.Failed, errno, func(f Failure, e uint32) int { return cmp.Compare(f.Errno, e) })
	if !found {
		s.Failed = slices.Insert(s.Failed, at, Failure{Errno: errno})
	}
	s.Failed[at].Count++
}

// Series are the group's series in the order in which they appeared, the overflow series included.
func (g *Group) Series() []*Series { return g.order }

// of is the series of these attributes. all is how many there are of all owners.
func (g *Group) of(attributes Attributes, options *Options, all *int) *Series {
	if s, ok := g.sets[attributes]; ok {
		return s
	}
	full := len(g.sets) >= options.MaxSets-1 || len(g.sets) > 0 && *all >= options.MaxAllSets
	if full && !attributes.Overflow {
		return g.of(Attributes{Overflow: true}, options, all)
	}
	*all++
	if g.sets == nil {
		g.sets = map[Attributes]*Series{}
	}
	s := &Series{
		Attributes: attributes,
		Duration:   histogram.New(options.DurationBounds),
		RTT:        histogram.New(options.RTTBounds),
		MinRTT:     histogram.New(options.RTTBounds),
	}
	for role := range s.Handshake {
		s.Handshake[role] = histogram.New(options.HandshakeBounds)
	}
	g.sets[attributes] = s
	g.order = append(g.order, s)
	return s
}

func (d Dimensions) of(c *Connection) (a Attributes) {
	remote := c.Remote()
	if d.NetworkType {
		a.IPVersion = 6
		if remote.Addr().Is4() {
			a.IPVersion = 4
		}
	}
	if d.Role {
		a.Role = c.role
	}
	if d.Peer {
		a.Peer = remote.Addr()
	}
	if d.ServerPort {
		switch c.role {
		case wire.RoleClient:
			a.ServerPort = remote.Port()
		case wire.RoleServer:
			a.ServerPort = c.Local().Port()
		}
	}
	return a
}
