//go:build linux && (amd64 || arm64)

package kerneltest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"golang.org/x/sys/unix"

	"github.com/ebpfnet/ebpfnetreceiver/internal/engine"
	"github.com/ebpfnet/ebpfnetreceiver/internal/otlp"
	"github.com/ebpfnet/ebpfnetreceiver/internal/owner"
	"github.com/ebpfnet/ebpfnetreceiver/internal/probe"
)

// counting reads counters of these namespaces, all there are, and nothing else.
func counting(namespaces ...*namespace) engine.Config {
	config := engine.Config{
		Probe: probe.Config{
			CollectionInterval: 200 * time.Millisecond, FlushInterval: 50 * time.Millisecond, RingBytes: 1 << 20,
			Connections: true, // for the queues of their sockets
			Counters:    probe.Counters{Enabled: true, Complete: true},
		},
		OTLP: otlp.Options{Version: "test"},
	}
	for _, n := range namespaces {
		config.Probe.Scope.NetworkNamespaces = append(config.Probe.Scope.NetworkNamespaces, n.path)
	}
	return config
}

// inhabit has a process live in the namespace, in a cgroup if one is named: a namespace without is not looked for.
func (n *namespace) inhabit(cgroup string) *exec.Cmd {
	n.t.Helper()
	command := exec.Command("sleep", "600")
	if cgroup != "" {
		dir, err := os.Open(cgroup)
		require.NoError(n.t, err)
		defer dir.Close()
		command.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd())}
	}
	require.NoError(n.t, n.start(command))
	n.t.Cleanup(func() { _ = command.Process.Kill(); _ = command.Wait() })
	return command
}

// newCgroupPath makes a cgroup and those above it until the test ends.
func newCgroupPath(t *testing.T, path string) string {
	t.Helper()
	proc := owner.NewProc(owner.ProcOptions{})
	defer proc.Close()
	if proc.CgroupMount() == "" {
		lacks(t, "no cgroup v2 hierarchy is mounted")
	}
	full := proc.CgroupMount()
	for name := range strings.SplitSeq(strings.Trim(path, "/"), "/") {
		full += "/" + name
		if err := os.Mkdir(full, 0o755); os.IsExist(err) {
			continue
		} else if err != nil {
			lacks(t, "needs the privilege to make a cgroup: %v", err)
		}
		made := full
		t.Cleanup(func() {
			eventually(t, "nobody is in "+made, func() bool { err := unix.Rmdir(made); return err == nil || err == unix.ENOENT })
		})
	}
	return full
}

func (n *namespace) inode() uint64 {
	n.t.Helper()
	var stat unix.Stat_t
	require.NoError(n.t, unix.Stat(n.path, &stat))
	return stat.Ino
}

// counted is a point of a metric of a namespace: its attributes as text, and what it counted.
type counted struct {
	value int64
	start pcommon.Timestamp
}

// counters gives all points of one Resource at the newest collection, by metric and attributes.
func (o *observer) counters(resource ...any) map[string]counted {
	o.mu.Lock()
	defer o.mu.Unlock()
	found := map[string]counted{}
	whole := false // a batch of counters, not of something else
	for i := len(o.metrics) - 1; i >= 0 && !whole; i-- {
		for _, r := range o.metrics[i].ResourceMetrics().All() {
			for _, metric := range r.ScopeMetrics().At(0).Metrics().All() {
				whole = whole || metric.Name() == "network.ip.counter"
			}
			if !where(resource).matches(pcommon.NewMap(), r.Resource().Attributes()) {
				continue
			}
			for _, metric := range r.ScopeMetrics().At(0).Metrics().All() {
				if metric.Type() != pmetric.MetricTypeSum {
					continue
				}
				for _, point := range metric.Sum().DataPoints().All() {
					key := metric.Name()
					for _, name := range []string{"network.counter.name", "network.interface.name", "network.qdisc.kind",
						"server.port", "network.transport", "network.type", "network.socket.state", "network.io.direction",
						"disk.io.direction"} {
						if value := text(point.Attributes(), name); value != "" {
							key += " " + value
						}
					}
					found[key] = counted{point.IntValue(), point.StartTimestamp()}
				}
			}
		}
	}
	return found
}

