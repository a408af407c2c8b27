package receiver

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ebpfnet/ebpfnetreceiver/internal/conn"
	"github.com/ebpfnet/ebpfnetreceiver/internal/engine"
	"github.com/ebpfnet/ebpfnetreceiver/internal/l7"
	"github.com/ebpfnet/ebpfnetreceiver/internal/otlp"
	"github.com/ebpfnet/ebpfnetreceiver/internal/probe"
)

func TestTheEngineIsToldWhatTheUserWrote(t *testing.T) {
	config, err := load(t, `
collection_interval: 5s
scope:
  network_namespaces: [self]
  cgroups: [/kubepods.slice]
  ports: {include: [80, 65535], exclude: [22]}
drops: {stack: false, events_per_second: 10}
resets: {enabled: false}
retransmits: {events_per_second: 0}
flows: {max: 1000, nat: {enabled: true}}
dns: {enabled: false, timeout: 3s, events_per_second: 7}
http: {capture_bytes: 1024, query: true, headers: [X-Request-ID], max_connections: 7, max_bytes: 400000,
  max_bytes_per_connection: 300000, max_streams: 9, spans: {ratio: 0.5, per_second: 20, keep_errors: true, keep_slower_than: 2s}}
trace: {join_networks: [10.0.0.0/8]}
metrics: {network.tcp.rtt: {enabled: false}, network.io: {enabled: true}}
counters: {groups: [tcp], complete: true, skip_host_interfaces: [veth*]}
metric_attributes: [network.peer.address]
histograms: explicit
record: {path: /tmp/recording}
hooks: {avoid: [fexit]}
ring_buffer: {size: 1048576}
`)
	require.NoError(t, err)
	assert.Equal(t, engine.Config{
		Probe: probe.Config{
			CollectionInterval: 5 * time.Second,
			Scope: probe.Scope{
				NetworkNamespaces: []string{"self"}, Cgroups: []string{"/kubepods.slice"},
				IncludePorts: []uint16{80, 65535}, ExcludePorts: []uint16{22},
			},
			Connections: true,
			Drops:       probe.Events{Enabled: true, PerSecond: 10},
			Resets:      probe.Events{Stack: true, PerSecond: 50},
			Retransmits: probe.Events{Enabled: true},
			Payload:     probe.Payload{Enabled: true, CaptureBytes: 1024},
			Stages:      true,
			StageRate:   5000,
			Datagrams:   probe.Datagrams{Flows: true, BySocket: true},
			Slow: probe.Slow{
				Read: 100 * time.Millisecond, Write: 100 * time.Millisecond, Stage: 100 * time.Millisecond,
				Softirq: 100 * time.Millisecond, ZeroWindow: 100 * time.Millisecond, PerSecond: 20,
			},
			NAT: []string{"self"},
			Counters: probe.Counters{
				Enabled: true, Groups: []string{"tcp"}, Complete: true, SkipHostDevices: []string{"veth*"},
			},
			RingBytes:  1 << 20,
			AvoidHooks: []string{"fexit"},
		},
		L7: l7.Options{
			Headers: []string{"x-request-id"}, MaxConnections: 7, MaxBytes: 400000, MaxBytesPerConnection: 300000,
			MaxPending: 9, MaxStreams: 9,
		},
		OTLP: otlp.Options{
			Version:         "1.2.3",
			Disabled:        map[string]bool{"network.tcp.rtt": true, "network.io": false},
			ExplicitBuckets: true,
			Attributes:      []string{"network.peer.address"},
			Query:           true,
			Flows:           &conn.FlowLimits{PerOwner: 500, Total: 1000},
		},
		Trace: engine.Trace{
			Ratio: 0.5, PerSecond: 20, KeepErrors: true, KeepSlowerThan: 2 * time.Second,
			JoinNetworks: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")},
		},
		DNS:    engine.DNS{Timeout: 3 * time.Second, PerSecond: 7},
		Record: "/tmp/recording",
	}, engineConfig(config, "1.2.3"))
}

func TestFlowsAreOffWhereTheUserSaysSo(t *testing.T) {
	config, err := load(t, `flows: {enabled: false}`)
	require.NoError(t, err)
	told := engineConfig(config, "")
	assert.Nil(t, told.OTLP.Flows)
	assert.Equal(t, probe.Datagrams{DNS: true}, told.Probe.Datagrams)
}

func TestAPathOfABlockThatIsOffIsNotUsed(t *testing.T) {
	config, err := load(t, `{record: {enabled: false, path: /a}, replay: {enabled: false, path: /b}}`)
	require.NoError(t, err)
	told := engineConfig(config, "")
	assert.Empty(t, told.Record)
	assert.Empty(t, told.Replay)
}

func TestZeroSpansPerSecondAreNone(t *testing.T) {
	config, err := load(t, `http: {spans: {per_second: 0}}`)
	require.NoError(t, err)
	assert.Zero(t, engineConfig(config, "").Trace.PerSecond)
}

func TestWithoutTraceNothingIsJoined(t *testing.T) {
	config, err := load(t, `trace: {enabled: false}`)
	require.NoError(t, err)
	assert.Empty(t, engineConfig(config, "").Trace.JoinNetworks)
}
