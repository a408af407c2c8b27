//go:build linux && (amd64 || arm64)

package kerneltest

import (
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// cable joins two namespaces by hand: this process takes each frame from the one and gives it to the other. What comes
// from the client may be given twice, late, or after the one that follows it. For kernels without netem.
type cable struct {
	nth   int           // does something to every nth full frame
	twice bool          // give it twice
	after bool          // give it after the next
	delay time.Duration // of all frames

	touched atomic.Int64 // frames that something was done to
}

const (
	packetVnetHeader     = 15 // PACKET_VNET_HDR, PACKET_IGNORE_OUTGOING: include/uapi/linux/if_packet.h
	packetIgnoreOutgoing = 23
	fullFrame            = 1000 // bytes; acknowledgments are shorter
)

func newCabledNetwork(t *testing.T, w *cable) *network {
	t.Helper()
	n, middle := newJoinedNetwork(t, newNamespace(t, "server", "10.77.0.2", "fd77::2"))
	left, right := middle.tap("left"), middle.tap("right")
	var stopped atomic.Bool
	var carriers sync.WaitGroup
	carriers.Go(func() { w.carry(t, &stopped, left, right) })
	carriers.Go(func() { (&cable{}).carry(t, &stopped, right, left) })
	t.Cleanup(func() {
		stopped.Store(true)
		carriers.Wait()
		unix.Close(left)
		unix.Close(right)
	})
	n.introduce()
	return n
}

// tap is a packet socket at a device. Frames have a header that says which checksums are still to be filled in.
func (n *namespace) tap(device string) (fd int) {
	n.t.Helper()
	n.do(func() {
		at, err := net.InterfaceByName(device)
		require.NoError(n.t, err)
		everything := uint16(unix.ETH_P_ALL)<<8 | unix.ETH_P_ALL>>8
		fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		require.NoError(n.t, err)
		require.NoError(n.t, unix.SetsockoptInt(fd, unix.SOL_PACKET, packetVnetHeader, 1))
		require.NoError(n.t, unix.SetsockoptInt(fd, unix.SOL_PACKET, packetIgnoreOutgoing, 1))
		require.NoError(n.t, unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 64<<20))
		// So that what is held back is let go when nothing follows, and the end is noticed.
		require.NoError(n.t, unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 20_000}))
		require.NoError(n.t, unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: everything, Ifindex: at.Index}))
	})
	return fd
}

// carry takes frames from one tap to another until it is stopped.
func (w *cable) carry(t *testing.T, stopped *atomic.Bool, from, to int) {
	type late struct {
		due   time.Time
		frame []byte
	}
	give := func(frame []byte) {
		_, err := unix.Write(to, frame)
		assert.True(t, err == nil || stopped.Load() || err == unix.ENETDOWN, "%v", err)
	}
	queue := make(chan late, 1<<16)
	var giver sync.WaitGroup
	giver.Go(func() {
		for next := range queue {
			time.Sleep(time.Until(next.due))
			give(next.frame)
		}
	})
	var held []byte
	buffer, full := make([]byte, 1<<17), 0
	for !stopped.Load() {
		size, err := unix.Read(from, buffer)
		if err == nil {
			frame := append([]byte(nil), buffer[:size]...)
			chosen := false
			if size > fullFrame && w.nth > 0 {
				full++
				chosen = full%w.nth == 0
			}
			if chosen {
				w.touched.Add(1)
			}
			if chosen && w.after && held == nil {
				held = frame
				continue
			}
			queue <- late{time.Now().Add(w.delay), frame}
			if chosen && w.twice {
				queue <- late{time.Now().Add(w.delay), frame}
			}
		}
		if held != nil {
			queue <- late{time.Now().Add(w.delay), held}
			held = nil
		}
	}
	close(queue)
	giver.Wait()
}
