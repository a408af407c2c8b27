package receiver

import (
	"slices"
	"strconv"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/confmap"
)

// Config is what stands under receivers::ebpf_net. The zero value of a block is not its default: see
// createDefaultConfig. A key that is not here is refused when the file is read.
type Config struct {
	// CollectionInterval is the time between two readings of all connections and counters.
	CollectionInterval time.Duration `mapstructure:"collection_interval"`

	Scope       ScopeConfig       `mapstructure:"scope"`
	Connections ConnectionsConfig `mapstructure:"connections"`
	Drops       EventsConfig      `mapstructure:"drops"`
	Resets      EventsConfig      `mapstructure:"resets"`
	Retransmits EventsConfig      `mapstructure:"retransmits"`
	Flows       FlowsConfig       `mapstructure:"flows"`
	Stages      StagesConfig      `mapstructure:"stages"`
	DNS         DNSConfig         `mapstructure:"dns"`
	Slow        SlowConfig        `mapstructure:"slow"`
	HTTP        HTTPConfig        `mapstructure:"http"`
	Trace       TraceConfig       `mapstructure:"trace"`
	Counters    CountersConfig    `mapstructure:"counters"`

	// Metrics switches single metrics off, by name; what is not listed is on.
	Metrics map[string]MetricConfig `mapstructure:"metrics"`
	// MetricAttributes adds attributes to the metrics of connections that are off because each multiplies
	// the number of series: see "opt-in" in documentation.md.
	MetricAttributes []string `mapstructure:"metric_attributes"`
	// Histograms is how distributions are sent: "exponential", or "explicit" for backends without
	// exponential histograms.
	Histograms string `mapstructure:"histograms"`

	Record     RecordConfig     `mapstructure:"record"`
	Replay     ReplayConfig     `mapstructure:"replay"`
	Hooks      HooksConfig      `mapstructure:"hooks"`
	RingBuffer RingBufferConfig `mapstructure:"ring_buffer"`
}

// ScopeConfig is what the kernel half looks at; everything else costs one comparison there. Empty lists
// mean the whole host.
type ScopeConfig struct {
	// NetworkNamespaces holds "self", a path such as /var/run/netns/x, or an inode number as printed by
	// ls -Li /proc/PID/ns/net.
	NetworkNamespaces []string `mapstructure:"network_namespaces"`
	// Cgroups holds path prefixes in the cgroup v2 hierarchy, with or without its mount point.
	Cgroups []string    `mapstructure:"cgroups"`
	Ports   PortsConfig `mapstructure:"ports"`
}

// Unmarshal takes an inode number as a number too: whoever copies one from ls does not quote it.
func (c *ScopeConfig) Unmarshal(conf *confmap.Conf) error {
	const key = "network_namespaces"
	if namespaces, ok := conf.Get(key).([]any); ok {
		namespaces = slices.Clone(namespaces)
		for i, namespace := range namespaces {
			if inode, ok := namespace.(int); ok {
				namespaces[i] = strconv.Itoa(inode)
			}
		}
		if err := conf.Merge(confmap.NewFromStringMap(map[string]any{key: namespaces})); err != nil {
			return err
		}
	}
	return conf.Unmarshal(c)
}

// PortsConfig chooses connections by the port of either end. The ports are int, not uint16, so that 70000
// is refused with a sentence instead of being wrapped around.
type PortsConfig struct {
	Include []int `mapstructure:"include"` // either end has one of these; empty: all
	Exclude []int `mapstructure:"exclude"` // neither end has one of these
}

// ConnectionsConfig is the lifecycle of TCP connections and what the kernel counts for each of them.
type ConnectionsConfig struct {
	Enabled bool `mapstructure:"enabled"`
}

// StagesConfig is where packets spend their time on the way between application and wire.
type StagesConfig struct {
	Enabled bool `mapstructure:"enabled"`
	// MaxPerSecond bounds what is timed on each CPU: packets that come, packets that go, and calls that read or offer
	// bytes. What is beyond is left out of the histograms and counted. It bounds what stages cost, some 0.1 µs for each.
	// At least 1000.
	MaxPerSecond float64 `mapstructure:"max_per_second"`
}

// SlowConfig is what is reported one by one because it took long. It needs stages.
type SlowConfig struct {
	Enabled bool `mapstructure:"enabled"`
	// What takes longer is reported; 0: nothing of this kind is.
	Read    time.Duration `mapstructure:"read"`    // received data waits for its reader
	Write   time.Duration `mapstructure:"write"`   // a sender waits for room in the socket
	Stage   time.Duration `mapstructure:"stage"`   // a packet is in a stage, or a driver waits for its device
	Softirq time.Duration `mapstructure:"softirq"` // a softirq waits, or runs
	// ZeroWindow is for how long the window of either end of a connection is closed.
	ZeroWindow time.Duration `mapstructure:"zero_window"`
	// Stack adds the kernel stack to each log record.
	Stack bool `mapstructure:"stack"`
	// EventsPerSecond limits the log records of all kinds together.
	EventsPerSecond float64 `mapstructure:"events_per_second"`
}

