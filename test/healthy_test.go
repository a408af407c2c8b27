//go:build linux && (amd64 || arm64)

package kerneltest

import (
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// shortConnections makes connections of one request each, a few at a time.
func shortConnections(t *testing.T, from *namespace, server *nginx, total int) {
	t.Helper()
	var busy sync.WaitGroup
	var next atomic.Int64
	for range 8 {
		busy.Go(func() {
			for i := next.Add(1); i <= int64(total); i = next.Add(1) {
				conn, err := from.tryDial(t.Context(), server.at)
				if !assert.NoError(t, err) {
					return
				}
				_, err = browse(conn).ask("GET", fmt.Sprintf("/short/%d", i), "", "Connection: close")
				assert.NoError(t, err)
				_, err = conn.Read(make([]byte, 1))
				assert.ErrorIs(t, err, io.EOF)
				conn.Close()
			}
		})
	}
	busy.Wait()
	require.False(t, t.Failed())
}

func TestHealthyConnectionsAreNotBlamed(t *testing.T) {
	n := newNetwork(t)
	server := startNginx(t, n.server, n.server.at4(80))
	total := scaled(12000)
	o := observe(t, n.settings())
	clientBefore, serverBefore := n.client.nstat(), n.server.nstat()
	shortConnections(t, n.client, server, total)
	eventually(t, "the log has all requests", func() bool { return server.lines() == total })
	eventually(t, "all connections are closed", func() bool {
		return len(n.client.states()) == 0 && len(n.server.states()) == 0
	})
	client, served := n.client.since(clientBefore), n.server.since(serverBefore)
	o.stop()

	require.EqualValues(t, total, client["TcpActiveOpens"])
	for _, role := range []string{"client", "server"} {
		o.assertAll(total, o.sum("network.tcp.connection.opened", "network.tcp.handshake.role", role), role)
		o.assertAll(total, o.sum("network.tcp.connection.closed", "network.tcp.handshake.role", role), role)
	}
	reasons := o.by("network.tcp.close.reason", "network.tcp.connection.closed")
	assert.Len(t, reasons, 2, "%v", reasons)
	o.assertAll(total, reasons["local_fin"], reasons)
	o.assertAll(total, reasons["remote_fin"], reasons)
	requireSpansOf(t, o, server.calls())

	// A machine that is slow or busy may retransmit in earnest, and reset what then comes too late: whatever
	// nstat counts is to be told, and nothing else.
	retransmits := client["TcpRetransSegs"] + served["TcpRetransSegs"]
	resets := client["TcpOutRsts"] + served["TcpOutRsts"]
	o.assertAll(int(retransmits), o.sum("network.tcp.retransmits"))
	o.assertResets(0, resets)
	assert.Zero(t, o.sum("network.tcp.resets", "network.io.direction", "receive"), summary(o))
	assert.Len(t, o.events("network.tcp.reset"), int(o.sum("network.tcp.resets")))
	assert.Zero(t, o.sum("network.tcp.connection.failed"))
	assert.Empty(t, o.events("network.tcp.connection.failed"))
	o.requireNoDrops(nil, client, served)
}

// Many connections that are gone before a collection could meet them.
func TestFiveThousandShortConnectionsAreAllTold(t *testing.T) {
	const connections, bytes = 5000, 100
	n := newNetwork(t)
	o := observe(t, n.settings())
	clientBefore, serverBefore := n.client.nstat(), n.server.nstat()
	listener := n.server.listen("tcp4", n.server.at4(7000))
	var busy sync.WaitGroup
	for range 4 {
		busy.Go(func() {
			for range connections / 4 {
				conn, err := n.client.tryDial(t.Context(), n.server.at4(7000))
				if !assert.NoError(t, err) {
					return
				}
				got, err := io.Copy(io.Discard, onlyReader{conn})
				assert.NoError(t, err)
				assert.EqualValues(t, bytes, got)
				conn.Close()
			}
		})
	}
	for range connections {
		conn, err := listener.Accept()
		require.NoError(t, err)
		_, err = conn.Write(make([]byte, bytes))
		require.NoError(t, err)
		conn.Close()
	}
	busy.Wait()
	eventually(t, "all connections are closed", func() bool { return len(n.stateCounts()) == 0 })
	client, server := n.client.since(clientBefore), n.server.since(serverBefore)
	o.stop()

	require.EqualValues(t, connections, client["TcpActiveOpens"])
	require.EqualValues(t, connections, server["TcpPassiveOpens"])
	for role, direction := range map[string]string{"client": "receive", "server": "transmit"} {
		of := where{"network.tcp.handshake.role", role}
		o.assertAll(connections, o.sum("network.tcp.connection.opened", of...), role)
		o.assertAll(connections, o.sum("network.tcp.connection.closed", of...), role)
		lives, _ := o.distribution("network.tcp.connection.duration", of...)
		o.assertAll(connections, int64(lives), role)
		told := o.sum("network.io", append(of, "network.io.direction", direction)...)
		assert.LessOrEqual(t, told, int64(connections*bytes))
		assert.GreaterOrEqual(t, told, (connections-int64(o.skipped()))*bytes)
	}
	o.assertAll(int(client["TcpRetransSegs"]+server["TcpRetransSegs"]), o.sum("network.tcp.retransmits"))
	assert.Zero(t, o.sum("network.tcp.connection.failed"))
}
