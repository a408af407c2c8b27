//go:build linux && (amd64 || arm64)

package kerneltest

import (
	"errors"
	"io"
	"net"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// A transfer that one end breaks off with an RST, while the other is in the middle of it, is told as far as it came.
func TestABrokenTransferIsToldAsFarAsItCame(t *testing.T) {
	for name, breaks := range map[string]func(sender, receiver *net.TCPConn) (breaker, other *net.TCPConn){
		"by the sender":   func(sender, receiver *net.TCPConn) (_, _ *net.TCPConn) { return sender, receiver },
		"by the receiver": func(sender, receiver *net.TCPConn) (_, _ *net.TCPConn) { return receiver, sender },
	} {
		t.Run(name, func(t *testing.T) {
			n := newNetwork(t)
			o := observe(t, n.settings())
			clientBefore, serverBefore := n.client.nstat(), n.server.nstat()
			p := n.connect(n.server.listen("tcp6", n.server.at6(7200)))
			role := map[*net.TCPConn]string{p.client: "client", p.server: "server"}
			breaker, other := breaks(p.client, p.server)

			sent := make(chan error, 1)
			go func() {
				for chunk := make([]byte, 64<<10); ; {
					if _, err := p.client.Write(chunk); err != nil {
						sent <- err
						return
					}
				}
			}()
			_, err := io.CopyN(io.Discard, onlyReader{p.server}, 2_000_000)
			require.NoError(t, err)
			require.NoError(t, breaker.SetLinger(0))
			require.NoError(t, breaker.Close())
			if other == p.server {
				_, err := io.Copy(io.Discard, onlyReader{other})
				require.ErrorIs(t, err, syscall.ECONNRESET)
			}
			err = <-sent
			require.True(t, errors.Is(err, net.ErrClosed) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE), "%v", err)
			eventually(t, "both ends are closed", func() bool { return len(n.stateCounts()) == 0 })
			// The socket of the other end is there as long as it is not closed, with all that it has counted.
			witness := tcpInfo(t, other)
			client, server := n.client.since(clientBefore), n.server.since(serverBefore)
			o.stop()

			told := o.transfer(role[other], 7200)
			assert.Equal(t, int64(witness.Bytes_received), told.Received)
			assert.Equal(t, int64(witness.Bytes_sent-witness.Bytes_retrans), told.Sent)
			// Another processor may have found the socket just before it was closed, and one more RST counts for it then.
			resets := client["TcpOutRsts"] + server["TcpOutRsts"]
			assert.LessOrEqual(t, told.SegmentsIn, int64(witness.Segs_in))
			assert.GreaterOrEqual(t, told.SegmentsIn, int64(witness.Segs_in)-(resets-1))
			assert.Equal(t, int64(witness.Segs_out), told.SegmentsOut)
			assert.GreaterOrEqual(t, o.transfer("client", 7200).Sent, int64(2_000_000))
			assert.GreaterOrEqual(t, o.transfer("client", 7200).Sent, o.transfer("server", 7200).Received)
			assert.Equal(t, map[string]int64{"reset_sent": 1}, o.by("network.tcp.close.reason", "network.tcp.connection.closed",
				"network.tcp.handshake.role", role[breaker]))
			assert.Equal(t, map[string]int64{"reset_received": 1}, o.by("network.tcp.close.reason", "network.tcp.connection.closed",
				"network.tcp.handshake.role", role[other]))
			require.EqualValues(t, 2, client["TcpEstabResets"]+server["TcpEstabResets"], "one for each end")
			assert.EqualValues(t, 1, o.sum("network.tcp.resets", "network.io.direction", "receive"), summary(o))
			// What was under way when its socket was gone is answered with an RST each, which finds no socket either.
			o.requireNoDrops(map[string]int64{"NO_SOCKET": resets}, client, server)
			o.assertResets(1, resets)
		})
	}
}

func tcpInfo(t *testing.T, conn *net.TCPConn) *unix.TCPInfo {
	t.Helper()
	raw, err := conn.SyscallConn()
	require.NoError(t, err)
	var info *unix.TCPInfo
	require.NoError(t, raw.Control(func(fd uintptr) {
		info, err = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
	}))
	require.NoError(t, err)
	return info
}
