package otlp

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/ebpfnet/ebpfnetreceiver/internal/conn"
	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

var withFlows = Options{Version: "1.2.3", Flows: &conn.FlowLimits{}}

func TestFlowsAreAsTheGoldenFileSays(t *testing.T) {
	p := newPipeline(Options{Version: "1.2.3", Flows: &conn.FlowLimits{PerOwner: 3}})
	p.Conn(client(1, startNs+1e9, wire.RecordConnSnapshot))
	p.Conn(serverEnd(2, startNs+1e9, wire.RecordConnSnapshot))
	unknown := client(3, startNs+1e9, wire.RecordConnClose)
	unknown.Role = wire.RoleUnknown
	p.Conn(unknown)
	six := client(4, startNs+1e9, wire.RecordConnClose)
	six.Pair.Remote = netip.MustParseAddr("fd00::2").As16()
	p.Conn(six)
	translated := p.Table.Flows().Of(pod, conn.FlowKey{
		Peer: netip.MustParseAddr("10.2.0.9"), Dialled: netip.MustParseAddr("10.96.0.10"),
		Port: 80, PeerPort: 8080, Role: wire.RoleClient, Protocol: 6,
	}, p.wall(startNs+2e9))
	translated.Add(wire.DirectionTransmit, 10, 2)
	p.time += interval
	collection := &wire.Collection{TimeNs: p.time, OffsetNs: offsetNs}
	p.Table.Collect(p.time, offsetNs)
	points := p.Metrics.Flows(collection, p.Table.Flows())
	var batches []pmetric.Metrics
	points.Each(func(m pmetric.Metrics) { batches = append(batches, m) })
	require.Len(t, batches, 1)
	assert.Equal(t, points.Len(), batches[0].DataPointCount())
	goldenMetrics(t, "flows", batches[0])
}

func TestAConnectThatWasNotAnsweredIsAFlowOfWhatWasSent(t *testing.T) {
	p := newPipeline(withFlows)
	failed := client(1, startNs+1e9, wire.RecordConnFailed)
	failed.Flags, failed.State = 0, conn.StateSynSent
	failed.BytesSent, failed.BytesRetrans, failed.BytesReceived, failed.SegsOut, failed.SegsIn = 0, 0, 0, 3, 0
	p.Conn(failed)
	packets := find(t, p.collect(), "network.flow.packets").Sum().DataPoints()
	assert.Equal(t, 2, packets.Len())
	for _, point := range packets.All() {
		direction, _ := point.Attributes().Get(attrIODirection)
		assert.EqualValues(t, map[string]int64{"transmit": 3, "receive": 0}[direction.Str()], point.IntValue())
	}
}

// cluster is a pipeline with so many owners, each with a flow to each of so many peers; the last connections
// are open.
func cluster(owners, peers, open int) *pipeline {
	p := newPipeline(Options{Version: "1.2.3", Flows: &conn.FlowLimits{}})
	r := client(0, startNs+1e9, wire.RecordConnSnapshot)
	for id := range owners * peers {
		r.ID = uint64(id + 1)
		r.Owner = wire.OwnerRef{TGID: uint32(1 + id%owners)}
		peer := netip.MustParseAddr("10.0.0.0").As4()
		binary.BigEndian.PutUint16(peer[2:], uint16(id/owners+1))
		r.Pair.Remote = netip.AddrFrom4(peer).As16()
		r.Header.Kind = wire.RecordConnSnapshot
		if id < owners*peers-open {
			r.Header.Kind = wire.RecordConnClose
		}
		p.Conn(r)
		if id%1000 == 999 { // so that what has ended makes room
			r.Header.TimeNs += 3e9
		}
	}
	return p
}

// heap is what is live on the heap.
func heap() uint64 {
	var stats runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}

// TestFlowsOfAClusterKeepWithinTheBudget: 500 owners with 50 peers each and 10 000 open connections. The whole
// receiver may take 100 MB; what the table and the making of the metrics hold at any moment is to be less than
// a third of it, as the collector of garbage lets the heap grow to twice of what is live and the kernel's maps
// and the program itself take some too.
func TestFlowsOfAClusterKeepWithinTheBudget(t *testing.T) {
	const owners, peers, open = 500, 50, 10000
	before := heap()
	p := cluster(owners, peers, open)
	p.time += interval
	p.Table.Collect(p.time, offsetNs)
	require.EqualValues(t, open, p.Stats().Live)
	collection := &wire.Collection{TimeNs: p.time, OffsetNs: offsetNs}
	main := p.Metrics.Collect(collection, p.Table)
	points := p.Metrics.Flows(collection, p.Table.Flows())
	require.Equal(t, 4*owners*peers, points.Len())

	held := heap() - before
	most, got, batches := held, 0, 0
	points.Each(func(batch pmetric.Metrics) {
		got += batch.DataPointCount()
		batches++
		bytes, err := (&pmetric.ProtoMarshaler{}).MarshalMetrics(batch)
		require.NoError(t, err)
		assert.Less(t, len(bytes), 3<<20, "a gRPC server takes 4 MiB")
		if batches%5 == 0 {
			most = max(most, heap()-before)
		}
	})
	assert.Equal(t, points.Len(), got)
	assert.Positive(t, main.DataPointCount())
	t.Logf("%.1f MB held, %.1f MB while the metrics of flows are made in %d batches", float64(held)/1e6, float64(most)/1e6, batches)
	assert.Less(t, most, uint64(33e6))
	runtime.KeepAlive(p)
}

func TestFlowsAreCumulativeAndEachOnceInABatch(t *testing.T) {
	p := cluster(3, 1000, 3000)
	seen := map[string]int{}
	for range 2 {
		metrics := p.collect()
		each(metrics, func(resource pmetric.ResourceMetrics, metric pmetric.Metric) {
			if metric.Name() == "network.flow.io" {
				for _, point := range metric.Sum().DataPoints().All() {
					seen[fmt.Sprint(resource.Resource().Attributes().AsRaw(), point.Attributes().AsRaw())]++
				}
			}
		})
	}
	for series, times := range seen {
		assert.Equal(t, 2, times, series)
	}
	assert.Len(t, seen, 3*2*500, "499 and the overflow of each owner, both directions")
}

// BenchmarkFlows is the metrics of 25 000 flows.
func BenchmarkFlows(b *testing.B) {
	p := cluster(500, 50, 10000)
	p.Table.Collect(p.time+interval, offsetNs)
	collection := &wire.Collection{TimeNs: p.time + interval, OffsetNs: offsetNs}
	b.ReportAllocs()
	for b.Loop() {
		p.Metrics.Flows(collection, p.Table.Flows()).Each(func(pmetric.Metrics) {})
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/25000, "ns/flow")
}
