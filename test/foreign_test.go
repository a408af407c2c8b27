//go:build linux && (amd64 || arm64)

package kerneltest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"golang.org/x/sys/unix"
)

// dialMPTCP connects with MPTCP, as far as both ends speak it.
func (n *namespace) dialMPTCP(to string) *net.TCPConn {
	n.t.Helper()
	dialer := net.Dialer{KeepAlive: -1}
	dialer.SetMultipathTCP(true)
	var conn net.Conn
	var err error
	n.do(func() { conn, err = dialer.DialContext(n.t.Context(), "tcp", to) })
	require.NoError(n.t, err)
	n.t.Cleanup(func() { conn.Close() })
	return conn.(*net.TCPConn)
}

func (n *namespace) listenMPTCP(at string) net.Listener {
	n.t.Helper()
	config := net.ListenConfig{}
	config.SetMultipathTCP(true)
	var listener net.Listener
	var err error
	n.do(func() { listener, err = config.Listen(context.Background(), "tcp", at) })
	require.NoError(n.t, err)
	n.t.Cleanup(func() { listener.Close() })
	return listener
}

func isMPTCP(t *testing.T, conn *net.TCPConn) bool {
	t.Helper()
	multipath, err := conn.MultipathTCP()
	require.NoError(t, err)
	return multipath
}

// An MPTCP socket is none of TCP's; the connection that it has on each path is, and is told as ss shows it.
// What is said there is said to the MPTCP socket: it makes no call.
func TestMPTCPIsToldAsTheConnectionsOfItsPaths(t *testing.T) {
	if _, err := os.Stat("/proc/sys/net/mptcp"); err != nil {
		require.False(t, inLab() && !olderThan(t, 6, 1), "Debian has MPTCP since 6.1")
		t.Skip("this kernel has no MPTCP")
	}
	withEachTap(t, func(t *testing.T, avoid []string) {
		n := newNetwork(t)
		config := n.settings()
		config.Probe.AvoidHooks = avoid
		o := observe(t, config)
		requireTap(t, o, avoid)
		clientBefore, serverBefore := n.client.nstat(), n.server.nstat()
		listener := n.server.listenMPTCP(n.server.at4(7800).String())
		client := n.client.dialMPTCP(listener.Addr().String())
		conn, err := listener.Accept()
		require.NoError(t, err)
		t.Cleanup(func() { conn.Close() })
		both := pair{client, conn.(*net.TCPConn)}
		require.True(t, isMPTCP(t, both.client))
		require.True(t, isMPTCP(t, both.server))
		require.EqualValues(t, 1, n.server.since(serverBefore)["MPTcpExtMPCapableACKRX"])

		const requests = 3
		served := make(chan error, 1)
		go func() { served <- reply(both.server, requests) }()
		require.NoError(t, inquire(both.client, requests))
		require.NoError(t, <-served)
		require.NoError(t, move(both.client, both.server, 300_000))
		require.NoError(t, move(both.server, both.client, 20_000))
		n.requireAgreement(o, 7800)
		assert.Equal(t, map[string]int64{"established": 2}, o.by("network.connection.state", "network.tcp.connection.count"))

		// One that falls back is TCP.
		plain := n.connect(listener)
		require.False(t, isMPTCP(t, plain.client))
		require.NoError(t, move(plain.client, plain.server, 1000))
		require.NoError(t, plain.closeBy(plain.client, plain.server))
		require.NoError(t, both.closeBy(both.client, both.server))
		eventually(t, "all connections are closed", func() bool { return len(n.stateCounts()) == 0 })
		clientAfter, serverAfter := n.client.since(clientBefore), n.server.since(serverBefore)
		o.stop()
		assert.Equal(t, map[string]int64{"client": clientAfter["TcpActiveOpens"], "server": serverAfter["TcpPassiveOpens"]},
			o.by("network.tcp.handshake.role", "network.tcp.connection.opened"))
		assert.EqualValues(t, 4, o.sum("network.tcp.connection.closed"))
		assert.Equal(t, clientAfter["TcpOutRsts"]+serverAfter["TcpOutRsts"], o.sum("network.tcp.resets", "network.io.direction", "transmit"), summary(o))
		o.requireNoDrops(nil, clientAfter, serverAfter)
		assert.Empty(t, o.spans(ptrace.SpanKindClient), "what was said there is not seen")
		assert.Empty(t, o.spans(ptrace.SpanKindServer))
	})
}

