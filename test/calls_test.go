//go:build linux && (amd64 || arm64)

package kerneltest

import (
	"net"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// systemCall moves bytes of a socket that blocks, in two parts where it can.
type systemCall func(fd int, half, rest []byte) (int, error)

var sends = map[string]systemCall{
	"write": func(fd int, half, rest []byte) (int, error) { return unix.Write(fd, append(half, rest...)) },
	"sendto": func(fd int, half, rest []byte) (int, error) {
		return len(half) + len(rest), unix.Send(fd, append(half, rest...), 0)
	},
	"sendmsg": func(fd int, half, rest []byte) (int, error) {
		return unix.SendmsgBuffers(fd, [][]byte{half, rest}, nil, nil, 0)
	},
	"writev":   func(fd int, half, rest []byte) (int, error) { return unix.Writev(fd, [][]byte{half, rest}) },
	"pwritev2": func(fd int, half, rest []byte) (int, error) { return unix.Pwritev2(fd, [][]byte{half, rest}, -1, 0) },
}

var receives = map[string]systemCall{
	"read":     func(fd int, half, rest []byte) (int, error) { return unix.Read(fd, half) },
	"recvfrom": func(fd int, half, rest []byte) (int, error) { n, _, err := unix.Recvfrom(fd, half, 0); return n, err },
	"recvmsg": func(fd int, half, rest []byte) (int, error) {
		n, _, _, _, err := unix.RecvmsgBuffers(fd, [][]byte{half, rest}, nil, 0)
		return n, err
	},
	"readv":   func(fd int, half, rest []byte) (int, error) { return unix.Readv(fd, [][]byte{half, rest}) },
	"preadv2": func(fd int, half, rest []byte) (int, error) { return unix.Preadv2(fd, [][]byte{half, rest}, -1, 0) },
}

// Whichever system calls a program moves its bytes with, each request is one client and one server span.
func TestEachSystemCallThatMovesBytesIsSeen(t *testing.T) {
	withEachTap(t, func(t *testing.T, avoid []string) {
		n := newNetwork(t)
		config := n.settings()
		config.Probe.AvoidHooks = avoid
		o := observe(t, config)
		requireTap(t, o, avoid)
		listener := n.server.listen("tcp4", n.server.at4(80))
		want := map[call]int{}
		for sent, send := range sends {
			for received, receive := range receives {
				path := "/" + sent + "/" + received
				p := n.connect(listener)
				client, server := blocking(t, p.client), blocking(t, p.server)
				carry(t, send, client, receive, server, "GET "+path+" HTTP/1.1\r\nHost: x\r\n\r\n")
				carry(t, send, server, receive, client, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
				require.NoError(t, p.closeBy(p.client, p.server))
				_, port, err := net.SplitHostPort(p.client.LocalAddr().String())
				require.NoError(t, err)
				want[call{port, "GET", path, "200"}] = 1
			}
		}
		o.stop()
		requireSpansOf(t, o, want)
	})
}

// blocking is the descriptor of a connection, in the mode in which calls wait.
func blocking(t *testing.T, conn *net.TCPConn) int {
	t.Helper()
	file, err := conn.File()
	require.NoError(t, err)
	t.Cleanup(func() { file.Close() })
	require.NoError(t, unix.SetNonblock(int(file.Fd()), false))
	return int(file.Fd())
}

func carry(t *testing.T, send systemCall, from int, receive systemCall, to int, what string) {
	t.Helper()
	sent, err := send(from, []byte(what[:10]), []byte(what[10:]))
	require.NoError(t, err)
	require.Equal(t, len(what), sent)
	for got := 0; got < len(what); {
		n, err := receive(to, make([]byte, 12), make([]byte, 200))
		require.NoError(t, err)
		require.Positive(t, n)
		got += n
	}
}
