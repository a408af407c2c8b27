package otlp

import (
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/ebpfnet/ebpfnetreceiver/internal/conn"
	"github.com/ebpfnet/ebpfnetreceiver/internal/owner"
	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

// flowsPerBatch bounds the metrics that are made at a time: about 0.07 MB as protobuf, and 0.25 MB until then, of which
// an exporter's queue may hold several.
const flowsPerBatch = 125

// FlowPoints are the flows as of one collection. There may be tens of thousands, each with four points, and a
// point of pdata takes 400 bytes: so their sums are copied, and made into metrics batch by batch.
type FlowPoints struct {
	disabled *[instrumentCount]bool
	version  string
	now      pcommon.Timestamp
	owners   []ownerFlows
	flows    []flowSums
}

// flowSums are those of a flow, of which the rest does not change.
type flowSums struct {
	flow           *conn.Flow
	bytes, packets [len(bothDirections)]uint64
}

// ownerFlows are the next so many of FlowPoints.flows.
type ownerFlows struct {
	owner    owner.Owner
	overflow bool
	count    int
}

// Flows copies the flows at a collection, so that they can be made into metrics while the next one begins;
// nil where there are none. It comes after table.Collect.
func (m *Metrics) Flows(collection *wire.Collection, flows *conn.Flows) *FlowPoints {
	if flows == nil || m.disabled[flowIO] && m.disabled[flowPackets] {
		return nil
	}
	points := &FlowPoints{
		disabled: &m.disabled,
		version:  m.options.Version,
		now:      pcommon.Timestamp(int64(collection.TimeNs) + collection.OffsetNs),
	}
	count := 0
	for entry := range flows.Owners().All {
		count += len(entry.Value.All())
	}
	points.flows = make([]flowSums, 0, count)
	for entry := range flows.Owners().All {
		of := ownerFlows{owner: entry.Owner, overflow: entry.Overflow}
		for _, flow := range entry.Value.All() {
			if flow.Packets != [3]uint64{} { // a connect that was not answered is no flow yet
				sums := flowSums{flow: flow}
				for i, direction := range bothDirections {
					sums.bytes[i], sums.packets[i] = flow.Bytes[direction], flow.Packets[direction]
				}
				points.flows = append(points.flows, sums)
				of.count++
			}
		}
		if of.count > 0 {
			points.owners = append(points.owners, of)
		}
	}
	if len(points.flows) == 0 {
		return nil
	}
	return points
}

// Len is how many data points there are.
func (p *FlowPoints) Len() (points int) {
	for _, id := range [...]instrument{flowIO, flowPackets} {
		if !p.disabled[id] {
			points += len(bothDirections) * len(p.flows)
		}
	}
	return points
}

// Each makes the metrics, one batch after the other, in an order that depends on owners and records alone.
func (p *FlowPoints) Each(take func(pmetric.Metrics)) {
	w, room, flows := p.writer(), flowsPerBatch, p.flows
	for _, of := range p.owners {
		for of.count > 0 {
			if room == 0 {
				take(w.metrics)
				w, room = p.writer(), flowsPerBatch
			}
			n := min(of.count, room)
			w.resource(of.owner, of.overflow)
			w.flows(flowIO, flows[:n], func(f *flowSums, i int) uint64 { return f.bytes[i] })
			w.flows(flowPackets, flows[:n], func(f *flowSums, i int) uint64 { return f.packets[i] })
			flows, of.count, room = flows[n:], of.count-n, room-n
		}
	}
	take(w.metrics)
}

func (p *FlowPoints) writer() *writer {
	return &writer{disabled: p.disabled, version: p.version, metrics: pmetric.NewMetrics(), now: p.now}
}

func (w *writer) flows(id instrument, flows []flowSums, value func(sums *flowSums, i int) uint64) {
	if !w.instrument(id, 0) {
		return
	}
	attributes := 0 // of the point before: the next one has as many, as a rule
	for i := range flows {
		flow := flows[i].flow
		w.start = min(pcommon.Timestamp(flow.StartNs), w.now)
		peer, dialled := "", ""
		if flow.Key.Peer.IsValid() {
			peer = flow.Key.Peer.String()
		}
		if flow.Key.Dialled.IsValid() {
			dialled = flow.Key.Dialled.String()
		}
		for at, direction := range bothDirections {
			to := w.number(value(&flows[i], at))
			to.EnsureCapacity(attributes)
			to.PutStr(attrIODirection, directions[direction])
			if flow.Key.Overflow {
				to.PutBool(attrOverflow, true)
				continue
			}
			putStr(to, attrPeerAddress, peer)
			putPort(to, attrPeerPort, flow.Key.PeerPort)
			putStr(to, attrServerAddress, dialled)
			putPort(to, attrServerPort, flow.Key.Port)
			putStr(to, attrFlowRole, roles[flow.Key.Role])
			putStr(to, attrTransport, transport(flow.Key.Protocol))
			attributes = to.Len()
		}
	}
}
