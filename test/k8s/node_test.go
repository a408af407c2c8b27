//go:build linux && (amd64 || arm64)

package k8stest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// node is what the kubelet, a container runtime, a network plugin and kube-proxy make of a machine: a network
// namespace that plays the host's, one for each pod, routes between them, cgroups and rules.
type node struct {
	t          *testing.T
	name       string   // in the API
	host       string   // network namespace
	address    string   // of the host
	cgroups    string   // directory below which all cgroups are
	namespaces []string // all network namespaces
	devices    int
}

func newNode(t *testing.T, name, address string) *node {
	t.Helper()
	needRoot(t)
	for _, program := range []string{"ip", "nft", "setpriv"} {
		_, err := exec.LookPath(program)
		require.NoError(t, err)
	}
	n := &node{t: t, name: name, address: address}
	// A slice, so that what is below reads as on a machine with systemd.
	n.cgroups = n.newCgroup(filepath.Join(unifiedMount(t), fmt.Sprintf("ebpfnet_%d_%s.slice", os.Getpid(), strings.ReplaceAll(name, "-", "_"))))
	n.host = n.newNamespace("host")
	run(t, "", "ip", "-n", n.host, "addr", "add", address+"/32", "dev", "lo")
	run(t, "", "ip", "netns", "exec", n.host, "sysctl", "-qw", "net.ipv4.ip_forward=1")
	return n
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, to make network namespaces, cgroups and containers")
	}
}

// unifiedMount is where the cgroup v2 hierarchy is mounted.
func unifiedMount(t *testing.T) string {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mounts")
	require.NoError(t, err)
	for line := range strings.Lines(string(mounts)) {
		if fields := strings.Fields(line); len(fields) > 2 && fields[2] == "cgroup2" {
			return fields[1]
		}
	}
	t.Skip("no cgroup v2 hierarchy is mounted")
	return ""
}

func (n *node) newNamespace(role string) (name string) {
	n.t.Helper()
	name = fmt.Sprintf("ebpfnet-k8s-%d-%s-%s", os.Getpid(), n.name, role)
	n.namespaces = append(n.namespaces, name)
	run(n.t, "", "ip", "netns", "add", name)
	n.t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", name).Run() }) // unless the pod took it along
	run(n.t, "", "ip", "-n", name, "link", "set", "lo", "up")
	return name
}

// connect gives the namespace the address and, as network plugins without a bridge do, a route by the host.
func (n *node) connect(namespace, address string) {
	n.t.Helper()
	n.devices++
	const gateway = "169.254.1.1"
	device := fmt.Sprintf("pod%d", n.devices)
	in := func(namespace string, args ...string) {
		n.t.Helper()
		run(n.t, "", "ip", append([]string{"-n", namespace}, args...)...)
	}
	in(n.host, "link", "add", device, "type", "veth", "peer", "name", "eth0", "netns", namespace)
	in(n.host, "addr", "add", gateway+"/32", "dev", device)
	in(n.host, "link", "set", device, "up")
	in(namespace, "addr", "add", address+"/32", "dev", "eth0")
	in(namespace, "link", "set", "eth0", "up")
	in(namespace, "route", "add", gateway, "dev", "eth0", "scope", "link")
	in(namespace, "route", "add", "default", "via", gateway)
	in(n.host, "route", "add", address, "dev", device, "src", n.address)
}

// join puts two nodes on one network, each with a route to the other's pods.
func join(a, b *node, podsOfA, podsOfB string) {
	a.t.Helper()
	run(a.t, "", "ip", "-n", a.host, "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", b.host)
	for _, end := range []struct {
		node, other *node
		pods        string // of the other
	}{{a, b, podsOfB}, {b, a, podsOfA}} {
		in := func(args ...string) {
			a.t.Helper()
			run(a.t, "", "ip", append([]string{"-n", end.node.host}, args...)...)
		}
		in("addr", "add", end.node.address+"/32", "dev", "eth0")
		in("link", "set", "eth0", "up")
		in("route", "add", end.other.address, "dev", "eth0", "src", end.node.address)
		in("route", "add", end.pods, "via", end.other.address, "dev", "eth0", "src", end.node.address)
	}
}

