//go:build linux && (amd64 || arm64)

package kerneltest

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/netip"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What the victim accepts, and how many wait unaccepted when it dies.
const accepted, unaccepted = 3, 2

// serveUntilKilled is the role of a server that accepts a few connections, reads from none, and connects to
// another server and to one that does not answer. Whoever started it kills it.
func serveUntilKilled(to, silent string) error {
	listener, err := net.Listen("tcp", ":7001")
	if err != nil {
		return err
	}
	fmt.Println("listening")
	for range accepted {
		if _, err := listener.Accept(); err != nil {
			return err
		}
	}
	if _, err := net.Dial("tcp", to); err != nil {
		return err
	}
	fmt.Println("connected")
	_, err = net.Dial("tcp", silent)
	return err
}

// unreadBytes is an established connection in what ss prints, with the bytes "never read" in its receive queue.
var unreadBytes = regexp.MustCompile(`(?m)^ESTAB +10 `)

// startVictim starts a serveUntilKilled in the server's namespace; told reads its next line.
func (n *network) startVictim(to, silent netip.AddrPort) (pid int, told func() string, kill func()) {
	t := n.server.t
	command := child("serve", to.String(), silent.String())
	output, err := command.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, n.server.start(command))
	reader := bufio.NewReader(output)
	told = func() string {
		line, err := reader.ReadString('\n')
		require.NoError(t, err, line)
		return strings.TrimSpace(line)
	}
	kill = func() {
		require.NoError(t, command.Process.Kill())
		require.Error(t, command.Wait())
		require.Equal(t, syscall.SIGKILL, command.ProcessState.Sys().(syscall.WaitStatus).Signal())
	}
	return command.Process.Pid, told, kill
}

// The kernel ends the connections of a process that is killed: with a FIN, or with an RST where there is data that
// the process has not read, or a connection that it has not accepted.
func TestConnectionsOfAKilledProcessEndAsTheKernelEndsThem(t *testing.T) {
	n := newNetwork(t)
	n.client.firewall(`table inet wall {
		counter silent {}
		chain guard { type filter hook input priority 0; tcp dport 7003 counter name silent drop; }
	}`)
	elsewhere := n.client.listen("tcp4", n.client.at4(7002))
	o := observe(t, n.settings())
	pid, told, kill := n.startVictim(n.client.at4(7002), n.client.at4(7003))
	require.Equal(t, "listening", told())

	idle, unread, halfClosed := n.client.dial(n.server.at4(7001)), n.client.dial(n.server.at6(7001)), n.client.dial(n.server.at4(7001))
	outgoing, err := elsewhere.Accept()
	require.NoError(t, err)
	require.Equal(t, "connected", told())
	var waiting []*net.TCPConn
	for range unaccepted {
		waiting = append(waiting, n.client.dial(n.server.at4(7001)))
	}
	_, err = unread.Write([]byte("never read"))
	require.NoError(t, err)
	require.NoError(t, halfClosed.CloseWrite())
	eventually(t, "all is as it is to be", func() bool {
		states := n.server.states()
		return states["CLOSE-WAIT"] == 1 && states["SYN-SENT"] == 1 && states["ESTAB"] == accepted+unaccepted &&
			unreadBytes.MatchString(n.server.run("ss", "-Htn"))
	})
	clientBefore, serverBefore := n.client.nstat(), n.server.nstat()
	kill()

	for _, conn := range []net.Conn{idle, halfClosed, outgoing} {
		_, err := conn.Read(make([]byte, 1))
		require.ErrorIs(t, err, io.EOF)
		require.NoError(t, conn.Close())
	}
	for _, conn := range append(waiting, unread) {
		_, err := conn.Read(make([]byte, 1))
		require.ErrorIs(t, err, syscall.ECONNRESET)
		require.NoError(t, conn.Close())
	}
	eventually(t, "all connections are closed", func() bool { return len(n.stateCounts()) == 0 })
	client, server := n.client.since(clientBefore), n.server.since(serverBefore)
	o.stop()

	const resets, connections = 1 + unaccepted, accepted + unaccepted + 1
	require.EqualValues(t, resets, server["TcpOutRsts"])
	require.Zero(t, client["TcpOutRsts"])
	require.EqualValues(t, resets, client["TcpEstabResets"])
	assert.EqualValues(t, resets, o.sum("network.tcp.resets", "network.io.direction", "transmit"), summary(o))
	assert.EqualValues(t, resets, o.sum("network.tcp.resets", "network.io.direction", "receive"), summary(o))
	assert.EqualValues(t, 2*connections, o.sum("network.tcp.connection.opened"))
	closed := func(role string, port int) map[string]int64 {
		return o.by("network.tcp.close.reason", "network.tcp.connection.closed", "network.tcp.handshake.role", role, "server.port", port)
	}
	assert.Equal(t, map[string]int64{"local_fin": 1, "remote_fin": 1, "reset_sent": resets}, closed("server", 7001))
	assert.Equal(t, map[string]int64{"local_fin": 1, "remote_fin": 1, "reset_received": resets}, closed("client", 7001))
	assert.Equal(t, map[string]int64{"local_fin": 1}, closed("client", 7002), "the victim's own")
	assert.Equal(t, map[string]int64{"remote_fin": 1}, closed("server", 7002))
	assert.EqualValues(t, 1, o.sum("network.tcp.connection.closed", "network.tcp.handshake.role", "client",
		"network.tcp.close.reason", "local_fin", "process.pid", pid))
	assert.Equal(t, map[string]int64{"aborted": 1}, o.by("error.type", "network.tcp.connection.failed"))
	assert.EqualValues(t, 1, o.sum("network.tcp.connection.failed", "process.pid", pid))
	dropped := n.client.counted()["silent"]
	assert.Len(t, o.events("network.packet.drop", "destination.port", 7003), dropped, summary(o))
	o.requireNoDrops(map[string]int64{netfilterReason(o): int64(dropped)}, client, server)
}
