package receiver

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/confmap/confmaptest"
)

// load reads a configuration the way the Collector does: defaults, then the file, strictly, then Validate.
func load(t *testing.T, yaml string) (*Config, error) {
	t.Helper()
	retrieved, err := confmap.NewRetrievedFromYAML([]byte(yaml))
	require.NoError(t, err)
	conf, err := retrieved.AsConf()
	require.NoError(t, err)
	config := createDefaultConfig().(*Config)
	if err := conf.Unmarshal(config); err != nil {
		return nil, err
	}
	return config, confmap.Validate(config)
}

func TestDefaultConfigIsValid(t *testing.T) {
	config, err := load(t, "")
	require.NoError(t, err)
	assert.Equal(t, createDefaultConfig(), config)
}

func TestEmptyBlocksKeepTheirDefaults(t *testing.T) {
	config, err := load(t, `
scope: {}
connections: {}
drops: {}
flows: {}
dns: {}
http: {spans: {}}
trace: {}
counters: {}
record: {}
replay: {}
hooks: {}
ring_buffer: {}
`)
	require.NoError(t, err)
	assert.Equal(t, createDefaultConfig(), config)
}

func TestBlocksWithoutAValueKeepTheirDefaults(t *testing.T) {
	config, err := load(t, "drops:\nhttp:\nscope:\n")
	require.NoError(t, err)
	assert.Equal(t, createDefaultConfig(), config)
}

func TestEveryKeyIsRead(t *testing.T) {
	conf, err := confmaptest.LoadConf("testdata/config.yaml")
	require.NoError(t, err)
	config := createDefaultConfig().(*Config)
	require.NoError(t, conf.Unmarshal(config))
	require.NoError(t, confmap.Validate(config))
	assert.Equal(t, &Config{
		CollectionInterval: 5 * time.Second,
		Scope: ScopeConfig{
			NetworkNamespaces: []string{"self", "/var/run/netns/x", "4026531840"},
			Cgroups:           []string{"/kubepods.slice"},
			Ports:             PortsConfig{Include: []int{80, 443}, Exclude: []int{22}},
		},
		Drops:       EventsConfig{Enabled: true, EventsPerSecond: 10},
		Resets:      EventsConfig{Stack: true, EventsPerSecond: 50},
		Flows:       FlowsConfig{MaxPerOwner: 10, Max: 100, NAT: NATConfig{Enabled: true, NetworkNamespaces: []string{"/var/run/netns/x"}}},
		Stages:      StagesConfig{MaxPerSecond: 1000},
		DNS:         DNSConfig{Enabled: true, Timeout: 2 * time.Second, EventsPerSecond: 3},
		Retransmits: EventsConfig{Enabled: true, Stack: true},
		HTTP: HTTPConfig{
			Enabled: true, CaptureBytes: 1024, Spans: SpansConfig{Ratio: 0.1, PerSecond: 5, KeepErrors: true, KeepSlowerThan: 500 * time.Millisecond},
			MaxConnections: 100, MaxBytes: 1000000, MaxBytesPerConnection: 300000, MaxStreams: 10,
			Query: true, Headers: []string{"x-request-id"},
		},
		Slow: SlowConfig{
			Read: time.Second, Write: 2 * time.Second, Stage: 3 * time.Second, Softirq: 4 * time.Second,
			ZeroWindow: 5 * time.Second, Stack: true, EventsPerSecond: 3,
		},
		Trace: TraceConfig{JoinNetworks: []string{"10.0.0.0/8"}},
		Counters: CountersConfig{
			Enabled: true, Groups: []string{"tcp", "sockets"}, Complete: true, SkipHostInterfaces: []string{"veth*"},
		},
		Metrics:          map[string]MetricConfig{"network.tcp.rtt": {}, "network.io": {Enabled: true}},
		MetricAttributes: []string{"network.peer.address"},
		Histograms:       "explicit",
		Record:           RecordConfig{Enabled: true, Path: "/tmp/recording"},
		Replay:           ReplayConfig{Path: "/tmp/other"},
		Hooks:            HooksConfig{Avoid: []string{"fexit", "kprobe/tcp_sendmsg"}},
		RingBuffer:       RingBufferConfig{Size: 1 << 20},
	}, config)
}