func (n *namespace) counters(o *observer) map[string]counted {
	return o.counters("ebpfnet.network.namespace.inode", n.inode())
}

// traffic is some of each: TCP both ways, a refused connection, datagrams to a port where nobody listens, pings.
func (n *network) traffic() {
	t := n.client.t
	for _, to := range []*namespace{n.server, n.client} {
		from := n.client
		if to == from {
			from = n.server
		}
		listener := to.listen("tcp", to.at4(8000))
		c := from.dial(to.at4(8000))
		s, err := listener.Accept()
		require.NoError(t, err)
		_, err = c.Write(make([]byte, 100_000))
		require.NoError(t, err)
		for left := 100_000; left > 0; {
			read, err := s.Read(make([]byte, 65536))
			require.NoError(t, err)
			left -= read
		}
		require.NoError(t, c.Close())
		require.NoError(t, s.Close())
		_, err = from.tryDial(t.Context(), to.at4(9))
		require.Error(t, err)
		_, err = from.tryDial(t.Context(), to.at6(9))
		require.Error(t, err)
		from.datagrams(to.at4(7001), 5)
		from.datagrams(to.at6(7001), 7)
	}
}

// nstatNames are the tables of nstat by metric, with the prefixes of their names there.
var nstatNames = []struct{ metric, family, prefix string }{
	{"network.tcp.counter", "", "TcpExt"}, {"network.tcp.counter", "", "Tcp"},
	{"network.udp.counter", "ipv6", "Udp6"}, {"network.udp.counter", "ipv4", "Udp"},
	{"network.ip.counter", "ipv6", "Ip6"}, {"network.ip.counter", "ipv4", "IpExt"}, {"network.ip.counter", "ipv4", "Ip"},
	{"network.icmp.counter", "ipv6", "Icmp6"}, {"network.icmp.counter", "ipv4", "IcmpMsg"}, {"network.icmp.counter", "ipv4", "Icmp"},
	{"network.mptcp.counter", "", "MPTcpExt"},
}

// witness is what nstat, ss, ip and tc say of the namespace, named as the metrics are.
func (n *namespace) witness() map[string]int64 {
	n.t.Helper()
	want := map[string]int64{}
	for name, value := range n.nstat() {
		for _, table := range nstatNames {
			rest, ok := strings.CutPrefix(name, table.prefix)
			if !ok || strings.HasPrefix(name, "UdpLite") || strings.HasPrefix(name, "MPTcp") && table.prefix != "MPTcpExt" {
				continue
			}
			switch rest {
			case "RtoAlgorithm", "RtoMin", "RtoMax", "MaxConn", "CurrEstab", "Forwarding", "DefaultTTL": // no sums
			default:
				want[strings.TrimSpace(table.metric+" "+rest+" "+table.family)] = value
			}
			break
		}
	}
	for state, value := range n.states() {
		if state == "ESTAB" {
			want["network.socket.count tcp established"] = int64(value)
		}
	}
	n.interfaces(want)
	n.qdiscs(want)
	for name, value := range want {
		if value == 0 {
			delete(want, name)
		}
	}
	return want
}

func (n *namespace) interfaces(want map[string]int64) {
	type packets struct{ Bytes, Packets, Errors, Dropped int64 }
	var devices []struct {
		Ifname  string
		Stats64 struct{ Rx, Tx packets }
	}
	require.NoError(n.t, json.Unmarshal([]byte(n.run("ip", "-s", "-j", "link")), &devices))
	for _, device := range devices {
		for direction, p := range map[string]packets{"receive": device.Stats64.Rx, "transmit": device.Stats64.Tx} {
			end := " " + device.Ifname + " " + direction
			want["network.interface.io"+end] = p.Bytes
			want["network.interface.packet.count"+end] = p.Packets
			want["network.interface.errors"+end] = p.Errors
			want["network.interface.dropped"+end] = p.Dropped
		}
	}
}