// balance sends connections to the service's address and port to the backends in turn, as kube-proxy's nftables
// mode does; in turn, not at random, so that each gets some.
func (n *node) balance(service string, backends ...string) {
	n.t.Helper()
	var rules, chains strings.Builder
	for i, backend := range backends {
		fmt.Fprintf(&rules, "%d : goto endpoint-%d, ", i, i)
		fmt.Fprintf(&chains, "chain endpoint-%d { meta l4proto tcp dnat to %s\n }\n", i, backend)
	}
	run(n.t, fmt.Sprintf(`
table ip kube-proxy
delete table ip kube-proxy
table ip kube-proxy {
	%s
	chain service { numgen inc mod %d vmap { %s }
	}
	map service-ips { type ipv4_addr . inet_proto . inet_service : verdict; elements = { %s : goto service }
	}
	chain services { ip daddr . meta l4proto . th dport vmap @service-ips
	}
	chain nat-prerouting { type nat hook prerouting priority dstnat; jump services
	}
	chain nat-output { type nat hook output priority -100; jump services
	}
}`, chains.String(), len(backends), rules.String(), service), "ip", "netns", "exec", n.host, "nft", "-f", "-")
}

// newCgroup makes one and those above it. They are removed when the test ends, or before.
func (n *node) newCgroup(path string) string {
	n.t.Helper()
	if _, err := os.Stat(path); err == nil {
		return path
	}
	n.newCgroup(filepath.Dir(path))
	require.NoError(n.t, os.Mkdir(path, 0o755))
	n.t.Cleanup(func() { removeCgroup(n.t, path) })
	return path
}

// removeCgroup waits for the last of its processes, which are dead, to be gone.
func removeCgroup(t *testing.T, path string) {
	t.Helper()
	eventually(t, path+" can be removed", func() bool {
		err := syscall.Rmdir(path)
		return err == nil || err == syscall.ENOENT
	})
}

// start starts this binary in a role, in the namespace and in the cgroup.
func (n *node) command(namespace, cgroup, role string, args ...string) *exec.Cmd {
	n.t.Helper()
	self, err := os.Executable()
	require.NoError(n.t, err)
	directory, err := os.Open(cgroup)
	require.NoError(n.t, err)
	n.t.Cleanup(func() { directory.Close() })
	command := exec.Command("ip", append([]string{"netns", "exec", namespace, self}, args...)...)
	command.Env = append(os.Environ(), childRole+"="+role)
	command.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(directory.Fd())}
	return command
}

// serve starts a server and returns when it listens.
func (n *node) serve(namespace, cgroup, at, name string) *exec.Cmd {
	n.t.Helper()
	ready, writer, err := os.Pipe()
	require.NoError(n.t, err)
	defer ready.Close()
	command := n.command(namespace, cgroup, "serve", at, name)
	command.ExtraFiles = []*os.File{writer}
	daemon(n.t, command)
	writer.Close()
	require.NoError(n.t, ready.SetReadDeadline(time.Now().Add(patience)))
	_, _ = ready.Read(make([]byte, 1)) // its end, when the server has closed the other
	return command
}

// errands runs errands to their end and counts who answered.
func (n *node) errands(namespace, cgroup string, args ...string) (answers map[string]int) {
	n.t.Helper()
	command := n.command(namespace, cgroup, "errands", args...)
	var complaint strings.Builder
	command.Stderr = &complaint
	output, err := command.Output()
	require.NoErrorf(n.t, err, "errands %q: %s", args, complaint.String())
	answers = map[string]int{}
	for name := range strings.Lines(string(output)) {
		answers[strings.TrimSpace(name)]++
	}
	return answers
}

func run(t *testing.T, stdin, program string, args ...string) (output string) {
	t.Helper()
	command := exec.Command(program, args...)
	command.Stdin = strings.NewReader(stdin)
	text, err := command.CombinedOutput()
	require.NoErrorf(t, err, "%s %s: %s", program, strings.Join(args, " "), text)
	return string(text)
}
