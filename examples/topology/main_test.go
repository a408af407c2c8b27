package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pmetric"
)

// batch is what the receiver and k8s_attributes make of one flow, both directions of 100 bytes.
func batch(t *testing.T, pod, address string, point map[string]any) string {
	t.Helper()
	metrics := pmetric.NewMetrics()
	resource := metrics.ResourceMetrics().AppendEmpty()
	require.NoError(t, resource.Resource().Attributes().FromRaw(map[string]any{
		"k8s.namespace.name": "shop", "k8s.pod.name": pod, "k8s.pod.ip": address,
	}))
	metric := resource.ScopeMetrics().AppendEmpty().Metrics().AppendEmpty()
	metric.SetName("network.flow.io")
	points := metric.SetEmptySum().DataPoints()
	for _, direction := range []string{"transmit", "receive"} {
		p := points.AppendEmpty()
		require.NoError(t, p.Attributes().FromRaw(point))
		p.Attributes().PutStr("network.io.direction", direction)
		p.SetIntValue(100)
	}
	line, err := (&pmetric.JSONMarshaler{}).MarshalMetrics(metrics)
	require.NoError(t, err)
	return string(line) + "\n"
}

func TestEachConversationIsDrawnOnceWithBothNames(t *testing.T) {
	client := batch(t, "web", "10.2.0.1", map[string]any{
		"network.peer.address": "10.2.0.2", "server.address": "10.96.0.10", "server.port": 80, "network.flow.role": "client",
	})
	in := client + client + // the next collection: sums are cumulative
		batch(t, "api", "10.2.0.2", map[string]any{
			"network.peer.address": "10.2.0.1", "server.port": 8080, "network.flow.role": "server",
		}) +
		batch(t, "web", "10.2.0.1", map[string]any{
			"network.peer.address": "192.0.2.7", "server.port": 80, "network.flow.role": "server",
		}) +
		batch(t, "web", "10.2.0.1", map[string]any{"otel.metric.overflow": true})
	var out bytes.Buffer
	require.NoError(t, run(strings.NewReader(in), &out))
	assert.Equal(t, `digraph flows {
  "192.0.2.7" -> "shop/web" [label=":80 200 B"];
  "shop/web" -> "shop/api as 10.96.0.10" [label=":80 200 B"];
}
`, out.String())
}

func TestWhatIsNoMetricsIsNamed(t *testing.T) {
	assert.ErrorContains(t, run(strings.NewReader("{}\nnonsense\n"), &bytes.Buffer{}), "line 2")
}