// inquire asks so many things of an HTTP server, reply gives as many answers.
func inquire(conn io.ReadWriter, times int) error {
	browser := browse(conn)
	for i := range times {
		if _, err := browser.ask("GET", fmt.Sprintf("/%d", i), ""); err != nil {
			return err
		}
	}
	return nil
}

func reply(conn io.ReadWriter, times int) error {
	in := bufio.NewReader(conn)
	for range times {
		if _, err := http.ReadRequest(in); err != nil {
			return err
		}
		if _, err := io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello\n"); err != nil {
			return err
		}
	}
	return nil
}

// From include/uapi/linux/tls.h; the cipher is AES-128-GCM of TLS 1.2.
const (
	tlsTransmit, tlsReceive = 1, 2
	tls12, tlsAES128GCM     = 0x0303, 51
)

// encrypt has the kernel speak TLS on a connection, with keys that are the same in all tests.
func encrypt(t *testing.T, conn *net.TCPConn) error {
	t.Helper()
	raw, err := conn.SyscallConn()
	require.NoError(t, err)
	keys := string([]byte{tls12 & 0xff, tls12 >> 8, tlsAES128GCM, 0}) + strings.Repeat("k", 8+16+4) + strings.Repeat("\x00", 8)
	var failed error
	require.NoError(t, raw.Control(func(fd uintptr) {
		failed = unix.SetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_ULP, "tls")
		for _, direction := range []int{tlsTransmit, tlsReceive} {
			if failed == nil {
				failed = unix.SetsockoptString(int(fd), unix.SOL_TLS, direction, keys)
			}
		}
	}))
	return failed
}

// Where the kernel encrypts, applications hand it plain text: the bytes are not those of the stream, so they make no
// call. The connection is told as ss shows it. What was said before in plain text is a call.
func TestWhatTheKernelEncryptsIsCountedButNotRead(t *testing.T) {
	withEachTap(t, func(t *testing.T, avoid []string) {
		n := newNetwork(t)
		config := n.settings()
		config.Probe.AvoidHooks = avoid
		o := observe(t, config)
		requireTap(t, o, avoid)
		for port, plainly := range map[int]int{7900: 0, 7901: 2} {
			p := n.connect(n.server.listen("tcp4", n.server.at4(uint16(port))))
			talk := func(requests int) {
				served := make(chan error, 1)
				go func() { served <- reply(p.server, requests) }()
				require.NoError(t, inquire(p.client, requests))
				require.NoError(t, <-served)
			}
			talk(plainly)
			err := errors.Join(encrypt(t, p.client), encrypt(t, p.server))
			if errors.Is(err, unix.ENOENT) {
				require.False(t, inLab() && !olderThan(t, 6, 1), "Debian has kTLS since 6.1")
				t.Skip("this kernel has no TLS")
			}
			require.NoError(t, err)
			talk(3)
			require.NoError(t, move(p.client, p.server, 100_000))
			n.requireAgreement(o, port)
			require.NoError(t, p.closeBy(p.client, p.server))
			eventually(t, "the connection is closed", func() bool { return len(n.stateCounts()) == 0 })
		}
		client, server := n.client.nstat(), n.server.nstat()
		tls := n.client.run("cat", "/proc/net/tls_stat")
		o.stop()
		require.Regexp(t, `(?m)^TlsTxSw\s+[1-9]`, tls)
		assert.EqualValues(t, 4, o.sum("network.tcp.connection.opened"))
		assert.EqualValues(t, 4, o.sum("network.tcp.connection.closed"))
		for _, kind := range []ptrace.SpanKind{ptrace.SpanKindClient, ptrace.SpanKindServer} {
			whole := 0
			for _, span := range o.spans(kind) {
				if text(span.Attributes(), "ebpfnet.capture") == "" {
					whole++
				}
			}
			o.assertAll(2, int64(len(o.spans(kind))), "the plain ones: %v", kind)
			o.assertAll(2, int64(whole), "%v", kind)
		}
		o.requireNoDrops(nil, client, server)
	})
}
