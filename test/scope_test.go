//go:build linux && (amd64 || arm64)

package kerneltest

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

// incident makes, over loopback, all that there is to tell: requests, a refused connect, a reset, drops.
func (n *namespace) incident(t *testing.T) {
	t.Helper()
	localhost := netip.MustParseAddr("127.0.0.1")
	server := startNginx(t, n, netip.AddrPortFrom(localhost, 80))
	n.firewall(fmt.Sprintf(wall, "input"))
	runErrands(t, n, server, 2, 10)
	_, err := n.tryDial(t.Context(), netip.AddrPortFrom(localhost, 7000))
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
	n.datagrams(netip.AddrPortFrom(localhost, 7001), 5)
	n.knock(netip.AddrPortFrom(localhost, 7001), func() bool { return n.counted()["tcp4"] > 0 })
	require.Equal(t, 5, n.counted()["udp4"])
}

func TestWhatIsOutOfScopeYieldsNothing(t *testing.T) {
	n := newNetwork(t)
	outside := newNamespace(t, "outside", "10.77.0.3", "fd77::3")
	o := observe(t, n.settings())
	outside.incident(t)
	o.stop()
	for kind, books := range o.engine.Stats().Kernel.Kinds {
		assert.Zerof(t, books.Seen, "record kind %d", kind)
	}
	assert.Empty(t, o.metrics)
	assert.Empty(t, o.logs)
	assert.Empty(t, o.traces)
}

func TestOnlyTheEndInScopeIsTold(t *testing.T) {
	n := newNetwork(t)
	server := startNginx(t, n.server, n.server.at4(80))
	config := n.settings()
	config.Probe.Scope.NetworkNamespaces = []string{n.server.path}
	o := observe(t, config)
	runErrands(t, n.client, server, 3, 10)
	eventually(t, "all connections are closed", func() bool { return len(n.stateCounts()) == 0 })
	o.stop()
	assert.Equal(t, map[string]int64{"server": 3}, o.by("network.tcp.handshake.role", "network.tcp.connection.opened"))
	o.assertAll(30, int64(len(o.spans(ptrace.SpanKindServer))))
	assert.Empty(t, o.spans(ptrace.SpanKindClient))
}

func TestPortsNarrowTheScope(t *testing.T) {
	for _, test := range []struct {
		name             string
		include, exclude []uint16
	}{
		{"include", []uint16{80}, nil},
		{"exclude", nil, []uint16{81, 7001, 7000}},
	} {
		t.Run(test.name, func(t *testing.T) {
			n := newNetwork(t)
			n.server.firewall(fmt.Sprintf(wall, "input"))
			wanted, other := startNginx(t, n.server, n.server.at4(80)), startNginx(t, n.server, n.server.at6(81))
			config := n.settings()
			config.Probe.Scope.IncludePorts, config.Probe.Scope.ExcludePorts = test.include, test.exclude
			o := observe(t, config)
			runErrands(t, n.client, wanted, 2, 10)
			runErrands(t, n.client, other, 3, 10)
			_, err := n.client.tryDial(t.Context(), n.server.at4(7000))
			require.ErrorIs(t, err, syscall.ECONNREFUSED)
			n.client.datagrams(n.server.at4(7001), 5)
			eventually(t, "the firewall saw all datagrams", func() bool { return n.server.counted()["udp4"] == 5 })
			eventually(t, "all connections are closed", func() bool { return len(n.stateCounts()) == 0 })
			o.stop()
			assert.EqualValues(t, 4, o.sum("network.tcp.connection.opened"))
			assert.EqualValues(t, 4, o.sum("network.tcp.connection.closed", "server.port", 80))
			requireSpansOf(t, o, wanted.calls())
			assert.Zero(t, o.sum("network.tcp.connection.failed"))
			assert.Zero(t, o.sum("network.tcp.resets")+o.sum("network.packet.drops"), summary(o))
			for _, name := range []string{"network.packet.drop", "network.tcp.reset", "network.tcp.connection.failed"} {
				assert.Empty(t, o.events(name), summary(o))
			}
		})
	}
}

// newCgroup makes a cgroup and says what its path below the mount is.
func newCgroup(t *testing.T) (path string, directory *os.File) {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	require.NoError(t, err)
	for line := range strings.Lines(string(mounts)) {
		if part := strings.Fields(line); strings.Contains(line, " - cgroup2 ") {
			path = fmt.Sprintf("/ebpfnet-%d", os.Getpid())
			full := filepath.Join(part[4], path)
			if err := os.Mkdir(full, 0o755); err != nil {
				lacks(t, "cannot make a cgroup: %v", err)
			}
			directory, err = os.Open(full)
			require.NoError(t, err)
			t.Cleanup(func() { directory.Close(); require.NoError(t, os.Remove(full)) })
			return path, directory
		}
	}
	lacks(t, "no cgroup v2 hierarchy is mounted")
	return "", nil
}

func TestOnlyTheCgroupInScopeIsTold(t *testing.T) {
	n := newNetwork(t)
	path, directory := newCgroup(t)
	config := n.settings()
	config.Probe.Scope.Cgroups = []string{path}
	o := observe(t, config)
	listener := n.server.listen("tcp4", n.server.at4(7000))
	inside := 0
	for _, attributes := range []*syscall.SysProcAttr{nil, {UseCgroupFD: true, CgroupFD: int(directory.Fd())}} {
		command := child("connect", listener.Addr().String())
		command.SysProcAttr = attributes
		require.NoError(t, n.client.start(command))
		conn, err := listener.Accept()
		require.NoError(t, err)
		require.NoError(t, conn.Close())
		require.NoError(t, command.Wait())
		inside = command.ProcessState.Pid()
	}
	eventually(t, "all connections are closed", func() bool { return len(n.stateCounts()) == 0 })
	o.stop()
	assert.EqualValues(t, 1, o.sum("network.tcp.connection.opened"))
	assert.EqualValues(t, 1, o.sum("network.tcp.connection.closed",
		"network.tcp.handshake.role", "client", "process.pid", inside))
}

// child is this binary in another role.
func child(role string, arguments ...string) *exec.Cmd {
	command := exec.Command("/proc/self/exe", arguments...)
	command.Env = append(os.Environ(), childRole+"="+role)
	return command
}

// connectAndWaitForEnd is the role of a program that connects and leaves when the server does.
func connectAndWaitForEnd(to string) error {
	conn, err := net.Dial("tcp", to)
	if err != nil {
		return err
	}
	defer conn.Close()
	_, _ = conn.Read(make([]byte, 1))
	return nil
}
