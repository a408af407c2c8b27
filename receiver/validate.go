package receiver

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/collector/confmap"

	"github.com/ebpfnet/ebpfnetreceiver/internal/counters"
	"github.com/ebpfnet/ebpfnetreceiver/internal/otlp"
)

var _ confmap.Validator = (*Config)(nil)

const (
	minCollectionInterval = 100 * time.Millisecond
	minLookupTimeout      = 100 * time.Millisecond
	maxLookupTimeout      = time.Minute
	minTimedPerSecond     = 1000 // 20 in each of the kernel half's windows, for all of its programs
	minCaptureBytes       = 256
	maxCaptureBytes       = 262144
	// A ring buffer must be a multiple of the page size, and pages have up to 64 KiB (arm64).
	minRingBuffer = 64 << 10
	maxRingBuffer = 1 << 30
	// A request line, both HPACK tables of a connection and a head that is in pieces find room in it.
	minCallBytes = 256 << 10
)

// hookKinds are the program kinds that a hook's name begins with; and "shared", what stands for several.
var hookKinds = []string{"fentry", "fexit", "iter", "kprobe", "kretprobe", "raw_tp", "shared", "tp_btf"}

// Validate reports everything that is wrong at once, each with the full key, the value and what to write
// instead. The blocks have no Validate of their own: the Collector would call it too and join the key in
// another form.
//
// Only the text is judged here, not the machine: "otelcol validate" runs where the configuration is
// written, and a namespace, a cgroup or a recording may come and go before the start. There the engine
// refuses what it cannot find, in as many words.
func (c *Config) Validate() error {
	var p problems
	if c.CollectionInterval < minCollectionInterval {
		p.add("collection_interval", c.CollectionInterval, "use %s or more, such as 10s", minCollectionInterval)
	}
	c.Scope.validate(&p)
	c.Drops.validate(&p, "drops")
	c.Resets.validate(&p, "resets")
	c.Retransmits.validate(&p, "retransmits")
	c.Slow.validate(&p)
	c.Flows.validate(&p)
	c.Flows.NAT.validate(&p)
	if c.DNS.Timeout < minLookupTimeout || c.DNS.Timeout > maxLookupTimeout {
		p.add("dns::timeout", c.DNS.Timeout, "use %s to %s, such as 5s", minLookupTimeout, maxLookupTimeout)
	}
	if !(c.Stages.MaxPerSecond >= minTimedPerSecond) || math.IsInf(c.Stages.MaxPerSecond, 0) {
		p.add("stages::max_per_second", c.Stages.MaxPerSecond, "use %d or more, such as 5000", minTimedPerSecond)
	}
	validateRate(&p, "dns::events_per_second", c.DNS.EventsPerSecond, "the metrics but no log records")
	c.HTTP.validate(&p)
	c.Trace.validate(&p)
	c.Counters.validate(&p)
	c.validateMetrics(&p)
	c.validateRecording(&p)
	for i, hook := range c.Hooks.Avoid {
		if kind, _, _ := strings.Cut(hook, "/"); !slices.Contains(hookKinds, kind) || strings.HasSuffix(hook, "/") {
			p.add(index("hooks::avoid", i), hook,
				"use a kind (%s) or one hook as the log at start names it, such as tp_btf/kfree_skb",
				strings.Join(hookKinds, ", "))
		}
	}
	if size := c.RingBuffer.Size; size < minRingBuffer || size > maxRingBuffer || size&(size-1) != 0 {
		p.add("ring_buffer::size", size, "use a power of two from %d (64 KiB) to %d (1 GiB), such as %d",
			minRingBuffer, maxRingBuffer, 8<<20)
	}
	return errors.Join(p...)
}