func (n *namespace) qdiscs(want map[string]int64) {
	var qdiscs []struct {
		Kind, Dev                                                  string
		Root                                                       bool
		Bytes, Packets, Drops, Overlimits, Requeues, Backlog, Qlen int64
	}
	require.NoError(n.t, json.Unmarshal([]byte(n.run("tc", "-s", "-j", "qdisc")), &qdiscs))
	for _, q := range qdiscs {
		if q.Kind == "noqueue" || !q.Root {
			continue
		}
		end := " " + q.Dev + " " + q.Kind
		want["network.qdisc.io"+end], want["network.qdisc.packet.count"+end] = q.Bytes, q.Packets
		want["network.qdisc.dropped"+end], want["network.qdisc.overlimits"+end] = q.Drops, q.Overlimits
		want["network.qdisc.requeues"+end] = q.Requeues
		want["network.qdisc.queue.length"+end], want["network.qdisc.queue.size"+end] = q.Qlen, q.Backlog
	}
}

func TestTheCountersOfANamespaceAreWhatTheKernelsToolsSay(t *testing.T) {
	need(t, "nstat", "ss", "ip", "tc")
	n := newNetwork(t)
	n.server.run("tc", "qdisc", "add", "dev", "eth0", "root", "tbf", "rate", "512kbit", "burst", "10kb", "limit", "20kb")
	n.client.run("tc", "qdisc", "add", "dev", "eth0", "root", "pfifo", "limit", "100")
	for _, end := range []*namespace{n.client, n.server} {
		end.inhabit("")
	}
	o := observe(t, counting(n.client, n.server))
	n.traffic()
	listener := n.server.listen("tcp", n.server.at4(8080))
	n.client.dial(n.server.at4(8080))
	accepted, err := listener.Accept()
	require.NoError(t, err)
	defer accepted.Close()
	for _, end := range []*namespace{n.client, n.server} {
		// The tools are asked each time, for a namespace is never quite still.
		eventuallyEqual(t, end.name, end.witness, func() map[string]int64 {
			got := map[string]int64{}
			for key, point := range end.counters(o) {
				for _, metric := range []string{"counter ", "interface.", "qdisc.", "tcp established"} {
					if strings.Contains(key, metric) && !strings.Contains(key, "conntrack") && point.value != 0 {
						got[key] = point.value
					}
				}
			}
			return got
		})
	}
	assert.NotZero(t, n.server.counters(o)["network.qdisc.overlimits eth0 tbf"].value, "the bucket ran dry")
	o.stop()
}

