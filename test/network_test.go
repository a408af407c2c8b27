//go:build linux && (amd64 || arm64)

package kerneltest

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// network is two namespaces joined by a veth pair.
type network struct{ client, server *namespace }

// namespace is a network namespace with one device, eth0, beside loopback.
type namespace struct {
	t      *testing.T
	name   string
	path   string
	v4, v6 netip.Addr
}

var namespaces atomic.Int32

// newNetwork skips the test where namespaces cannot be made.
func newNetwork(t *testing.T) *network {
	t.Helper()
	n := &network{
		client: newNamespace(t, "client", "10.77.0.1", "fd77::1"),
		server: newNamespace(t, "server", "10.77.0.2", "fd77::2"),
	}
	ip(t, "link", "add", "eth0", "netns", n.client.name, "type", "veth", "peer", "name", "eth0", "netns", n.server.name)
	for _, end := range []*namespace{n.client, n.server} {
		end.ip("addr", "add", end.v4.String()+"/24", "dev", "eth0")
		end.ip("addr", "add", end.v6.String()+"/64", "dev", "eth0", "nodad")
		end.ip("link", "set", "eth0", "up")
	}
	for _, end := range []*namespace{n.client, n.server} {
		eventually(t, "eth0 of "+end.name+" is up", func() bool {
			running := false
			end.do(func() {
				device, err := net.InterfaceByName("eth0")
				running = err == nil && device.Flags&net.FlagRunning != 0
			})
			return running
		})
	}
	return n
}

func newNamespace(t *testing.T, role, v4, v6 string) *namespace {
	t.Helper()
	mayMakeNamespaces(t)
	need(t, "ip")
	n := &namespace{t: t, v4: netip.MustParseAddr(v4), v6: netip.MustParseAddr(v6)}
	n.name = fmt.Sprintf("ebpfnet-%d-%d-%s", os.Getpid(), namespaces.Add(1), role)
	n.path = "/var/run/netns/" + n.name
	ip(t, "netns", "add", n.name)
	t.Cleanup(func() { ip(t, "netns", "del", n.name) })
	n.ip("link", "set", "lo", "up")
	return n
}

// mayMakeNamespaces tries it in a thread that ends with its goroutine.
func mayMakeNamespaces(t *testing.T) {
	t.Helper()
	tried := make(chan error)
	go func() {
		runtime.LockOSThread()
		tried <- unix.Unshare(unix.CLONE_NEWNET)
	}()
	if err := <-tried; err != nil {
		lacks(t, "needs root, or CAP_SYS_ADMIN, to make network namespaces: %v", err)
	}
}

func ip(t *testing.T, args ...string) {
	t.Helper()
	output, err := exec.Command("ip", args...).CombinedOutput()
	require.NoErrorf(t, err, "ip %s: %s", strings.Join(args, " "), output)
}

func (n *namespace) ip(args ...string) {
	n.t.Helper()
	ip(n.t, append([]string{"-n", n.name}, args...)...)
}

// do runs f in a thread of its own inside the namespace. What f starts or opens there stays there.
func (n *namespace) do(f func()) {
	failed := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		file, err := os.Open(n.path)
		if err == nil {
			err = unix.Setns(int(file.Fd()), unix.CLONE_NEWNET)
			file.Close()
		}
		if err == nil {
			f()
		}
		failed <- err
	}()
	if err := <-failed; err != nil {
		panic("enter namespace " + n.name + ": " + err.Error())
	}
}

// start starts a program in the namespace.
func (n *namespace) start(command *exec.Cmd) (err error) {
	n.do(func() { err = command.Start() })
	return err
}

// run runs a program in the namespace to its end and returns what it printed.
func (n *namespace) run(program string, args ...string) string {
	n.t.Helper()
	return n.feed("", program, args...)
}

func (n *namespace) feed(stdin, program string, args ...string) string {
	n.t.Helper()
	need(n.t, program)
	var out, complaint strings.Builder
	command := exec.Command(program, args...)
	command.Stdin, command.Stdout, command.Stderr = strings.NewReader(stdin), &out, &complaint
	err := n.start(command)
	if err == nil {
		err = command.Wait()
	}
	require.NoErrorf(n.t, err, "%s %s: %s", program, strings.Join(args, " "), complaint.String())
	return out.String()
}

// set sets a sysctl of the namespace.
func (n *namespace) set(sysctl, value string) {
	n.t.Helper()
	var err error
	n.do(func() { err = os.WriteFile("/proc/sys/net/"+sysctl, []byte(value), 0) })
	require.NoError(n.t, err)
}

func (n *namespace) listen(network string, at netip.AddrPort) net.Listener {
	n.t.Helper()
	var listener net.Listener
	var err error
	n.do(func() { listener, err = net.Listen(network, at.String()) })
	require.NoError(n.t, err)
	n.t.Cleanup(func() { listener.Close() })
	return listener
}

func (n *namespace) tryDial(ctx context.Context, to netip.AddrPort) (conn *net.TCPConn, err error) {
	n.do(func() {
		var c net.Conn
		// A namespace is the thread's: one address, so that no goroutine is started to race another.
		if c, err = (&net.Dialer{KeepAlive: -1}).DialContext(ctx, "tcp", to.String()); err == nil {
			conn = c.(*net.TCPConn)
		}
	})
	return conn, err
}

func (n *namespace) dial(to netip.AddrPort) *net.TCPConn {
	n.t.Helper()
	conn, err := n.tryDial(n.t.Context(), to)
	require.NoError(n.t, err)
	n.t.Cleanup(func() { conn.Close() })
	return conn
}

// at4 and at6 are places to listen at or connect to.
func (n *namespace) at4(port uint16) netip.AddrPort { return netip.AddrPortFrom(n.v4, port) }
func (n *namespace) at6(port uint16) netip.AddrPort { return netip.AddrPortFrom(n.v6, port) }