func (c *ScopeConfig) validate(p *problems) {
	for i, namespace := range c.NetworkNamespaces {
		if namespace == "self" || path.IsAbs(namespace) {
			continue
		}
		if inode, err := strconv.ParseUint(namespace, 10, 32); err != nil || inode == 0 {
			p.add(index("scope::network_namespaces", i), namespace,
				`use "self", an absolute path such as /var/run/netns/x, or an inode number`)
		}
	}
	for i, cgroup := range c.Cgroups {
		if !path.IsAbs(cgroup) || path.Clean(cgroup) != strings.TrimSuffix(cgroup, "/") && cgroup != "/" {
			p.add(index("scope::cgroups", i), cgroup,
				"use a path from the root of the cgroup v2 hierarchy, such as /kubepods.slice")
		}
	}
	validatePorts(p, "scope::ports::include", c.Ports.Include)
	validatePorts(p, "scope::ports::exclude", c.Ports.Exclude)
	for i, port := range c.Ports.Exclude {
		if slices.Contains(c.Ports.Include, port) {
			p.add(index("scope::ports::exclude", i), port, "it is in scope::ports::include too: remove it from one")
		}
	}
}

func validatePorts(p *problems, key string, ports []int) {
	for i, port := range ports {
		if port < 1 || port > math.MaxUint16 {
			p.add(index(key, i), port, "use a port from 1 to %d", math.MaxUint16)
		}
	}
}

func (c *EventsConfig) validate(p *problems, key string) {
	validateRate(p, key+"::events_per_second", c.EventsPerSecond, "the metrics but no log records")
}

func validateRate(p *problems, key string, rate float64, zeroMeans string) {
	if rate < 0 || math.IsNaN(rate) || math.IsInf(rate, 0) {
		p.add(key, rate, "use 0 or more, not without end; 0 has %s", zeroMeans)
	}
}

func (c *SlowConfig) validate(p *problems) {
	for _, threshold := range []struct {
		key   string
		value time.Duration
	}{{"read", c.Read}, {"write", c.Write}, {"stage", c.Stage}, {"softirq", c.Softirq}, {"zero_window", c.ZeroWindow}} {
		if threshold.value < 0 {
			p.add("slow::"+threshold.key, threshold.value, "use a duration such as 100ms, or 0 for no such events")
		}
	}
	validateRate(p, "slow::events_per_second", c.EventsPerSecond, "the histograms but no log records")
}

func (c *FlowsConfig) validate(p *problems) {
	if c.MaxPerOwner < 2 {
		p.add("flows::max_per_owner", c.MaxPerOwner, "use 2 or more, such as 500; the last one is the overflow")
	}
	if c.Max < 1 {
		p.add("flows::max", c.Max, "use 1 or more, such as 50000; enabled: false does without flows")
	}
}

func (c *NATConfig) validate(p *problems) {
	for i, namespace := range c.NetworkNamespaces {
		if namespace != "self" && !path.IsAbs(namespace) {
			p.add(index("flows::nat::network_namespaces", i), namespace, `use "self" or an absolute path such as /var/run/netns/x`)
		}
	}
	if c.Enabled && len(c.NetworkNamespaces) == 0 {
		p.add("flows::nat::network_namespaces", c.NetworkNamespaces, "name one, such as self, or leave flows::nat disabled")
	}
}

