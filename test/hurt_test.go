//go:build linux && (amd64 || arm64)

package kerneltest

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"
)

// The 50th of the large packets is lost, once. Answers of fileSize are 14 of these each.
const lossOfOne = `table inet loss {
	counter lost {}
	chain in {
		type filter hook input priority 0;
		tcp sport 80 meta length > 1000 numgen inc mod 100000 49 counter name lost drop
	}
}`

func TestALostPacketCarriesTheTraceOfTheCallItHurt(t *testing.T) {
	n := newNetwork(t)
	n.client.firewall(lossOfOne)
	for _, end := range []*namespace{n.client, n.server} {
		end.ip("link", "set", "eth0", "gso_max_segs", "1") // as many packets as there are segments
	}
	server := startNginx(t, n.server, n.server.at4(80))
	o := observe(t, n.settings())
	before, clientBefore := n.server.nstat(), n.client.nstat()
	browser := browse(n.client.dial(server.at))
	const calls, hit = 8, 3
	for i := range calls {
		_, err := browser.ask("GET", fmt.Sprintf("/file/%d", i), "")
		require.NoError(t, err)
	}
	again := n.server.since(before)["TcpRetransSegs"]
	clientAgain := n.client.since(clientBefore)["TcpRetransSegs"]
	o.stop()

	require.Positive(t, again)
	traces, sentAgain := map[pcommon.TraceID]bool{}, int64(0)
	for i := range calls {
		client, server := o.bothSpans(fmt.Sprintf("/file/%d", i))
		traces[server.TraceID()] = true
		lost, ok := client.Attributes().Get("ebpfnet.tcp.retransmits")
		require.True(t, ok)
		sentAgain += lost.Int()
	}
	assert.Equal(t, clientAgain, sentAgain, "what the client sent again")
	// Where an acknowledgment takes long, something is sent again that was not lost: of that call then.
	_, span := o.bothSpans(fmt.Sprintf("/file/%d", hit))
	ofHit := int64(0)
	for _, event := range o.events("network.tcp.retransmit", "source.port", 80) {
		assert.True(t, traces[event.TraceID()], event.Body().Str())
		if event.TraceID() == span.TraceID() {
			assert.Equal(t, span.SpanID(), event.SpanID(), event.Body().Str())
			ofHit++
		}
	}
	require.Positive(t, ofHit)
	if again+clientAgain == 1 {
		assert.Equal(t, []pcommon.TraceID{span.TraceID()}, o.exemplars("network.tcp.retransmits"))
	}
	for _, name := range []string{"network.tcp.rtt", "http.server.request.duration", "http.client.request.duration"} {
		found := o.exemplars(name)
		assert.NotEmpty(t, found, name)
		for _, trace := range found {
			assert.True(t, traces[trace], "%s: %s", name, trace)
		}
	}
}

// exemplars are the traces that points of a metric name.
func (o *observer) exemplars(name string) (traces []pcommon.TraceID) {
	o.t.Helper()
	take := func(of pmetric.ExemplarSlice) {
		for _, e := range of.All() {
			assert.False(o.t, e.SpanID().IsEmpty())
			traces = append(traces, e.TraceID())
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, batch := range o.metrics {
		for _, resource := range batch.ResourceMetrics().All() {
			for _, scope := range resource.ScopeMetrics().All() {
				for _, metric := range scope.Metrics().All() {
					if metric.Name() != name {
						continue
					}
					switch metric.Type() {
					case pmetric.MetricTypeSum:
						for _, point := range metric.Sum().DataPoints().All() {
							take(point.Exemplars())
						}
					case pmetric.MetricTypeExponentialHistogram:
						for _, point := range metric.ExponentialHistogram().DataPoints().All() {
							take(point.Exemplars())
						}
					}
				}
			}
		}
	}
	return traces
}
