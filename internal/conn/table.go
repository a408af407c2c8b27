package conn

import (
	"cmp"
	"net/netip"
	"time"

	"github.com/ebpfnet/ebpfnetreceiver/internal/owner"
	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

// Options of a Table. The zero value is usable.
type Options struct {
	Limits
	MaxConnections int           // connections held at most, ended ones that linger included; 0: 262144
	MaxSets        int           // combinations of attributes per owner, the overflow included; 0: 2000
	MaxAllSets     int           // the same of all owners together, but for one of each; 0: 20000
	Linger         time.Duration // how long an ended connection can still be looked up; 0: 2 s
	Dimensions     Dimensions
	Flows          *FlowLimits // nil: connections are not counted by flow

	// Translation is wire.Translator's, for the peers of flows; nil: they are those that clients asked for.
	Translation func(*wire.AddressPair) (netip.AddrPort, bool)

	// Boundaries in seconds; none: exponential histograms.
	DurationBounds, HandshakeBounds, RTTBounds []float64
}

// Resolver says whom a socket belongs to. comm is the process's name at timeNs, which owner may need
// where the process is gone.
type Resolver interface {
	Resolve(ref wire.OwnerRef, comm string, timeNs uint64) owner.Owner
}

// Table holds the connections. Make it with New.
type Table struct {
	options  Options
	resolver Resolver
	owners   *Owners[Group]
	sets     int    // of all owners' attributes
	flows    *Flows // nil: not wanted
	stats    Stats

	byID  map[uint64]*Connection
	live  []*Connection // dense, in an order that depends on the records alone
	free  *Connection
	spare int                              // how many are in free
	ended struct{ head, tail *Connection } // by endedNs

	now        uint64 // newest time in any record
	sinceNs    uint64 // the collection before, or the start
	offsetNs   int64
	collection uint32
	comms      map[[16]uint8]string
}

// New makes an empty table.
func New(options Options, resolver Resolver) *Table {
	options.MaxConnections = cmp.Or(options.MaxConnections, 262144)
	options.MaxSets = cmp.Or(options.MaxSets, 2000)
	options.MaxAllSets = cmp.Or(options.MaxAllSets, 20000)
	options.Linger = cmp.Or(options.Linger, 2*time.Second)
	t := &Table{
		options:  options,
		resolver: resolver,
		owners:   NewOwners[Group](options.Limits),
		byID:     map[uint64]*Connection{},
		comms:    map[[16]uint8]string{},
	}
	if options.Flows != nil {
		t.flows = NewFlows(*options.Flows, options.Limits)
	}
	return t
}

// Begin tells the start: CLOCK_MONOTONIC and its distance from CLOCK_REALTIME.
func (t *Table) Begin(begin *wire.Begin) {
	t.now, t.sinceNs, t.offsetNs = begin.TimeNs, begin.TimeNs, begin.OffsetNs
}

// Get finds a connection that is live or ended less than Options.Linger ago. The result is valid until
// the next call of Conn or Collect.
func (t *Table) Get(id uint64) (*Connection, bool) {
	c, ok := t.byID[id]
	return c, ok
}

// Stats are the books so far.
func (t *Table) Stats() Stats {
	stats := t.stats
	if t.flows != nil {
		stats.FlowsFolded = t.flows.Folded()
	}
	return stats
}

// Flows are the flows of all connections, and of what the caller adds; nil without Options.Flows. To be read
// after Collect, before the next record.
func (t *Table) Flows() *Flows { return t.flows }

// Groups are the owners' sums in the order of owners. To be read after Collect, before the next record.
func (t *Table) Groups() *Owners[Group] { return t.owners }

// Conn takes a record of any of the connection kinds.
func (t *Table) Conn(r *wire.ConnRecord) {
	t.advance(r.Header.TimeNs)
	c := t.byID[r.ID]
	switch {
	case c == nil:
		if !t.begins(r) {
			t.stats.Ignored++
			return
		}
		if c = t.add(r); c == nil {
			t.stats.Refused++
			return
		}
	case c.Ended():
		if c.is(closeDue) && r.Header.Kind == wire.RecordConnClose {
			c.flags &^= closeDue
		} else {
			t.stats.Ignored++
		}
		return
	}
	t.identify(c, r)
	switch r.Header.Kind {
	case wire.RecordConnOpen:
		if c.is(openSeen) {
			t.stats.Ignored++
			return
		}
		c.flags |= openSeen
		t.observe(c, r)
	case wire.RecordConnSnapshot:
		t.observe(c, r)
	case wire.RecordConnFailed:
		if c.is(established) { // contradicts itself; its CLOSE says how it ended
			t.stats.Ignored++
			return
		}
		t.fail(c, r)
		c.flags |= closeDue
	case wire.RecordConnClose:
		t.close(c, r)
	}
}

// begins reports whether r can be the first of its connection. A socket that is closed but still held by
// a descriptor shows up in snapshots, long after its end.
func (t *Table) begins(r *wire.ConnRecord) bool {
	if r.State == StateListen {
		return false
	}
	late := r.Header.TimeNs+uint64(t.options.Linger) < t.now
	return r.Header.Kind != wire.RecordConnSnapshot || r.State != StateClose && !late
}

func (t *Table) observe(c *Connection, r *wire.ConnRecord) {
	if r.State == StateClose { // the record of its end is on the way, or lost
		return
	}
	c.lastCollection = t.collection
	if c.owner != nil && !c.owner.Known() { // its container may have been too new to be known
		t.own(c, r.Header.TimeNs)
	}
	if r.Header.TimeNs < c.seenNs {
		t.stats.Ignored++
		return
	}
	t.establish(c, r)
	if t.attributable(c) {
		t.account(c, r)
	}
	c.remember(r)
}

func (t *Table) fail(c *Connection, r *wire.ConnRecord) {
	c.flags |= ending
	t.account(c, r)
	c.remember(r)
	c.series.fail(FailureOf(r))
	t.stats.Failed++
	t.stats.Handshaking--
	t.end(c)
}

func (t *Table) close(c *Connection, r *wire.ConnRecord) {
	c.flags |= ending
	t.establish(c, r)
	if !c.is(established) {
		if c.role == wire.RoleClient || r.State == StateSynSent { // the FAILED record was lost
			t.fail(c, r)
			return
		}
		t.account(c, r)
		t.stats.Abandoned++
		t.stats.Handshaking--
		t.end(c)
		return
	}
	t.account(c, r)
	c.remember(r)
	t.observeRTT(c, !c.is(rttSeen))
	if int(r.CloseReason) < len(c.series.Closed) {
		c.series.Closed[r.CloseReason]++
	} else {
		c.series.Closed[wire.CloseUnknown]++
	}
	if c.establishedNs != 0 && r.Header.TimeNs >= c.establishedNs {
		c.series.Duration.Record(seconds(r.Header.TimeNs - c.establishedNs))
	}
	t.stats.Closed++
	t.stats.Live--
	t.end(c)
}

func seconds(ns uint64) float64 { return float64(ns) / 1e9 }