func (c *HTTPConfig) validate(p *problems) {
	if c.CaptureBytes < minCaptureBytes || c.CaptureBytes > maxCaptureBytes {
		p.add("http::capture_bytes", c.CaptureBytes, "use %d to %d", minCaptureBytes, maxCaptureBytes)
	}
	// Written so that NaN, which compares false with everything, is refused.
	if !(c.Spans.Ratio >= 0 && c.Spans.Ratio <= 1) {
		p.add("http::spans::ratio", c.Spans.Ratio, "use 0 (no spans) to 1 (every call)")
	}
	validateRate(p, "http::spans::per_second", c.Spans.PerSecond, "the metrics but no spans")
	if c.Spans.KeepSlowerThan < 0 {
		p.add("http::spans::keep_slower_than", c.Spans.KeepSlowerThan, "use a duration such as 500ms, 0s to keep none for that")
	}
	for _, limit := range []struct {
		key          string
		value, least int
	}{
		{"http::max_connections", c.MaxConnections, 1},
		{"http::max_bytes", c.MaxBytes, minCallBytes},
		{"http::max_bytes_per_connection", c.MaxBytesPerConnection, minCallBytes},
		{"http::max_streams", c.MaxStreams, 1},
	} {
		if limit.value < limit.least {
			p.add(limit.key, limit.value, "use %d or more; to follow no calls at all, http::enabled: false", limit.least)
		}
	}
	for i, header := range c.Headers {
		if !isToken(header) {
			p.add(index("http::headers", i), header,
				"use the name of a header field alone, such as x-request-id; there are no patterns")
		}
	}
}

func (c *TraceConfig) validate(p *problems) {
	for i, network := range c.JoinNetworks {
		prefix, err := netip.ParsePrefix(network)
		if err != nil {
			p.add(index("trace::join_networks", i), network, "use a network such as 10.0.0.0/8 or fc00::/7")
			continue
		}
		if masked := prefix.Masked(); masked != prefix {
			p.add(index("trace::join_networks", i), network, "it has bits beyond its prefix: use %s", masked)
		}
	}
}

func (c *CountersConfig) validate(p *problems) {
	var names []string
	for _, group := range counters.Groups() {
		names = append(names, group.Name)
	}
	for i, group := range c.Groups {
		if !slices.Contains(names, group) {
			p.add(index("counters::groups", i), group, "use any of %s; an empty list means all", strings.Join(names, ", "))
		}
	}
	for i, pattern := range c.SkipHostInterfaces {
		if _, err := path.Match(pattern, ""); err != nil || pattern == "" {
			p.add(index("counters::skip_host_interfaces", i), pattern, "use a pattern such as veth*")
		}
	}
}

func (c *Config) validateMetrics(p *problems) {
	if c.Histograms != exponentialHistograms && c.Histograms != explicitHistograms {
		p.add("histograms", c.Histograms, "use %s or %s", exponentialHistograms, explicitHistograms)
	}
	var names []string
	for _, instrument := range otlp.Instruments() {
		names = append(names, instrument.Name)
	}
	for _, name := range slices.Sorted(maps.Keys(c.Metrics)) {
		if !slices.Contains(names, name) {
			p.add("metrics", name, "there is no such metric; there are: %s", strings.Join(names, ", "))
		}
	}
	optional := otlp.OptionalAttributes()
	for i, name := range c.MetricAttributes {
		if !slices.Contains(optional, name) {
			p.add(index("metric_attributes", i), name, "use any of %s", strings.Join(optional, ", "))
		}
	}
}

func (c *Config) validateRecording(p *problems) {
	if c.Record.path() != "" && c.Replay.path() != "" {
		p.add("record::path", c.Record.Path, "replay::path is %q: what is replayed is recorded already, remove one",
			c.Replay.Path)
	}
}

// problems collects what is wrong with a configuration.
type problems []error

func (p *problems) add(key string, value any, remedy string, args ...any) {
	if text, ok := value.(string); ok {
		value = strconv.Quote(text)
	}
	*p = append(*p, fmt.Errorf("%s: invalid value %v: %s", key, value, fmt.Sprintf(remedy, args...)))
}

// index is how the Collector's own messages name an element of a list.
func index(key string, i int) string {
	return key + "::" + strconv.Itoa(i)
}

// isToken is RFC 9110 section 5.6.2. A pseudo-header such as ":path" is none: it is not a header field.
func isToken(name string) bool {
	const others = "!#$%&'*+-.^_`|~"
	for _, c := range []byte(name) {
		switch {
		case '0' <= c && c <= '9', 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', strings.IndexByte(others, c) >= 0:
		default:
			return false
		}
	}
	return name != ""
}