func TestWhatWaitsToBeAcceptedIsToldByPort(t *testing.T) {
	n := newNetwork(t)
	n.server.inhabit("")
	n.client.inhabit("")
	o := observe(t, counting(n.client, n.server))
	n.server.set("ipv4/tcp_syncookies", "0")
	n.server.set("ipv4/tcp_abort_on_overflow", "0")
	socket := 0
	n.server.do(func() {
		var err error
		socket, err = unix.Socket(unix.AF_INET6, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		require.NoError(t, err)
		require.NoError(t, unix.Bind(socket, &unix.SockaddrInet6{Port: 8080}))
		require.NoError(t, unix.Listen(socket, 3))
	})
	defer unix.Close(socket)
	mptcp := n.server.listen("tcp", n.server.at4(8081)) // as Go does by default
	for range 4 {
		n.client.dial(n.server.at4(8080)) // one more than the limit may wait
	}
	c := n.client.dial(n.server.at4(8081))
	eventually(t, "the server's queue is full", func() bool {
		return strings.Contains(n.server.run("ss", "-Hltn", "sport = 8080"), "LISTEN 4      3")
	})
	// A connection that there is no room for: its SYN is turned away, again and again.
	n.client.do(func() {
		late, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		require.NoError(t, err)
		t.Cleanup(func() { unix.Close(late) })
		require.ErrorIs(t, unix.Connect(late, &unix.SockaddrInet4{Port: 8080, Addr: n.server.v4.As4()}), unix.EINPROGRESS)
	})
	eventually(t, "a connection was turned away", func() bool { return n.server.nstat()["TcpExtListenOverflows"] > 0 })
	listening := func() map[string]int64 {
		got := map[string]int64{}
		for key, point := range n.server.counters(o) {
			if strings.HasPrefix(key, "network.tcp.listen.") {
				got[key] = point.value
			}
		}
		return got
	}
	eventuallyEqual(t, "queues", func() map[string]int64 {
		return map[string]int64{
			"network.tcp.listen.queue.length 8080": 4, "network.tcp.listen.queue.limit 8080": 3,
			"network.tcp.listen.dropped 8080":      n.server.nstat()["TcpExtListenDrops"],
			"network.tcp.listen.queue.length 8081": 1, "network.tcp.listen.queue.limit 8081": 4096,
		}
	}, listening)

	_, err := c.Write([]byte("hello"))
	require.NoError(t, err)
	eventuallyEqual(t, "bytes that nobody has read", func() int64 { return 5 }, func() int64 {
		return n.server.counters(o)["network.tcp.queue.size receive"].value
	})
	accepted, err := mptcp.Accept()
	require.NoError(t, err)
	defer accepted.Close()
	_, err = accepted.Read(make([]byte, 10))
	require.NoError(t, err)
	eventuallyEqual(t, "queues after it was accepted and read", func() [2]int64 { return [2]int64{} }, func() [2]int64 {
		counters := n.server.counters(o)
		return [2]int64{counters["network.tcp.queue.size receive"].value, counters["network.tcp.listen.queue.length 8081"].value}
	})
	o.stop()
}

func TestADeviceThatIsMadeAnewBeginsAnew(t *testing.T) {
	n := newNetwork(t)
	n.client.inhabit("")
	n.server.inhabit("")
	o := observe(t, counting(n.client, n.server))
	n.client.datagrams(n.server.at4(7001), 50)
	const io = "network.interface.io eth0 transmit"
	var before counted
	eventually(t, "the datagrams are counted", func() bool {
		before = n.client.counters(o)[io]
		return before.value > 50*40
	})
	n.client.ip("link", "del", "eth0")
	removed := time.Now()
	ip(t, "link", "add", "eth0", "netns", n.client.name, "type", "veth", "peer", "name", "eth0", "netns", n.server.name)
	for _, end := range []*namespace{n.client, n.server} {
		end.ip("addr", "add", end.v4.String()+"/24", "dev", "eth0")
		end.ip("link", "set", "eth0", "up")
	}
	eventually(t, "the new device is counted", func() bool {
		after := n.client.counters(o)[io]
		return after.value > 0 && after.value < before.value
	})
	after := n.client.counters(o)[io]
	assert.Greater(t, after.start, before.start)
	// The device was there at the collection before, at most.
	assert.Greater(t, after.start.AsTime(), removed.Add(-10*time.Second))
	o.stop()
}

const (
	podA, podB = "11111111-2222-3333-4444-55555555555a", "11111111-2222-3333-4444-55555555555b"
	podC, podD = "11111111-2222-3333-4444-55555555555c", "11111111-2222-3333-4444-55555555555d"
	podE       = "11111111-2222-3333-4444-55555555555e"
)

var loopback = netip.MustParseAddrPort("127.0.0.1:7001")

// containerCgroup makes the cgroup that a kubelet gives a container.
func containerCgroup(t *testing.T, pod, container string) string {
	t.Helper()
	return newCgroupPath(t, fmt.Sprintf("/ebpfnet-test-%d/kubepods/burstable/pod%s/%s", os.Getpid(), pod, strings.Repeat(container, 64)))
}

func TestCountersBelongToThePodWhoseNamespaceItIs(t *testing.T) {
	a := newNamespace(t, "a", "10.78.0.1", "fd78::1")
	b := newNamespace(t, "b", "10.78.0.2", "fd78::2")
	shared := newNamespace(t, "shared", "10.78.0.3", "fd78::3")
	nobody := newNamespace(t, "nobody", "10.78.0.4", "fd78::4")
	beside := newNamespace(t, "beside", "10.78.0.5", "fd78::5")
	a.inhabit(containerCgroup(t, podA, "a")) // the sandbox, and two containers
	a.inhabit(containerCgroup(t, podA, "b"))
	a.inhabit("") // and one who looks in
	b.inhabit(containerCgroup(t, podB, "c"))
	beside.inhabit(containerCgroup(t, podB, "d")) // what pod B made for itself
	nobody.inhabit("")
	shared.inhabit(containerCgroup(t, podC, "e"))
	shared.inhabit(containerCgroup(t, podD, "f"))
	all := []*namespace{a, b, shared, nobody, beside}
	for i, n := range all {
		n.datagrams(loopback, 10+i) // told apart by how many
	}
	config := counting(all...)
	config.Probe.Drops = probe.Events{Enabled: true, PerSecond: unlimited}
	o := observe(t, config)
	noPorts := func(resource ...any) int64 { return o.counters(resource...)["network.udp.counter NoPorts ipv4"].value }
	const pod, netns = "k8s.pod.uid", "ebpfnet.network.namespace.inode"
	eventually(t, "all are counted", func() bool {
		return noPorts(pod, podA) == 10 && noPorts(pod, podB) == 11 && noPorts(netns, shared.inode()) == 12 &&
			noPorts(netns, nobody.inode()) == 13 && noPorts(netns, beside.inode()) == 14
	})
	for _, uid := range []string{podC, podD} {
		assert.Empty(t, o.counters(pod, uid), "two pods in one namespace are neither's")
	}
	o.each("network.udp.counter", func(_ pmetric.Metric, resource pcommon.Map) {
		assert.Empty(t, text(resource, "container.id"), "a pod's containers share its namespace")
	})

	// Packets that are dropped before any socket is known are the pod's too.
	a.firewall(fmt.Sprintf(wall, "input"))
	a.datagrams(loopback, 3)
	eventually(t, "drops", func() bool { return o.sum("network.packet.drops", pod, podA) == 3 })
	o.stop()
	assert.Len(t, o.events("network.packet.drop", pod, podA), 3)
}

// newPod starts a process in a cgroup and in a network namespace of its own, which ends with it.
func newPod(t *testing.T, uid, container string) (n *namespace, end func()) {
	t.Helper()
	mayMakeNamespaces(t)
	dir, err := os.Open(containerCgroup(t, uid, container))
	require.NoError(t, err)
	defer dir.Close()
	command := exec.Command("sleep", "600")
	command.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd()), Cloneflags: unix.CLONE_NEWNET}
	require.NoError(t, command.Start())
	var once sync.Once
	end = func() { once.Do(func() { _ = command.Process.Kill(); _ = command.Wait() }) }
	t.Cleanup(end)
	n = &namespace{t: t, name: uid, path: fmt.Sprintf("/proc/%d/ns/net", command.Process.Pid)}
	n.run("ip", "link", "set", "lo", "up")
	return n, end
}