func TestBadConfigurationsAreRefused(t *testing.T) {
	for _, test := range []struct {
		name, yaml string
		want       []string // the key, the value and the remedy
	}{
		{"unknown key", `colection_interval: 1s`, []string{"colection_interval: unknown key", "collection_interval, "}},
		{"unknown group of counters", `counters: {groups: [tcp, tcpext]}`,
			[]string{"counters::groups::1", `"tcpext"`, "use any of tcp, mptcp, udp"}},
		{"bad pattern", `counters: {skip_host_interfaces: ["[a"]}`,
			[]string{"counters::skip_host_interfaces::0", `"[a"`, "use a pattern such as veth*"}},
		{"unknown key in a block", `http: {spans: {rate: 1}}`, []string{"http::spans::rate: unknown key", "per_second, ratio"}},
		{"zero interval", `collection_interval: 0s`, []string{"collection_interval: invalid value 0s", "10s"}},
		{"negative interval", `collection_interval: -1s`, []string{"collection_interval: invalid value -1s"}},
		{"interval that is no duration", `collection_interval: soon`, []string{"collection_interval", "invalid duration"}},
		{"negative rate", `drops: {events_per_second: -1}`,
			[]string{"drops::events_per_second: invalid value -1", "use 0 or more", "0 has the metrics but no log records"}},
		{"rate without end", `resets: {events_per_second: .inf}`,
			[]string{"resets::events_per_second: invalid value +Inf"}},
		{"rate that is no number", `retransmits: {events_per_second: .nan}`,
			[]string{"retransmits::events_per_second: invalid value NaN"}},
		{"flows of an owner", `flows: {max_per_owner: 1}`, []string{"flows::max_per_owner: invalid value 1", "2 or more"}},
		{"flows", `flows: {max: -5}`, []string{"flows::max: invalid value -5", "enabled: false"}},
		{"namespace of NAT", `flows: {nat: {network_namespaces: [x]}}`,
			[]string{`flows::nat::network_namespaces::0: invalid value "x"`, "/var/run/netns/x"}},
		{"NAT nowhere", `flows: {nat: {enabled: true, network_namespaces: []}}`, []string{"flows::nat::network_namespaces", "such as self"}},
		{"timeout of lookups", `dns: {timeout: 0s}`, []string{"dns::timeout: invalid value 0s", "such as 5s"}},
		{"few timed packets", `stages: {max_per_second: 999}`,
			[]string{"stages::max_per_second: invalid value 999", "use 1000 or more"}},
		{"rate of lookups", `dns: {events_per_second: -1}`, []string{"dns::events_per_second: invalid value -1"}},
		{"rate of spans", `http: {spans: {per_second: -5}}`, []string{"http::spans::per_second: invalid value -5"}},
		{"ratio", `http: {spans: {ratio: 1.5}}`, []string{"http::spans::ratio: invalid value 1.5", "0 (no spans) to 1"}},
		{"ratio that is no number", `http: {spans: {ratio: .nan}}`, []string{"http::spans::ratio: invalid value NaN"}},
		{"slow by less than nothing", `http: {spans: {keep_slower_than: -1s}}`,
			[]string{"http::spans::keep_slower_than: invalid value -1s", "500ms"}},
		{"no connections", `http: {max_connections: 0}`, []string{"http::max_connections: invalid value 0", "enabled: false"}},
		{"too little memory", `http: {max_bytes: 1000}`, []string{"http::max_bytes: invalid value 1000", "262144 or more"}},
		{"too little memory each", `http: {max_bytes_per_connection: 1000}`, []string{"http::max_bytes_per_connection: invalid value 1000"}},
		{"no streams", `http: {max_streams: -1}`, []string{"http::max_streams: invalid value -1"}},
		{"capture too small", `http: {capture_bytes: 255}`, []string{"http::capture_bytes: invalid value 255", "256 to 262144"}},
		{"capture too large", `http: {capture_bytes: 262145}`, []string{"http::capture_bytes: invalid value 262145"}},
		{"header that is no token", `http: {headers: [ok, "x y"]}`, []string{`http::headers::1: invalid value "x y"`}},
		{"pseudo-header", `http: {headers: [":path"]}`, []string{`http::headers::0: invalid value ":path"`}},
		{"empty header", `http: {headers: [""]}`, []string{`http::headers::0: invalid value ""`}},
		{"bad CIDR", `trace: {join_networks: [10.0.0.0/8, 10.0.0.0/33]}`,
			[]string{`trace::join_networks::1: invalid value "10.0.0.0/33"`, "10.0.0.0/8"}},
		{"address without prefix", `trace: {join_networks: [10.0.0.1]}`, []string{`trace::join_networks::0`}},
		{"bits beyond the prefix", `trace: {join_networks: [10.1.2.3/8]}`,
			[]string{`trace::join_networks::0: invalid value "10.1.2.3/8"`, "use 10.0.0.0/8"}},
		{"port too large", `scope: {ports: {include: [70000]}}`,
			[]string{"scope::ports::include::0: invalid value 70000", "1 to 65535"}},
		{"port zero", `scope: {ports: {exclude: [0]}}`, []string{"scope::ports::exclude::0: invalid value 0"}},
		{"port both in and out", `scope: {ports: {include: [80], exclude: [22, 80]}}`,
			[]string{"scope::ports::exclude::1: invalid value 80", "scope::ports::include too"}},
		{"relative namespace", `scope: {network_namespaces: [self, web]}`,
			[]string{`scope::network_namespaces::1: invalid value "web"`, "/var/run/netns/x"}},
		{"namespace zero", `scope: {network_namespaces: ["0"]}`, []string{`scope::network_namespaces::0`}},
		{"relative cgroup", `scope: {cgroups: [kubepods]}`, []string{`scope::cgroups::0: invalid value "kubepods"`}},
		{"cgroup that climbs", `scope: {cgroups: [/a/../b]}`, []string{`scope::cgroups::0: invalid value "/a/../b"`}},
		{"unknown metric", `metrics: {network.tcp.rt: {enabled: false}}`,
			[]string{`metrics: invalid value "network.tcp.rt"`, "network.tcp.rtt"}},
		{"unknown key of a metric", `metrics: {network.tcp.rtt: {on: false}}`, []string{"metrics::network.tcp.rtt::on: unknown key: use any of enabled"}},
		{"unknown metric attribute", `metric_attributes: [network.type, pod]`,
			[]string{`metric_attributes::1: invalid value "pod"`, "network.peer.address"}},
		{"histograms", `histograms: linear`, []string{`histograms: invalid value "linear"`, "exponential or explicit"}},
		{"record and replay", `{record: {path: /a}, replay: {path: /b}}`,
			[]string{`record::path: invalid value "/a"`, `replay::path is "/b"`}},
		{"unknown hook kind", `hooks: {avoid: [fexit, uprobe]}`, []string{`hooks::avoid::1: invalid value "uprobe"`, "kretprobe"}},
		{"hook without a name", `hooks: {avoid: [fexit/]}`, []string{`hooks::avoid::0: invalid value "fexit/"`}},
		{"ring buffer not a power of two", `ring_buffer: {size: 100000}`, []string{"ring_buffer::size: invalid value 100000"}},
		{"ring buffer too small", `ring_buffer: {size: 4096}`, []string{"ring_buffer::size: invalid value 4096"}},
		{"two problems at once", `{collection_interval: 0s, histograms: x}`, []string{"collection_interval", "histograms"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := load(t, test.yaml)
			require.Error(t, err)
			for _, want := range test.want {
				assert.ErrorContains(t, err, want)
			}
		})
	}
}

func TestRecordAndReplayMayBothStandThereWhenOneIsOff(t *testing.T) {
	_, err := load(t, `{record: {path: /a, enabled: false}, replay: {path: /b}}`)
	assert.NoError(t, err)
}

func TestAMetricWithoutEnabledIsOn(t *testing.T) {
	config, err := load(t, `metrics: {network.tcp.rtt: {}}`)
	require.NoError(t, err)
	assert.True(t, config.Metrics["network.tcp.rtt"].Enabled)
}

func TestValidateNeedsNoConfmap(t *testing.T) {
	config := createDefaultConfig().(*Config)
	config.HTTP.Spans.Ratio = math.NaN()
	assert.ErrorContains(t, config.Validate(), "http::spans::ratio")
}
