package otlp

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ebpfnet/ebpfnetreceiver/internal/l7/dns"
	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

// lookup is one of the pod's that took 3 ms.
func lookup(kind uint16, rcode uint8) *dns.Lookup {
	return &dns.Lookup{
		Owner: wire.OwnerRef{CgroupID: podCgroup, TGID: 80}, Comm: "nginx", Server: netip.MustParseAddrPort("10.96.0.10:53"),
		Transport: 17, Name: "api.example", Type: kind, RCode: rcode, Questions: 1,
		StartNs: startNs + 1e9, EndNs: startNs + 1e9 + 3e6,
	}
}

func TestALookupThatFailedIsALogRecord(t *testing.T) {
	logs := NewLogs(Options{}, environment)
	logs.SetOffset(offsetNs)
	logs.LookupFailed(lookup(28, 2))
	require.Equal(t, 1, logs.Len())
	resource := logs.Take().ResourceLogs().At(0)
	assert.Equal(t, pod.PodUID, resource.Resource().Attributes().AsRaw()["k8s.pod.uid"])
	record := resource.ScopeLogs().At(0).LogRecords().At(0)
	assert.Equal(t, "dns.lookup.failed", record.EventName())
	assert.Equal(t, "Lookup of api.example (AAAA) at 10.96.0.10 failed: SERVFAIL", record.Body().Str())
	assert.Equal(t, map[string]any{
		"dns.question.name": "api.example", "dns.question.type": "AAAA", "error.type": "SERVFAIL",
		"dns.lookup.duration": 0.003, "dns.lookup.questions": int64(1),
		"server.address": "10.96.0.10", "server.port": int64(53), "network.transport": "udp",
		"process.pid": int64(80), "process.executable.name": "nginx",
	}, record.Attributes().AsRaw())
}

func TestTypesThatSomeoneMakesUpAreCountedTogether(t *testing.T) {
	p := newPipeline(Options{})
	for kind := range uint16(5000) {
		p.Lookup(lookup(kind, 0))
	}
	metrics := p.collect()
	points := find(t, metrics, "dns.lookup.duration").ExponentialHistogram().DataPoints()
	assert.Equal(t, maxLookupSets, points.Len())
	count := uint64(0)
	for _, point := range points.All() {
		count += point.Count()
	}
	assert.EqualValues(t, 5000, count)
}
