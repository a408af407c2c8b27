//go:build linux && (amd64 || arm64)

package kerneltest

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// The node of the budget: connections that stay open, and requests on them.
const (
	memoryConnections = 10_000
	memoryPerSecond   = 10_000
	memoryProcesses   = 2 // of servers, and of clients: a process may have so many files only
	memorySeconds     = 60
	memoryBudget      = 100e6 // bytes of the working set, kernel maps included
)

// population is who is at the ends: containers that serve, and peers that each of them has.
type population struct {
	owners, peers int
}

// TestMemoryOfABusyNode runs the built collector with the example's configuration in a cgroup of its own. make
// bench-memory runs it; it takes three minutes and both cores of a small machine.
func TestMemoryOfABusyNode(t *testing.T) {
	collector := os.Getenv("EBPFNET_COLLECTOR")
	if collector == "" {
		t.Skip("measures a built collector: make bench-memory")
	}
	for _, population := range []population{{10, 10}, {500, 50}} {
		t.Run(fmt.Sprintf("%d owners of %d peers", population.owners, population.peers), func(t *testing.T) { population.measure(t, collector) })
	}
}

func (population population) measure(t *testing.T, collector string) {
	n := newNetwork(t)
	for i := range population.peers {
		n.client.ip("addr", "add", fmt.Sprintf("10.77.0.%d/24", 100+i), "dev", "eth0")
	}
	load := population.start(t, n)
	c := startMeasured(t, collector, n.server.path)
	load.begin()
	var requests int
	var seen []memoryUse
	from, spent := time.Now(), c.processorTime()
	for requests = load.requests(); time.Since(from) < memorySeconds*time.Second; time.Sleep(time.Second) {
		seen = append(seen, c.use())
	}
	processor := (c.processorTime() - spent).Seconds() / time.Since(from).Seconds()
	perSecond := float64(load.requests()-requests) / time.Since(from).Seconds()
	assert.GreaterOrEqual(t, perSecond, 0.95*memoryPerSecond, "requests per second that were answered")
	for _, what := range slices.Sorted(maps.Keys(seen[0])) {
		most, sum := uint64(0), uint64(0)
		for _, use := range seen {
			most, sum = max(most, use[what]), sum+use[what]
		}
		t.Logf("%-28s %7.1f MB on average, %7.1f at most", what, float64(sum)/float64(len(seen))/1e6, float64(most)/1e6)
		if what == "working set" {
			assert.LessOrEqual(t, most, uint64(memoryBudget), "at %.0f requests/s", perSecond)
		}
	}
	t.Logf("%d connections of %d owners, %.0f requests/s, %.0f %% of a processor", memoryConnections, population.owners, perSecond, 100*processor)
	c.show("otelcol_ebpf_net_connections", "otelcol_ebpf_net_calls", "otelcol_ebpf_net_records", "otelcol_ebpf_net_owners")
}

// memoryUse is in bytes.
type memoryUse map[string]uint64

// measured is a collector in a cgroup of its own.
type measured struct {
	t       *testing.T
	process *os.Process
	cgroup  string
}

// memoryCgroup makes a cgroup whose memory is accounted, of version 2 or 1.
func memoryCgroup(t *testing.T) string {
	t.Helper()
	name := fmt.Sprintf("ebpfnet-%d-memory", os.Getpid())
	parent := "/sys/fs/cgroup"
	if _, err := os.Stat(parent + "/memory/memory.usage_in_bytes"); err == nil {
		parent += "/memory"
	} else {
		require.NoError(t, os.WriteFile(parent+"/cgroup.subtree_control", []byte("+memory"), 0))
	}
	path := filepath.Join(parent, name)
	require.NoError(t, os.Mkdir(path, 0o755))
	t.Cleanup(func() { removeCgroup(t, path) })
	return path
}

// removeCgroup waits for the last process to have left.
func removeCgroup(t *testing.T, path string) {
	eventually(t, path+" is empty", func() bool { err := unix.Rmdir(path); return err == nil || err == unix.ENOENT })
}