// EventsConfig is one kind of packet event. Its metrics are exact whatever is set here; only the log
// records pass the token bucket.
type EventsConfig struct {
	Enabled bool `mapstructure:"enabled"`
	// Stack adds the kernel stack to each log record: 2 to 3 µs in the kernel for each.
	Stack bool `mapstructure:"stack"`
	// EventsPerSecond limits the log records; 0 leaves the metrics only.
	EventsPerSecond float64 `mapstructure:"events_per_second"`
}

// FlowsConfig is what each owner exchanges with each peer.
type FlowsConfig struct {
	Enabled bool `mapstructure:"enabled"`
	// MaxPerOwner and Max bound the flows of one owner and of all; what is beyond them is counted in the
	// owner's overflow flow. A flow is four points in each collection and 300 bytes of memory.
	MaxPerOwner int       `mapstructure:"max_per_owner"`
	Max         int       `mapstructure:"max"`
	NAT         NATConfig `mapstructure:"nat"`
}

// NATConfig names the real peer of connections whose destination was translated, such as the pod behind a
// service's address. It needs CAP_NET_ADMIN, and costs one system call for each connection of a client.
type NATConfig struct {
	Enabled bool `mapstructure:"enabled"`
	// NetworkNamespaces are those that translate: "self", which on a node is the host's for a pod with
	// hostNetwork, or a path such as /var/run/netns/x, for which CAP_SYS_ADMIN is needed too.
	NetworkNamespaces []string `mapstructure:"network_namespaces"`
}

// DNSConfig is lookups as the sockets of those who ask see them. Over TCP they are seen only with http enabled,
// whose tap on payload they need.
type DNSConfig struct {
	Enabled bool `mapstructure:"enabled"`
	// Timeout is how long an answer may take. A lookup without one is told of as failed after that.
	Timeout time.Duration `mapstructure:"timeout"`
	// EventsPerSecond limits the log records of failed lookups; 0 leaves the metrics only.
	EventsPerSecond float64 `mapstructure:"events_per_second"`
}

// HTTPConfig is calls parsed from what passes the sockets.
type HTTPConfig struct {
	Enabled bool `mapstructure:"enabled"`
	// CaptureBytes is how much of each burst in one direction is copied out of the kernel: the heads, and of chunked
	// content as much as its size is wanted of. Of HTTP/2, where a frame may begin anywhere, it is up to 256 KiB of
	// each call.
	CaptureBytes int         `mapstructure:"capture_bytes"`
	Spans        SpansConfig `mapstructure:"spans"`
	// Query keeps the query string in url.query, with the values of well-known credentials redacted.
	Query bool `mapstructure:"query"`
	// Headers are the only header fields whose values leave the parser.
	Headers []string `mapstructure:"headers"`
	// MaxConnections bounds the connections whose calls are followed at once. Those that speak something else
	// do not count.
	MaxConnections int `mapstructure:"max_connections"`
	// MaxBytes bounds the memory of calls in flight: what waits for missing bytes, unfinished heads, HPACK tables,
	// the text of calls; MaxBytesPerConnection that of one connection.
	MaxBytes              int `mapstructure:"max_bytes"`
	MaxBytesPerConnection int `mapstructure:"max_bytes_per_connection"`
	// MaxStreams bounds the calls of one connection that are in flight at once, pipelined or as HTTP/2 streams.
	MaxStreams int `mapstructure:"max_streams"`
}

// SpansConfig chooses which calls become spans. Metrics are made of all calls, whatever is set here.
type SpansConfig struct {
	Ratio     float64 `mapstructure:"ratio"`      // share of calls, the same ones at both ends, 0 to 1
	PerSecond float64 `mapstructure:"per_second"` // upper limit of all, 0: no spans
	// KeepErrors makes spans of failed calls whatever Ratio says: without an answer, with a status of 400 or more,
	// with a gRPC status other than OK. Both ends keep the same ones but for those that one end gave up.
	KeepErrors bool `mapstructure:"keep_errors"`
	// KeepSlowerThan makes spans of calls that took longer whatever Ratio says; 0: of none. Each end goes by the
	// duration that it sees, the client's being the longer one.
	KeepSlowerThan time.Duration `mapstructure:"keep_slower_than"`
}

// TraceConfig is how spans of one call, seen at its two ends, find each other without a header.
type TraceConfig struct {
	// Enabled false leaves every server span without trace context a root.
	Enabled bool `mapstructure:"enabled"`
	// JoinNetworks are the peers whose client span is certain to exist because this receiver watches them
	// too; a server span names a derived parent for these only.
	JoinNetworks []string `mapstructure:"join_networks"`
}

// CountersConfig is what the kernel counts for each network namespace: of pods, containers and the host.
type CountersConfig struct {
	Enabled bool `mapstructure:"enabled"`
	// Groups are read; empty: all.
	Groups []string `mapstructure:"groups"`
	// Complete takes every counter of the kernel's tables, some 400, not just those that docs/counters.md lists.
	// What is zero is not sent either way.
	Complete bool `mapstructure:"complete"`
	// Processes takes what the processes of each namespace have open, read and write. It needs CAP_SYS_PTRACE, and
	// reads three files for each process and one for each that it has open.
	Processes bool `mapstructure:"processes"`
	// SkipHostInterfaces are patterns of network devices in the host's namespace that are left out.
	SkipHostInterfaces []string `mapstructure:"skip_host_interfaces"`
}

