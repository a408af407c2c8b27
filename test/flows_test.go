//go:build linux && (amd64 || arm64)

package kerneltest

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/ebpfnet/ebpfnetreceiver/internal/conn"
	"github.com/ebpfnet/ebpfnetreceiver/internal/engine"
)

// flowSettings are those of both ends, with flows.
func (n *network) flowSettings() engine.Config {
	config := n.settings()
	config.OTLP.Flows = &conn.FlowLimits{}
	return config
}

// flows calls f for the points of the newest batch that holds flows.
func (o *observer) flows(name string, f func(pmetric.NumberDataPoint, pcommon.Map)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for i := len(o.metrics) - 1; i >= 0; i-- {
		found := false
		for _, resource := range o.metrics[i].ResourceMetrics().All() {
			for _, metric := range resource.ScopeMetrics().At(0).Metrics().All() {
				if metric.Name() == name {
					found = true
					for _, point := range metric.Sum().DataPoints().All() {
						f(point, resource.Resource().Attributes())
					}
				}
			}
		}
		if found {
			return
		}
	}
}

// flow is what both ss and the flows say of one end.
func (o *observer) flow(peer netip.Addr, role string, port int) transfer {
	of := func(name, direction string) (total int64) {
		of := where{
			"network.peer.address", peer, "network.flow.role", role, "server.port", port,
			"network.transport", "tcp", "network.io.direction", direction,
		}
		o.flows(name, func(point pmetric.NumberDataPoint, resource pcommon.Map) {
			if of.matches(point.Attributes(), resource) {
				total += point.IntValue()
			}
		})
		return total
	}
	return transfer{
		of("network.flow.io", "transmit"), of("network.flow.io", "receive"),
		of("network.flow.packets", "transmit"), of("network.flow.packets", "receive"),
	}
}

func TestFlowsOfLiveConnectionsAgreeWithSS(t *testing.T) {
	n := newNetwork(t)
	o := observe(t, n.flowSettings())
	for _, c := range []struct {
		port           int
		pair           pair
		up, down       int
		client, server netip.Addr
	}{
		{7200, n.connect(n.server.listen("tcp4", n.server.at4(7200))), 900_000, 100, n.client.v4, n.server.v4},
		{7201, n.connect(n.server.listen("tcp6", n.server.at6(7201))), 1, 300_000, n.client.v6, n.server.v6},
	} {
		require.NoError(t, move(c.pair.client, c.pair.server, c.up))
		require.NoError(t, move(c.pair.server, c.pair.client, c.down))
		witness := n.ends(c.port)
		eventuallyEqual(t, fmt.Sprintf("the client's flow of port %d is as ss says", c.port),
			func() transfer { return witness["client"]().transfer() },
			func() transfer { return o.flow(c.server, "client", c.port) })
		eventuallyEqual(t, fmt.Sprintf("the server's flow of port %d is as ss says", c.port),
			func() transfer { return witness["server"]().transfer() },
			func() transfer { return o.flow(c.client, "server", c.port) })
		assert.EqualValues(t, c.up, o.flow(c.server, "client", c.port).Sent)
		assert.EqualValues(t, c.down, o.flow(c.client, "server", c.port).Sent)
	}
}

func TestFlowsOfManyShortConnectionsAreOnePerService(t *testing.T) {
	n := newNetwork(t)
	o := observe(t, n.flowSettings())
	listener := n.server.listen("tcp4", n.server.at4(7200))
	const connections, bytes = 30, 1000
	for range connections {
		p := n.connect(listener)
		require.NoError(t, move(p.client, p.server, bytes))
		require.NoError(t, move(p.server, p.client, 2*bytes))
		require.NoError(t, p.closeBy(p.client, p.server))
	}
	eventually(t, "all connections are closed", func() bool { return len(n.stateCounts()) == 0 })
	o.stop()
	client, server := o.flow(n.server.v4, "client", 7200), o.flow(n.client.v4, "server", 7200)
	assert.EqualValues(t, connections*bytes, client.Sent)
	assert.EqualValues(t, connections*2*bytes, client.Received)
	assert.EqualValues(t, connections*bytes, server.Received)
	assert.EqualValues(t, connections*2*bytes, server.Sent)
	series := map[string]bool{}
	o.flows("network.flow.packets", func(point pmetric.NumberDataPoint, _ pcommon.Map) {
		series[fmt.Sprint(point.Attributes().AsRaw())] = true
		assert.Equal(t, "7200", text(point.Attributes(), "server.port"), "never that of the client")
		assert.Less(t, point.StartTimestamp(), point.Timestamp())
	})
	assert.Len(t, series, 4, "two ends, two directions, however many connections: %v", series)
}
