package otlp

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/ebpfnet/ebpfnetreceiver/internal/l7"
	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

// What a call's place is remembered by must be all that decides it.
func TestACallGoesWhereItWouldIfNoneWereRemembered(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	one := func(of ...string) string { return of[random.IntN(len(of))] }
	p := bothEnds()
	all := func() *budget { left := budget(1 << 20); return &left }
	var remembering calls
	want := map[callSet]uint64{}
	hits := 0
	call := &l7.Call{StartNs: 1, EndNs: 2}
	for range 50000 { // each differs in one from the one before
		switch random.IntN(11) {
		case 0:
			call.Server = !call.Server
		case 1:
			call.Method = one("GET", "POST", "FROB", "FRUB", "")
		case 2:
			call.Status = []int{0, 200, 404, 500}[random.IntN(4)]
		case 3:
			call.Scheme = one("", "http", "https")
		case 4:
			call.ProtocolVersion = one("1.1", "2")
		case 5:
			call.Error = one("", "", "CANCEL", "RESETS")
		case 6:
			call.Authority = one("shop", "shop:1", "shop:2", "", ":", "[::1]:8080", strings.Repeat("x", 200))
		case 7:
			call.Target = one("/", "/a.B/C", "/a.B/D", "/a.B/DD", "http://other/", "*", "")
		case 8:
			call.RPC = one("", "grpc")
		case 9:
			call.RPCStatus = one("OK", "NOT_FOUND", "INTERNAL", "", "99")
		}
		connection := p.get(1)
		if call.Server {
			connection = p.get(2)
		}
		if parts, plain := said(call); plain && remembering.recent != nil && remembering.recent.slot(call, &parts).is(call, &parts) {
			hits++
		}
		remembering.add(call, connection, &Options{MaxSets: 1 << 20}, all())
		want[setOf(call, connection)]++
	}
	require.Greater(t, hits, 200)
	require.Len(t, remembering.sets, len(want))
	for set, n := range want {
		require.NotNil(t, remembering.sets[set])
		require.Equal(t, n, remembering.sets[set].Count, "%+v", set)
	}
}

func TestCallsBeyondTheLimitOfAllOwnersFoldToo(t *testing.T) {
	p := newPipeline(Options{MaxAllSets: 10})
	const owners = 8
	for i := range uint64(owners) {
		r := client(i, startNs+1e9, wire.RecordConnOpen)
		r.Owner.TGID += uint32(i)
		p.Conn(r)
		for status := range 20 {
			call := get(i, false)
			call.Status = 200 + status
			p.Call(call, p.get(i))
		}
	}
	check := func() (total uint64) {
		sets := 0
		for entry := range p.calls.All {
			sets += len(entry.Value.sorted)
			for _, set := range entry.Value.sorted {
				total += entry.Value.sets[set].Count
			}
		}
		assert.LessOrEqual(t, sets, 10+owners)
		return total
	}
	assert.EqualValues(t, 20*owners, check())
	p.collect()
	call := get(1, false)
	call.Method = "PUT"
	p.Call(call, p.get(1))
	assert.EqualValues(t, 20*owners+1, check())
}

func TestWhatIsLongerThanANameIsNoAttribute(t *testing.T) {
	p := bothEnds()
	long := strings.Repeat("x", 300)
	for _, change := range []func(*l7.Call){
		func(c *l7.Call) { c.Authority = long },
		func(c *l7.Call) { c.RPC, c.Target = "grpc", "/a/"+long },
		func(c *l7.Call) { c.RPC, c.Target, c.RPCStatus = "grpc", "/a/b", long },
	} {
		call := get(1, false)
		change(call)
		p.Call(call, p.get(1))
	}
	overflown := 0
	each(p.collect(), func(_ pmetric.ResourceMetrics, metric pmetric.Metric) {
		if !strings.HasSuffix(metric.Name(), "duration") || metric.Type() != pmetric.MetricTypeExponentialHistogram {
			return
		}
		for _, point := range metric.ExponentialHistogram().DataPoints().All() {
			if _, overflow := point.Attributes().Get(attrOverflow); overflow {
				overflown += int(point.Count())
			}
		}
	})
	assert.Equal(t, 3, overflown)
}

// Calls of gRPC are counted where those of HTTP are switched off.
func TestEachCallMetricIsSwitchedOffAlone(t *testing.T) {
	p := newPipeline(Options{Disabled: map[string]bool{"http.server.request.duration": true, "http.client.request.duration": true}})
	p.Conn(client(1, startNs+1e9, wire.RecordConnOpen))
	call := get(1, false)
	p.Call(call, p.get(1))
	call.RPC, call.Target = "grpc", "/a.B/C"
	p.Call(call, p.get(1))
	metrics := p.collect()
	assert.EqualValues(t, 1, find(t, metrics, "rpc.client.call.duration").ExponentialHistogram().DataPoints().At(0).Count())
	each(metrics, func(_ pmetric.ResourceMetrics, metric pmetric.Metric) {
		assert.NotEqual(t, "http.client.request.duration", metric.Name())
	})
}
