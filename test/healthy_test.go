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
	if olderThan(t, 6, 10) {
		resets = 0 // there is no socket any more for what comes too late
	}
	assert.Equal(t, retransmits, o.sum("network.tcp.retransmits"))
	assert.Equal(t, resets, o.sum("network.tcp.resets"), summary(o))
	assert.Len(t, o.events("network.tcp.reset"), int(resets))
	assert.Zero(t, o.sum("network.tcp.connection.failed"))
	assert.Empty(t, o.events("network.tcp.connection.failed"))
	late := map[string]int64{
		"NO_SOCKET":        client["TcpOutRsts"] + served["TcpOutRsts"],
		"TCP_RFC7323_PAWS": client["TcpExtPAWSEstab"] + served["TcpExtPAWSEstab"],
	}
	for reason, drops := range o.by("network.packet.drop.reason", "network.packet.drops") {
		assert.LessOrEqual(t, drops, late[reason], "%s: %s", reason, summary(o))
	}
}
