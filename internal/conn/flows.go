package conn

import (
	"cmp"
	"net/netip"
	"slices"
	"sort"

	"github.com/ebpfnet/ebpfnetreceiver/internal/owner"
	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

// FlowLimits bound the flows. What is beyond them is counted in the overflow flow of its owner.
type FlowLimits struct {
	PerOwner        int // flows of one owner, the overflow included; 0: 500
	Total           int // flows of all owners, overflows not included; 0: 50000
	IdleCollections int // a flow that nothing moved in and that has no connection for so long is forgotten; 0: 30
}

// FlowKey is what tells the flows of one owner apart. What is not known has its zero value.
type FlowKey struct {
	Peer     netip.Addr // the other end, after destination NAT where that is known
	Dialled  netip.Addr // what the client asked for, where destination NAT made another peer of it
	Port     uint16     // of the server, as the client asked for it; 0 where it is not known who that is
	PeerPort uint16     // of Peer, where destination NAT made it known
	Role     uint8      // wire.Role*: what this end is
	Protocol uint8      // IPPROTO_*
	Overflow bool       // stands for all flows beyond the limits
}

// Flow is what an owner and one peer sent each other.
type Flow struct {
	Key     FlowKey
	StartNs uint64    // CLOCK_REALTIME: the sums were zero then
	Bytes   [3]uint64 // payload by wire.Direction*: TCP's each byte once
	Packets [3]uint64 // by wire.Direction*

	connections int32 // live ones
	idle        int16
	active      bool // something moved since the last collection
}

// FlowGroup holds the flows of one owner.
type FlowGroup struct {
	byKey []*Flow // ascending: owners have few, and a map takes as much again as the flows
}

// All are the flows in the order of their keys.
func (g *FlowGroup) All() []*Flow { return g.byKey }

func (g *FlowGroup) find(key *FlowKey) (at int, found bool) {
	return sort.Find(len(g.byKey), func(i int) int { return key.compare(&g.byKey[i].Key) })
}

// compare orders keys; the overflow comes last.
func (k *FlowKey) compare(other *FlowKey) int {
	if k.Overflow != other.Overflow {
		if k.Overflow {
			return 1
		}
		return -1
	}
	if c := k.Peer.Compare(other.Peer); c != 0 {
		return c
	}
	return cmp.Or(cmp.Compare(k.Port, other.Port), cmp.Compare(k.Role, other.Role), cmp.Compare(k.Protocol, other.Protocol),
		cmp.Compare(k.PeerPort, other.PeerPort), k.Dialled.Compare(other.Dialled))
}

// Flows holds the flows of all owners. It is not safe for concurrent use.
type Flows struct {
	limits FlowLimits
	owners *Owners[FlowGroup]
	total  int
	folded uint64
}

// NewFlows makes an empty set; owners bounds how many owners have flows.
func NewFlows(limits FlowLimits, owners Limits) *Flows {
	limits.PerOwner = cmp.Or(limits.PerOwner, 500)
	limits.Total = cmp.Or(limits.Total, 50000)
	limits.IdleCollections = cmp.Or(limits.IdleCollections, 30)
	return &Flows{limits: limits, owners: NewOwners[FlowGroup](owners)}
}

// Owners are the flows by owner.
func (f *Flows) Owners() *Owners[FlowGroup] { return f.owners }

// Folded is how many connections and datagram flows were attributed to an overflow so far.
func (f *Flows) Folded() uint64 { return f.folded }

// Of is the flow of that key, begun at startNs (CLOCK_REALTIME) if there is none yet. It stays the right one
// for as long as something is counted in it or a connection is in it.
func (f *Flows) Of(o owner.Owner, key FlowKey, startNs uint64) *Flow {
	owned := f.owners.Of(o, startNs)
	group := &owned.Value
	at, found := group.find(&key)
	if found && !owned.Overflow {
		return group.byKey[at]
	}
	if owned.Overflow || f.total >= f.limits.Total || len(group.byKey) >= f.limits.PerOwner-1 {
		f.folded++
		key = FlowKey{Overflow: true}
		if at, found = group.find(&key); found {
			return group.byKey[at]
		}
	} else {
		f.total++
	}
	flow := &Flow{Key: key, StartNs: startNs}
	group.byKey = slices.Insert(group.byKey, at, flow)
	return flow
}

// Add counts what moved in a direction (wire.Direction*).
func (f *Flow) Add(direction uint8, bytes, packets uint64) {
	if bytes|packets != 0 {
		f.Bytes[direction] += bytes
		f.Packets[direction] += packets
		f.active = true
	}
}

// Sweep ends a collection: it forgets the flows that were idle for too long, and their owners.
func (f *Flows) Sweep() {
	for entry := range f.owners.All {
		group := &entry.Value
		group.byKey = slices.DeleteFunc(group.byKey, func(flow *Flow) bool {
			if flow.active || flow.connections > 0 {
				flow.active, flow.idle = false, 0
				entry.Touch()
				return false
			}
			if flow.idle++; int(flow.idle) < f.limits.IdleCollections {
				entry.Touch()
				return false
			}
			if !flow.Key.Overflow {
				f.total--
			}
			return true
		})
	}
	f.owners.Sweep()
}

// flowKey is the key of a connection's flow. The server's port is known from who connected to whom; an
// ephemeral port never gets here.
func (t *Table) flowKey(c *Connection) FlowKey {
	key := FlowKey{Peer: c.Remote().Addr(), Role: c.role, Protocol: c.pair.Protocol}
	switch c.role {
	case wire.RoleClient:
		key.Port = c.Remote().Port()
		t.translate(&key, &c.pair)
	case wire.RoleServer:
		key.Port = c.Local().Port()
	}
	return key
}

// translate names the peer that a client was sent to, if that is another than it asked for.
func (t *Table) translate(key *FlowKey, pair *wire.AddressPair) {
	translation := t.options.Translation
	if translation == nil || pair.LocalPort == 0 {
		return
	}
	if backend, ok := translation(pair); ok {
		key.Dialled, key.Peer, key.PeerPort = key.Peer, backend.Addr(), backend.Port()
	}
}

// join puts c into its flow. A client's state says that it connects before its first segment is out: nobody knows yet
// whom that is sent to.
func (t *Table) join(c *Connection) {
	if t.flows == nil || c.flow != nil ||
		t.options.Translation != nil && c.role == wire.RoleClient && !c.is(established|ending) {
		return
	}
	start := t.sinceNs
	if !c.is(adopted) && c.openedNs != 0 {
		start = c.openedNs
	}
	c.flow = t.flows.Of(*c.owner, t.flowKey(c), uint64(int64(start)+t.offsetNs))
	c.flow.connections++
}

// count adds to c's flow what moved in a direction, as soon as there is one.
func (c *Connection) count(direction uint8, bytes, packets uint64) {
	early := &c.early[direction-wire.DirectionTransmit]
	if c.flow == nil {
		early.bytes += uint16(bytes)
		early.packets += uint16(packets)
		return
	}
	c.flow.Add(direction, bytes+uint64(early.bytes), packets+uint64(early.packets))
	early.bytes, early.packets = 0, 0
}

// leave takes c out of its flow: it has ended, or turned out to belong to another.
func (c *Connection) leave() {
	if c.flow != nil {
		c.flow.connections--
		c.flow = nil
	}
}
