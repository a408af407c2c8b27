package otlp

import (
	"cmp"
	"slices"

	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/ebpfnet/ebpfnetreceiver/internal/owner"
	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

// namespaceTable follows the counters of network namespaces: whose each is, and since when it counts.
type namespaceTable struct {
	owners     Owners
	byInode    map[uint32]*namespaceCounters
	collection uint64
}

type namespaceCounters struct {
	identity   uint64
	owner      owner.Owner
	collection uint64 // in which it was last told of
	series     map[wire.Counter]*counterSeries
	points     []counterPoint // of this collection, in the order in which they are written
}

// counterSeries is what is known of a counter. Its key is the counter with Value 0.
type counterSeries struct {
	value      uint64
	startNs    uint64 // CLOCK_REALTIME
	collection uint64
}

type counterPoint struct {
	meaning
	counter wire.Counter
	startNs uint64
}

func newNamespaceTable(owners Owners) namespaceTable {
	return namespaceTable{owners: owners, byInode: map[uint32]*namespaceCounters{}}
}

// add takes what was read. A counter begins when its namespace did. One that was not there at the collection
// before, sinceNs, or has fallen, as when a device is made anew, begins there; and so does all of a namespace
// whose number was another's.
func (t *namespaceTable) add(collection *wire.Collection, clock clock, sinceNs uint64) {
	t.collection++
	for i := range collection.Namespaces {
		read := &collection.Namespaces[i]
		n := t.byInode[read.Inode]
		began := sinceNs
		if n == nil || n.identity != read.Identity {
			n = &namespaceCounters{identity: read.Identity, series: map[wire.Counter]*counterSeries{}}
			t.byInode[read.Inode] = n
			began = clock.wall(read.ZeroNs)
		}
		n.owner = t.owners.Namespace(read.Inode, collection.TimeNs, true)
		n.collection = t.collection
		n.take(read.Counters, began, sinceNs)
	}
	for inode, n := range t.byInode {
		if n.collection != t.collection {
			delete(t.byInode, inode)
		}
	}
}

func (n *namespaceCounters) take(counters []wire.Counter, began, sinceNs uint64) {
	n.points = n.points[:0]
	for _, counter := range counters {
		means, ok := meaningOf(&counter)
		if !ok {
			continue
		}
		key := counter
		key.Value = 0
		s := n.series[key]
		if s == nil {
			if counter.Value == 0 { // it has not been anything else yet
				continue
			}
			s = &counterSeries{startNs: began}
			n.series[key] = s
		}
		if counter.Value < s.value && instruments[means.id].Kind == Sum {
			s.startNs = sinceNs
		}
		s.value, s.collection = counter.Value, n.collection
		n.points = append(n.points, counterPoint{means, counter, s.startNs})
	}
	for key, s := range n.series {
		if s.collection != n.collection {
			delete(n.series, key)
		}
	}
	slices.SortStableFunc(n.points, func(a, b counterPoint) int {
		return cmp.Or(cmp.Compare(a.id, b.id), cmp.Compare(a.counter.Group, b.counter.Group),
			cmp.Compare(a.counter.Device, b.counter.Device), cmp.Compare(a.counter.Kind, b.counter.Kind),
			cmp.Compare(a.counter.Port, b.counter.Port), cmp.Compare(a.counter.Name, b.counter.Name))
	})
}

// counters writes what is counted for one namespace.
func (w *writer) counters(n *namespaceCounters) {
	before := instrumentCount
	wanted := false
	for i := range n.points {
		point := &n.points[i]
		if point.id != before {
			before = point.id
			wanted = w.instrument(point.id, point.startNs)
		}
		if wanted {
			w.start = min(pcommon.Timestamp(point.startNs), w.now)
			point.attributes(w.number(point.counter.Value))
		}
	}
}

// meaning says which metric a counter is of, and which attributes tell it apart there.
type meaning struct {
	id        instrument
	network   string // network.type
	transport string
	state     string // of sockets
	direction string
	disk      string // disk.io.direction
	named     bool   // the kernel's name is an attribute
}

func (p *counterPoint) attributes(to pcommon.Map) {
	if p.named {
		to.PutStr(attrCounterName, p.counter.Name)
	}
	putStr(to, attrInterfaceName, p.counter.Device)
	putStr(to, attrQdiscKind, p.counter.Kind)
	putPort(to, attrServerPort, p.counter.Port)
	putStr(to, attrNetworkType, p.network)
	putStr(to, attrTransport, p.transport)
	putStr(to, attrSocketState, p.state)
	putStr(to, attrIODirection, p.direction)
	putStr(to, attrDiskDirection, p.disk)
}

func meaningOf(c *wire.Counter) (meaning, bool) {
	switch c.Group {
	case wire.CounterTCP:
		return meaning{id: counterTCP, named: true}, true
	case wire.CounterMPTCP:
		return meaning{id: counterMPTCP, named: true}, true
	case wire.CounterUDP:
		return meaning{id: counterUDP, network: "ipv4", named: true}, true
	case wire.CounterUDP6:
		return meaning{id: counterUDP, network: "ipv6", named: true}, true
	case wire.CounterIP:
		return meaning{id: counterIP, network: "ipv4", named: true}, true
	case wire.CounterIP6:
		return meaning{id: counterIP, network: "ipv6", named: true}, true
	case wire.CounterICMP:
		return meaning{id: counterICMP, network: "ipv4", named: true}, true
	case wire.CounterICMP6:
		return meaning{id: counterICMP, network: "ipv6", named: true}, true
	case wire.CounterRDMA:
		return meaning{id: rdmaCounter, named: true}, true
	case wire.CounterConntrack:
		if c.Name != "entries" && c.Name != "max" {
			return meaning{id: counterConntrack, named: true}, true
		}
	}
	means, ok := counterMeanings[counterName{c.Group, c.Name}]
	return means, ok
}

type counterName struct {
	group wire.CounterGroup
	name  string
}

// counterMeanings are those of counters that are a metric of their own.
var counterMeanings = map[counterName]meaning{
	{wire.CounterSocket, "TCP inuse"}:  {id: socketCount, transport: "tcp", network: "ipv4", state: "in_use"},
	{wire.CounterSocket, "TCP6 inuse"}: {id: socketCount, transport: "tcp", network: "ipv6", state: "in_use"},
	{wire.CounterSocket, "UDP inuse"}:  {id: socketCount, transport: "udp", network: "ipv4", state: "in_use"},
	{wire.CounterSocket, "UDP6 inuse"}: {id: socketCount, transport: "udp", network: "ipv6", state: "in_use"},
	{wire.CounterSocket, "CurrEstab"}:  {id: socketCount, transport: "tcp", state: "established"},
	{wire.CounterSocket, "TCP tw"}:     {id: socketCount, transport: "tcp", state: "time_wait"},
	{wire.CounterSocket, "TCP orphan"}: {id: socketCount, transport: "tcp", state: "orphaned"},
	{wire.CounterSocket, "TCP alloc"}:  {id: socketCount, transport: "tcp", state: "allocated"},
	{wire.CounterSocket, "TCP mem"}:    {id: socketMemory, transport: "tcp"},
	{wire.CounterSocket, "UDP mem"}:    {id: socketMemory, transport: "udp"},

	{wire.CounterQueue, "receive"}:  {id: tcpQueueSize, direction: "receive"},
	{wire.CounterQueue, "transmit"}: {id: tcpQueueSize, direction: "transmit"},

	{wire.CounterListener, "backlog"}:     {id: tcpListenQueueLength},
	{wire.CounterListener, "max_backlog"}: {id: tcpListenQueueLimit},
	{wire.CounterListener, "drops"}:       {id: tcpListenDropped},

	{wire.CounterInterface, "rx_bytes"}:   {id: interfaceIO, direction: "receive"},
	{wire.CounterInterface, "tx_bytes"}:   {id: interfaceIO, direction: "transmit"},
	{wire.CounterInterface, "rx_packets"}: {id: interfacePackets, direction: "receive"},
	{wire.CounterInterface, "tx_packets"}: {id: interfacePackets, direction: "transmit"},
	{wire.CounterInterface, "rx_errors"}:  {id: interfaceErrors, direction: "receive"},
	{wire.CounterInterface, "tx_errors"}:  {id: interfaceErrors, direction: "transmit"},
	{wire.CounterInterface, "rx_dropped"}: {id: interfaceDropped, direction: "receive"},
	{wire.CounterInterface, "tx_dropped"}: {id: interfaceDropped, direction: "transmit"},

	{wire.CounterQdisc, "bytes"}:      {id: qdiscIO},
	{wire.CounterQdisc, "packets"}:    {id: qdiscPackets},
	{wire.CounterQdisc, "drops"}:      {id: qdiscDropped},
	{wire.CounterQdisc, "overlimits"}: {id: qdiscOverlimits},
	{wire.CounterQdisc, "requeues"}:   {id: qdiscRequeues},
	{wire.CounterQdisc, "qlen"}:       {id: qdiscQueueLength},
	{wire.CounterQdisc, "backlog"}:    {id: qdiscQueueSize},

	{wire.CounterConntrack, "entries"}: {id: conntrackCount},
	{wire.CounterConntrack, "max"}:     {id: conntrackLimit},

	{wire.CounterSoftnet, "processed"}:    {id: softnetProcessed},
	{wire.CounterSoftnet, "dropped"}:      {id: softnetDropped},
	{wire.CounterSoftnet, "time_squeeze"}: {id: softnetSqueezed},

	{wire.CounterIPVS, "connections"}: {id: ipvsConnections},
	{wire.CounterIPVS, "inpackets"}:   {id: ipvsPackets, direction: "receive"},
	{wire.CounterIPVS, "outpackets"}:  {id: ipvsPackets, direction: "transmit"},
	{wire.CounterIPVS, "inbytes"}:     {id: ipvsIO, direction: "receive"},
	{wire.CounterIPVS, "outbytes"}:    {id: ipvsIO, direction: "transmit"},

	{wire.CounterProcess, "files"}:       {id: openFiles},
	{wire.CounterProcess, "sockets"}:     {id: openSockets},
	{wire.CounterProcess, "syscr"}:       {id: ioCalls, disk: "read"},
	{wire.CounterProcess, "syscw"}:       {id: ioCalls, disk: "write"},
	{wire.CounterProcess, "read_bytes"}:  {id: diskIO, disk: "read"},
	{wire.CounterProcess, "write_bytes"}: {id: diskIO, disk: "write"},
}