const measuredOverride = `
receivers: {ebpf_net: {scope: {network_namespaces: [%s]}}}
exporters: {otlp_grpc: {endpoint: "%s", tls: {insecure: true}, sending_queue: {num_consumers: 2, queue_size: 4, block_on_overflow: true}}}
extensions: {health_check: {endpoint: "%[3]s:13133"}}
service:
  telemetry: {logs: {level: warn}, metrics: {readers: [{pull: {exporter: {prometheus: {host: "%[3]s", port: 8888}}}}]}}
  pipelines: {metrics: &p {processors: [memory_limiter, resource], exporters: [otlp_grpc]}, logs: *p, traces: *p}
`

const memorySink = `
receivers: {otlp: {protocols: {grpc: {endpoint: "%[1]s"}}}}
exporters: {debug: {verbosity: basic, use_internal_logger: false}}
service:
  telemetry: {logs: {level: error}, metrics: {level: none}}
  pipelines: {metrics: &p {receivers: [otlp], exporters: [debug]}, logs: *p, traces: *p}
`

// startMeasured starts the collector on a namespace, and another one to which it sends.
func startMeasured(t *testing.T, collector, namespace string) *measured {
	t.Helper()
	directory := t.TempDir()
	address := fmt.Sprintf("127.78.%d.%d", os.Getpid()>>8&0xff, os.Getpid()&0xff)
	config := func(name, text string) string {
		path := filepath.Join(directory, name)
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	sink := exec.Command(collector, "--config", config("sink.yaml", fmt.Sprintf(memorySink, address+":4317")))
	// Pages of a file are accounted to who reads it first: a copy that is not in memory yet.
	copied := filepath.Join(directory, "collector")
	content, err := os.ReadFile(collector)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(copied, content, 0o700))
	file, err := os.Open(copied)
	require.NoError(t, err)
	require.NoError(t, file.Sync())
	require.NoError(t, unix.Fadvise(int(file.Fd()), 0, 0, unix.FADV_DONTNEED))
	require.NoError(t, file.Close())
	c := &measured{t: t, cgroup: memoryCgroup(t)}
	command := exec.Command("/bin/sh", "-c", `echo $$ > "$0"/cgroup.procs && exec "$@"`, c.cgroup, copied,
		"--config", "../examples/host/collector.yaml",
		"--config", config("measured.yaml", fmt.Sprintf(measuredOverride, namespace, address+":4317", address)))
	command.Env = append(os.Environ(), "HOST_NAME=here",
		"GOMEMLIMIT="+cmp.Or(os.Getenv("EBPFNET_GOMEMLIMIT"), "200MiB"), "GOGC="+cmp.Or(os.Getenv("EBPFNET_GOGC"), "10")) // as the examples have it
	for _, command := range []*exec.Cmd{sink, command} {
		command.Stderr = os.Stderr
		require.NoError(t, command.Start())
		t.Cleanup(func() {
			_ = command.Process.Signal(unix.SIGTERM)
			assert.NoError(t, command.Wait())
		})
	}
	c.process = command.Process
	eventually(t, "the collector is healthy", func() bool {
		return exec.Command("curl", "-sf", "http://"+address+":13133/").Run() == nil
	})
	return c
}

// fields are the numbers of a file of names and numbers, in bytes.
func (c *measured) fields(path string) memoryUse {
	c.t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(c.t, err)
	fields := memoryUse{}
	for line := range strings.Lines(string(text)) {
		if words := strings.Fields(line); len(words) >= 2 {
			n, _ := strconv.ParseUint(words[1], 10, 64)
			if len(words) == 3 {
				n <<= 10 // kB
			}
			fields[strings.TrimSuffix(words[0], ":")] = n
		}
	}
	return fields
}

func (c *measured) number(name string) uint64 {
	text, err := os.ReadFile(filepath.Join(c.cgroup, name))
	require.NoError(c.t, err)
	n, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
	require.NoError(c.t, err)
	return n
}

// use is what the kernel says of the process and its cgroup; the working set is what the kubelet takes.
func (c *measured) use() memoryUse {
	c.t.Helper()
	process := fmt.Sprintf("/proc/%d/", c.process.Pid)
	status, stat := c.fields(process+"status"), c.fields(c.cgroup+"/memory.stat")
	use := memoryUse{"process: anonymous": status["RssAnon"], "process: files": status["RssFile"]}
	if kernel, ok := stat["kernel"]; ok {
		use["cgroup: kernel"], use["cgroup: all"] = kernel, c.number("memory.current")
	} else {
		use["cgroup: kernel"], use["cgroup: all"] = c.number("memory.kmem.usage_in_bytes"), c.number("memory.usage_in_bytes")
	}
	inactive := stat["inactive_file"]
	use["cgroup: inactive files"], use["cgroup: active files"] = inactive, stat["active_file"]
	use["working set"] = use["cgroup: all"] - inactive
	files, err := filepath.Glob(process + "fdinfo/*")
	require.NoError(c.t, err)
	for _, file := range files {
		if info, err := os.ReadFile(file); err == nil && strings.Contains(string(info), "map_id") {
			use["maps"] += c.fields(file)["memlock"]
		}
	}
	return use
}

