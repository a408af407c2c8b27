package otlp

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

// allCounters has one of each that becomes a metric of its own, and of each table.
func allCounters() (all []wire.Counter) {
	for _, group := range []wire.CounterGroup{
		wire.CounterTCP, wire.CounterMPTCP, wire.CounterUDP, wire.CounterUDP6, wire.CounterIP, wire.CounterIP6, wire.CounterICMP,
		wire.CounterICMP6, wire.CounterConntrack, wire.CounterRDMA,
	} {
		all = append(all, wire.Counter{Group: group, Name: "InErrors", Value: uint64(group)})
	}
	for name := range counterMeanings {
		c := wire.Counter{Group: name.group, Name: name.name, Value: 7}
		switch c.Group {
		case wire.CounterInterface:
			c.Device = "eth0"
		case wire.CounterQdisc:
			c.Device, c.Kind = "eth0", "fq_codel"
		case wire.CounterListener:
			c.Port = 8080
		}
		all = append(all, c)
	}
	return all
}

// series gives the start and value of each point of a metric by the counter's name.
func series(t *testing.T, metrics pmetric.Metrics, name string) (starts, values map[string]uint64) {
	t.Helper()
	starts, values = map[string]uint64{}, map[string]uint64{}
	for _, point := range find(t, metrics, name).Sum().DataPoints().All() {
		counter, _ := point.Attributes().Get(attrCounterName)
		starts[counter.Str()], values[counter.Str()] = uint64(point.StartTimestamp()), uint64(point.IntValue())
	}
	return starts, values
}

func wallOf(timeNs uint64) uint64 { return timeNs + uint64(offsetNs) }

func TestACounterBeginsWithItsNamespaceAndAnewWhereItFell(t *testing.T) {
	p := newPipeline(Options{})
	counters := func(identity, drops, syns uint64) {
		p.namespaces = []wire.NamespaceCounters{{
			Inode: podNetns, Identity: identity, ZeroNs: startNs - 50e9,
			Counters: []wire.Counter{
				{Group: wire.CounterTCP, Name: "ListenDrops", Value: drops},
				{Group: wire.CounterTCP, Name: "TCPSynRetrans", Value: syns},
			},
		}}
	}
	began := wallOf(startNs - 50e9)
	counters(1, 5, 0)
	starts, values := series(t, p.collect(), "network.tcp.counter")
	assert.Equal(t, map[string]uint64{"ListenDrops": began}, starts, "what is zero is not told")
	assert.Equal(t, map[string]uint64{"ListenDrops": 5}, values)
	first := wallOf(p.time)

	counters(1, 6, 2)
	starts, values = series(t, p.collect(), "network.tcp.counter")
	assert.Equal(t, map[string]uint64{"ListenDrops": began, "TCPSynRetrans": first}, starts, "it was zero then")
	assert.Equal(t, map[string]uint64{"ListenDrops": 6, "TCPSynRetrans": 2}, values)
	second := wallOf(p.time)

	counters(1, 4, 2)
	starts, values = series(t, p.collect(), "network.tcp.counter")
	assert.Equal(t, map[string]uint64{"ListenDrops": second, "TCPSynRetrans": first}, starts, "one fell")
	assert.EqualValues(t, 4, values["ListenDrops"])
	counters(1, 9, 2)
	starts, _ = series(t, p.collect(), "network.tcp.counter")
	assert.Equal(t, second, starts["ListenDrops"], "and goes on from there")

	counters(2, 9, 2)
	p.namespaces[0].ZeroNs = p.time
	last := wallOf(p.time)
	starts, _ = series(t, p.collect(), "network.tcp.counter")
	assert.Equal(t, map[string]uint64{"ListenDrops": last, "TCPSynRetrans": last}, starts, "another namespace of the same number")
}

func TestANumberThatFallsToZeroIsTold(t *testing.T) {
	p := newPipeline(Options{})
	for i, established := range []uint64{0, 3, 0} {
		p.namespaces = []wire.NamespaceCounters{{Inode: podNetns, Identity: 1, Counters: []wire.Counter{
			{Group: wire.CounterSocket, Name: "CurrEstab", Value: established},
		}}}
		got := p.collect()
		if i == 0 {
			assert.Zero(t, got.DataPointCount(), "nothing was ever there")
			continue
		}
		point := find(t, got, "network.socket.count").Sum().DataPoints().At(0)
		assert.EqualValues(t, established, point.IntValue())
	}
}

func TestTheHostsCountersAreNoPods(t *testing.T) {
	p := newPipeline(Options{})
	one := []wire.Counter{{Group: wire.CounterTCP, Name: "ListenDrops", Value: 1}}
	p.namespaces = []wire.NamespaceCounters{
		{Inode: hostNetns, Identity: 1, Counters: one}, {Inode: podNetns, Identity: 2, Counters: one}, {Inode: 5, Identity: 3, Counters: one},
	}
	resources := map[string]int{}
	each(p.collect(), func(resource pmetric.ResourceMetrics, _ pmetric.Metric) {
		key := ""
		for _, name := range []string{attrContainerID, attrPodUID, attrNetnsHost, attrNetnsInode} {
			if value, ok := resource.Resource().Attributes().Get(name); ok {
				key += name + "=" + value.AsString() + " "
			}
		}
		resources[key]++
	})
	assert.Equal(t, map[string]int{
		"k8s.pod.uid=" + pod.PodUID + " ":                                                 1,
		"ebpfnet.network.namespace.host=true ebpfnet.network.namespace.inode=4026531841 ": 1,
		"ebpfnet.network.namespace.inode=5 ":                                              1,
	}, resources)
}

func TestEveryCounterIsOneMetricWithAttributesThatTellItApart(t *testing.T) {
	p := newPipeline(Options{})
	p.namespaces = []wire.NamespaceCounters{{Inode: hostNetns, Identity: 1, Counters: allCounters()}}
	told := 0
	each(p.collect(), func(_ pmetric.ResourceMetrics, metric pmetric.Metric) {
		seen := map[string]bool{}
		points(metric, func(attributes pcommon.Map) {
			key := ""
			for name, value := range attributes.All() {
				key += name + "=" + value.AsString() + " "
			}
			require.False(t, seen[key], "%s %s", metric.Name(), key)
			seen[key] = true
			told++
		})
	})
	assert.Len(t, allCounters(), told)
}

// BenchmarkNamespaces is a full node: 110 pods of 60 counters.
func BenchmarkNamespaces(b *testing.B) {
	p := newPipeline(Options{})
	for i := range uint32(110) {
		p.namespaces = append(p.namespaces, wire.NamespaceCounters{Inode: 100 + i, Identity: uint64(i), Counters: allCounters()})
	}
	b.ReportAllocs()
	for b.Loop() {
		p.collect()
	}
}
