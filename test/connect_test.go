//go:build linux && (amd64 || arm64)

package kerneltest

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// pair is both ends of one connection.
type pair struct{ client, server *net.TCPConn }

// connect makes a connection to a listener in the server's namespace.
func (n *network) connect(to net.Listener) pair {
	t := n.client.t
	t.Helper()
	at, err := netip.ParseAddrPort(to.Addr().String())
	require.NoError(t, err)
	client := n.client.dial(at)
	server, err := to.Accept()
	require.NoError(t, err)
	t.Cleanup(func() { server.Close() })
	return pair{client, server.(*net.TCPConn)}
}

// unread is how many bytes a reader would find.
func unread(t *testing.T, c *net.TCPConn) (bytes int) {
	t.Helper()
	raw, err := c.SyscallConn()
	require.NoError(t, err)
	var failed error
	require.NoError(t, raw.Control(func(fd uintptr) { bytes, failed = unix.IoctlGetInt(int(fd), unix.SIOCINQ) }))
	require.NoError(t, failed)
	return bytes
}

// closeBy closes the connection in good order, one end first.
func (p pair) closeBy(first, second *net.TCPConn) error {
	err := first.CloseWrite()
	_, read := second.Read(make([]byte, 1))
	if errors.Is(read, io.EOF) {
		read = nil
	}
	return errors.Join(err, read, second.Close(), first.Close())
}

// move sends bytes from one end and reads them at the other.
func move(from, to *net.TCPConn, bytes int) error {
	sent := make(chan error, 1)
	go func() {
		chunk := make([]byte, 64<<10)
		for left := bytes; left > 0; {
			n, err := from.Write(chunk[:min(left, len(chunk))])
			if left -= n; err != nil {
				sent <- err
				return
			}
		}
		sent <- nil
	}()
	_, err := io.CopyN(io.Discard, onlyReader{to}, int64(bytes))
	return errors.Join(err, <-sent)
}

// onlyReader hides what io.Copy would use to move data without reading it.
type onlyReader struct{ io.Reader }