// processorTime is what the collector has spent.
func (c *measured) processorTime() time.Duration {
	c.t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", c.process.Pid))
	require.NoError(c.t, err)
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	user, err := strconv.Atoi(fields[11])
	require.NoError(c.t, err)
	system, err := strconv.Atoi(fields[12])
	require.NoError(c.t, err)
	return time.Duration(user+system) * time.Second / 100 // USER_HZ
}

// show logs what the collector says of itself.
func (c *measured) show(prefixes ...string) {
	address := fmt.Sprintf("127.78.%d.%d", os.Getpid()>>8&0xff, os.Getpid()&0xff)
	text, err := exec.Command("curl", "-sf", "http://"+address+":8888/metrics").Output()
	require.NoError(c.t, err)
	for line := range strings.Lines(string(text)) {
		for _, prefix := range prefixes {
			if strings.HasPrefix(line, prefix) {
				c.t.Log(strings.TrimSpace(line))
			}
		}
	}
}

// load is servers, each of whose listening sockets is of another cgroup, and clients.
type load struct {
	t        *testing.T
	clients  []io.WriteCloser
	answered []*bufio.Reader
}

func (population population) start(t *testing.T, n *network) *load {
	t.Helper()
	mount := "/sys/fs/cgroup"
	if _, err := os.Stat(mount + "/unified/cgroup.procs"); err == nil {
		mount += "/unified"
	}
	base := fmt.Sprintf("%s/ebpfnet-%d-load", mount, os.Getpid())
	require.NoError(t, os.Mkdir(base, 0o755))
	t.Cleanup(func() { removeCgroup(t, base) })
	for i := range population.owners {
		path := memoryPod(base, i)
		require.NoError(t, os.MkdirAll(path, 0o755))
		t.Cleanup(func() {
			removeCgroup(t, path)
			removeCgroup(t, filepath.Dir(path))
		})
	}
	l := &load{t: t}
	each := population.owners / memoryProcesses
	for i := range memoryProcesses {
		_, ready := l.child(n.server, "memory-server", base, strconv.Itoa(i*each), strconv.Itoa(each), n.server.v4.String())
		line, err := ready.ReadString('\n')
		require.NoError(t, err, line)
	}
	for i := range memoryProcesses {
		in, out := l.child(n.client, "memory-client", strconv.Itoa(i*each), strconv.Itoa(each), n.server.v4.String(),
			strconv.Itoa(population.peers), strconv.Itoa(memoryConnections/population.owners))
		l.clients, l.answered = append(l.clients, in), append(l.answered, out)
	}
	return l
}

// child plays another part in a namespace until its standard input ends.
func (l *load) child(n *namespace, role string, args ...string) (io.WriteCloser, *bufio.Reader) {
	l.t.Helper()
	command := exec.Command("/proc/self/exe", args...)
	command.Env = append(os.Environ(), childRole+"="+role)
	command.Stderr = os.Stderr
	in, err := command.StdinPipe()
	require.NoError(l.t, err)
	out, err := command.StdoutPipe()
	require.NoError(l.t, err)
	require.NoError(l.t, n.start(command))
	l.t.Cleanup(func() {
		in.Close()
		assert.NoError(l.t, command.Wait())
	})
	return in, bufio.NewReader(out)
}

// begin has the clients make their flows and connections, and returns when all are there.
func (l *load) begin() {
	l.t.Helper()
	l.requests()
}

// requests is how many have been answered.
func (l *load) requests() (total int) {
	l.t.Helper()
	for i, client := range l.clients {
		_, err := io.WriteString(client, "\n")
		require.NoError(l.t, err)
		line, err := l.answered[i].ReadString('\n')
		require.NoError(l.t, err)
		n, err := strconv.Atoi(strings.TrimSpace(line))
		require.NoError(l.t, err)
		total += n
	}
	return total
}