func TestANamespacesNumberIsNotConfusedWithThePodBefore(t *testing.T) {
	first, end := newPod(t, podA, "a")
	first.datagrams(loopback, 30)
	inode := first.inode()
	config := counting()
	config.Probe.Scope.Cgroups = []string{fmt.Sprintf("/ebpfnet-test-%d", os.Getpid())}
	o := observe(t, config)
	noPorts := func(pod string) counted { return o.counters("k8s.pod.uid", pod)["network.udp.counter NoPorts ipv4"] }
	eventually(t, "the first pod is counted", func() bool { return noPorts(podA).value == 30 })
	before := noPorts(podA).start
	end()

	// The kernel takes the namespace down by and by, and gives its number to the next that is made.
	uids := []string{podB, podC, podD, podE}
	for i, uid := range uids {
		next, end := newPod(t, uid, "b")
		next.datagrams(loopback, 40)
		eventually(t, "the next pod is counted, and for itself", func() bool { return noPorts(uid).value == 40 })
		assert.Zero(t, noPorts(podA), "the first has gone")
		assert.Greater(t, noPorts(uid).start, before)
		if next.inode() == inode {
			t.Logf("namespace %d was given away again after %d", inode, i)
			break
		}
		end()
	}
	o.stop()
}

func TestTheHostsCountersAreTheHosts(t *testing.T) {
	if _, err := os.Stat("/proc/2/comm"); err != nil {
		lacks(t, "no kernel threads are to be seen: this is not the host's pid namespace")
	}
	config := counting()
	config.Probe.Connections = false // nobody else's traffic is traced
	config.Probe.Scope.NetworkNamespaces = []string{"/proc/2/ns/net"}
	host := &namespace{t: t, path: "/proc/2/ns/net"}
	if inLab() {
		host.run("ip", "link", "set", "lo", "up") // nobody else has
	}
	// Before the first collection: what is still zero then begins later.
	listener := host.listen("tcp4", netip.MustParseAddrPort("127.0.0.1:0"))
	host.dial(netip.MustParseAddrPort(listener.Addr().String()))
	o := observe(t, config)
	resource := []any{"ebpfnet.network.namespace.host", true, "ebpfnet.network.namespace.inode", host.inode()}
	for _, metric := range []string{"network.ip.counter InReceives ipv4", "network.softnet.processed",
		"network.socket.count tcp allocated", "network.interface.io lo receive"} {
		eventually(t, metric, func() bool { return o.counters(resource...)[metric].value > 0 })
	}
	boot := time.Now().Add(-uptime(t))
	start := o.counters(resource...)["network.ip.counter InReceives ipv4"].start.AsTime()
	assert.WithinDuration(t, boot, start, time.Minute, "counted since boot")
	o.stop()
}