// MetricConfig switches one metric.
type MetricConfig struct {
	Enabled bool `mapstructure:"enabled"`
}

// Unmarshal makes a metric that is listed without "enabled" keep its default, as in every other block: a
// map's value has no place in createDefaultConfig.
func (c *MetricConfig) Unmarshal(conf *confmap.Conf) error {
	c.Enabled = true
	return conf.Unmarshal(c)
}

// RecordConfig writes the raw kernel records to a file. They hold payload: the file is made with mode 0600.
type RecordConfig struct {
	Enabled bool   `mapstructure:"enabled"`
	Path    string `mapstructure:"path"` // empty: nothing is written
}

// ReplayConfig reads kernel records from a recording instead of from the kernel.
type ReplayConfig struct {
	Enabled bool   `mapstructure:"enabled"`
	Path    string `mapstructure:"path"` // empty: the kernel is read
}

// HooksConfig is for kernels on which a hook that loads misbehaves.
type HooksConfig struct {
	// Avoid names hooks never to use: a kind ("fexit") or one hook as the log at start names it
	// ("tp_btf/kfree_skb"). "shared": each part of the receiver has programs of its own, also where one could stand
	// for several.
	Avoid []string `mapstructure:"avoid"`
}

// RingBufferConfig is the buffer between the kernel half and this process, shared by all CPUs.
type RingBufferConfig struct {
	Size int `mapstructure:"size"` // bytes, a power of two
}

func (c RecordConfig) path() string {
	if !c.Enabled {
		return ""
	}
	return c.Path
}

func (c ReplayConfig) path() string {
	if !c.Enabled {
		return ""
	}
	return c.Path
}

const (
	exponentialHistograms = "exponential"
	explicitHistograms    = "explicit"
)

// defaultSlow is what a person begins to notice.
const defaultSlow = 100 * time.Millisecond

// createDefaultConfig watches the whole host with everything on.
//
//   - Retransmits carry no stack: it is nearly always the same timer or ACK path, and they are the most
//     frequent of the three events.
//   - 50 events per second and kind are enough to see what is wrong and bound what a flood of drops costs.
//   - 4096 captured bytes hold the head of nearly all requests, and 8 MiB of ring buffer some 2000 of them.
//   - 5000 timed packets and calls a second are enough for a distribution in each interval, and about a tenth of a percent of a CPU.
//   - The skipped interfaces are the host's ends of pods' links, as network plugins name them: there may be
//     hundreds, each for as long as a pod lives, and the pods' own ends tell the same.
//   - The join networks are the private ranges (RFC 1918, RFC 4193) and loopback: peers there are likely to
//     be watched by this receiver on their own node, others are not.
func createDefaultConfig() component.Config {
	return &Config{
		CollectionInterval: 10 * time.Second,
		Connections:        ConnectionsConfig{Enabled: true},
		Drops:              EventsConfig{Enabled: true, Stack: true, EventsPerSecond: 50},
		Resets:             EventsConfig{Enabled: true, Stack: true, EventsPerSecond: 50},
		Retransmits:        EventsConfig{Enabled: true, EventsPerSecond: 50},
		Flows:              FlowsConfig{Enabled: true, MaxPerOwner: 500, Max: 50000, NAT: NATConfig{NetworkNamespaces: []string{"self"}}},
		Stages:             StagesConfig{Enabled: true, MaxPerSecond: 5000},
		DNS:                DNSConfig{Enabled: true, Timeout: 5 * time.Second, EventsPerSecond: 50},
		Slow: SlowConfig{
			Enabled: true, Read: defaultSlow, Write: defaultSlow, Stage: defaultSlow, Softirq: defaultSlow,
			ZeroWindow: defaultSlow, EventsPerSecond: 20,
		},
		HTTP: HTTPConfig{
			Enabled:      true,
			CaptureBytes: 4096,
			Spans:        SpansConfig{Ratio: 1, PerSecond: 1000},

			MaxConnections: 65536, MaxBytes: 32 << 20, MaxBytesPerConnection: 1 << 20, MaxStreams: 1024,
		},
		Trace: TraceConfig{
			Enabled: true,
			JoinNetworks: []string{
				"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "127.0.0.0/8", "fc00::/7", "::1/128",
			},
		},
		Counters: CountersConfig{
			Enabled:            true,
			SkipHostInterfaces: []string{"veth*", "cali*", "lxc*", "lxd*", "azv*", "gke*", "eni*"},
		},
		Histograms: exponentialHistograms,
		Record:     RecordConfig{Enabled: true},
		Replay:     ReplayConfig{Enabled: true},
		RingBuffer: RingBufferConfig{Size: 8 << 20},
	}
}
