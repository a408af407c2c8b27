//go:build linux && (amd64 || arm64)

package kerneltest

import (
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestDropsOfAQueueAgreeWithTC(t *testing.T) {
	for _, queue := range []string{
		"netem loss 30%",
		"tbf rate 8kbit burst 1600 limit 3000",
	} {
		kind, _, _ := strings.Cut(queue, " ")
		t.Run(kind, func(t *testing.T) {
			n := newNetwork(t)
			need(t, "tc")
			// Neighbours are found first: a full queue would drop the question too.
			for _, to := range []netip.AddrPort{n.server.at4(7000), n.server.at6(7000)} {
				_, err := n.client.tryDial(t.Context(), to)
				require.ErrorIs(t, err, syscall.ECONNREFUSED)
			}
			add := exec.Command("tc", strings.Fields("qdisc add dev eth0 root "+queue)...)
			var complaint strings.Builder
			add.Stderr = &complaint
			require.NoError(t, n.client.start(add))
			if err := add.Wait(); err != nil {
				lacks(t, "this kernel has no %s: %s", kind, complaint.String())
			}
			n.server.swallow(7500)
			beforeAll := n.client.droppedByQdisc("eth0")
			o := observe(t, n.settings())
			before := n.client.droppedByQdisc("eth0")
			for _, to := range []netip.AddrPort{n.server.at4(7500), n.server.at6(7500)} {
				already := n.client.droppedByQdisc("eth0")
				eventually(t, "some are dropped", func() bool {
					n.client.datagrams(to, 100)
					return n.client.droppedByQdisc("eth0") > already
				})
			}
			dropped := n.client.droppedByQdisc("eth0") - before
			o.stop()

			// A namespace is never quite still: it asks for routers and neighbours.
			require.Positive(t, dropped)
			told := o.by("network.packet.drop.reason", "network.packet.drops")[queueReason(o)]
			assert.GreaterOrEqual(t, told, int64(dropped), summary(o))
			assert.LessOrEqual(t, told, int64(n.client.droppedByQdisc("eth0")-beforeAll), summary(o))
			assert.Equal(t, told, o.sum("network.packet.drops"), "of no other reason")
			assert.Len(t, o.events("network.packet.drop", "network.interface.name", "eth0"), int(told))
			for _, network := range []string{"ipv4", "ipv6"} {
				assert.NotEmpty(t, o.events("network.packet.drop", "network.transport", "udp", "network.type", network,
					"destination.port", 7500, "network.io.direction", "transmit"), network)
			}
		})
	}
}

// queueReason: as netfilterReason, of a full queue.
func queueReason(o *observer) string {
	if olderThan(o.t, 5, 17) {
		return "kfree_skb_list"
	}
	return "QDISC_DROP"
}

// swallow reads what comes to a UDP port, so that what arrives is no drop: not even while the reader waits for a
// processor, as its socket has room for all that a test sends.
func (n *namespace) swallow(port uint16) {
	n.t.Helper()
	n.do(func() {
		socket, err := net.ListenUDP("udp", &net.UDPAddr{Port: int(port)})
		if !assert.NoError(n.t, err) {
			return
		}
		raw, err := socket.SyscallConn()
		require.NoError(n.t, err)
		require.NoError(n.t, raw.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 16<<20)
		}))
		require.NoError(n.t, err)
		var reader sync.WaitGroup
		reader.Go(func() {
			for buffer := make([]byte, 100); err == nil; {
				_, err = socket.Read(buffer)
			}
		})
		n.t.Cleanup(func() { socket.Close(); reader.Wait() })
	})
}
