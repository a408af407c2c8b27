package otlp

import (
	"slices"

	"github.com/ebpfnet/ebpfnetreceiver/internal/conn"
	"github.com/ebpfnet/ebpfnetreceiver/internal/owner"
	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

// ScopeName is the instrumentation scope of all that is emitted.
const ScopeName = "github.com/ebpfnet/ebpfnetreceiver"

// Options say what is emitted and how. The zero value is the default.
type Options struct {
	Version         string           // of the scope
	Disabled        map[string]bool  // metrics not to emit, by name
	ExplicitBuckets bool             // explicit-bucket histograms with Instrument.Bounds; else exponential ones
	Attributes      []string         // optional metric attributes to add, of OptionalAttributes
	Query           bool             // url.query on spans, each value replaced by REDACTED
	Limits          conn.Limits      // owners kept, and for how long
	MaxSets         int              // combinations of attributes per owner and metric group; 0: 2000
	MaxAllSets      int              // the same of all owners together, but for the overflow of each; 0: 20000
	Flows           *conn.FlowLimits // what is exchanged with each peer; nil: not counted
}

// Connections are the options of the connection table that serves these metrics.
func (o *Options) Connections() conn.Options {
	has := func(name string) bool { return slices.Contains(o.Attributes, name) }
	return conn.Options{
		Limits:  o.Limits,
		MaxSets: o.MaxSets, MaxAllSets: o.MaxAllSets,
		Flows: o.Flows,
		Dimensions: conn.Dimensions{
			NetworkType: has(attrNetworkType),
			Role:        has(attrHandshakeRole),
			Peer:        has(attrPeerAddress),
			ServerPort:  has(attrServerPort),
		},
		DurationBounds:  o.bounds(tcpConnectionDuration),
		HandshakeBounds: o.bounds(tcpHandshakeDuration),
		RTTBounds:       o.bounds(tcpRTT),
	}
}

func (o *Options) bounds(id instrument) []float64 {
	if !o.ExplicitBuckets {
		return nil
	}
	return instruments[id].Bounds
}

// Environment is what the builders ask about records.
type Environment struct {
	Owners Owners
	Facts  wire.Facts
}

// Owners tell whose something is: owner.Resolver, which says more of each.
type Owners interface {
	conn.Resolver
	ResolveCount(ref wire.OwnerRef, sinceNs, timeNs uint64) owner.Owner
	Executable(tgid uint32, timeNs uint64) string
	Namespace(inode uint32, timeNs uint64, pods bool) owner.Owner
	Host() owner.Owner
}

// clock turns CLOCK_MONOTONIC into CLOCK_REALTIME.
type clock struct{ offsetNs int64 }

// SetOffset takes the distance of CLOCK_REALTIME from CLOCK_MONOTONIC, from wire.Begin and each
// wire.Collection.
func (c *clock) SetOffset(offsetNs int64) { c.offsetNs = offsetNs }

func (c *clock) wall(timeNs uint64) uint64 { return uint64(int64(timeNs) + c.offsetNs) }

func ownerOf(c *conn.Connection) owner.Owner {
	if c == nil {
		return owner.Owner{}
	}
	return c.Owner()
}