func uptime(t *testing.T) time.Duration {
	t.Helper()
	var now unix.Timespec
	require.NoError(t, unix.ClockGettime(unix.CLOCK_MONOTONIC, &now))
	return time.Duration(now.Nano())
}

func TestAContainerThatComesAndGoesBetweenCollectionsIsTold(t *testing.T) {
	need(t, "curl")
	n := newNetwork(t)
	listener := n.server.listen("tcp", n.server.at4(80))
	server := &http.Server{Handler: http.NotFoundHandler()}
	go func() { _ = server.Serve(listener) }()
	defer server.Close()
	cgroup := containerCgroup(t, podA, "a")
	config := n.settings()
	config.Probe.CollectionInterval = time.Hour // the one at the end
	o := start(t, config)
	eventually(t, "the probes are attached", func() bool { return len(o.engine.Stats().Probes) > 0 })
	if hook, refused := o.hook("payload"); hook == "" {
		lacks(t, "this kernel has no tap on payload: %v", refused)
	}
	dir, err := os.Open(cgroup)
	require.NoError(t, err)
	defer dir.Close()
	curl := exec.Command("curl", "-s", "http://"+n.server.at4(80).String()+"/")
	curl.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd())}
	require.NoError(t, n.client.start(curl))
	require.NoError(t, curl.Wait())
	eventually(t, "its call is told", func() bool { return len(o.spans(ptrace.SpanKindClient)) == 1 })
	eventually(t, "its cgroup has gone", func() bool { return unix.Rmdir(cgroup) == nil })
	o.stop()
	container := []any{"container.id", strings.Repeat("a", 64), "k8s.pod.uid", podA}
	assert.EqualValues(t, 1, o.sum("network.tcp.connection.opened", container...))
	assert.EqualValues(t, 1, o.sum("network.tcp.connection.closed", container...))
}
