//go:build linux && (amd64 || arm64)

package kerneltest

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"

	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

// datagrams sends UDP packets; what the sender is told of them is not the question, so its socket is not connected:
// an error would be told in place of the next packet.
func (n *namespace) datagrams(to netip.AddrPort, count int) {
	n.t.Helper()
	n.datagramsOf(64, to, count)
}

// datagramsOf sends them with a limit of hops.
func (n *namespace) datagramsOf(hops int, to netip.AddrPort, count int) {
	n.t.Helper()
	network := "udp4"
	if to.Addr().Is6() {
		network = "udp6"
	}
	n.do(func() {
		socket, err := net.ListenPacket(network, ":0")
		if !assert.NoError(n.t, err) {
			return
		}
		defer socket.Close()
		if network == "udp4" {
			assert.NoError(n.t, ipv4.NewPacketConn(socket).SetTTL(hops))
		} else {
			assert.NoError(n.t, ipv6.NewPacketConn(socket).SetHopLimit(hops))
		}
		for range count {
			_, _ = socket.WriteTo([]byte("into the void"), net.UDPAddrFromAddrPort(to))
		}
	})
}

// knock tries to connect until the firewall has counted an attempt more.
func (n *namespace) knock(to netip.AddrPort, counted func() bool) {
	n.t.Helper()
	ctx, cancel := context.WithCancel(n.t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn, err := n.tryDial(ctx, to)
		if err == nil {
			conn.Close()
		}
		if ctx.Err() == nil {
			n.t.Logf("the attempt has ended: %v", err)
		}
	}()
	eventually(n.t, "the firewall saw a SYN", counted)
	cancel()
	<-done
}

const wall = `
table inet wall {
	counter tcp4 {}
	counter tcp6 {}
	counter udp4 {}
	counter udp6 {}
	chain guard {
		type filter hook %s priority 0;
		ip protocol tcp tcp dport 7001 counter name tcp4 drop
		meta nfproto ipv6 tcp dport 7001 counter name tcp6 drop
		ip protocol udp udp dport 7001 counter name udp4 drop
		meta nfproto ipv6 udp dport 7001 counter name udp6 drop
	}
}`

func TestPacketsThatAFirewallDropsNameNetfilter(t *testing.T) {
	for _, hook := range []string{"input", "output"} {
		t.Run(hook, func(t *testing.T) {
			n := newNetwork(t)
			o := observe(t, n.settings())
			end, direction := n.server, "receive"
			if hook == "output" {
				end, direction = n.client, "transmit"
			}
			end.firewall(fmt.Sprintf(wall, hook))
			for transport, to := range map[string]netip.AddrPort{"tcp4": n.server.at4(7001), "tcp6": n.server.at6(7001)} {
				n.client.knock(to, func() bool { return end.counted()[transport] > 0 })
			}
			n.client.datagrams(n.server.at4(7001), 5)
			n.client.datagrams(n.server.at6(7001), 5)
			eventually(t, "the firewall saw all datagrams", func() bool {
				seen := end.counted()
				return seen["udp4"] == 5 && seen["udp6"] == 5
			})
			counted := end.counted()
			o.stop()

			total := 0
			for name, packets := range counted {
				total += packets
				kind := where{
					"network.transport", name[:3], "network.type", "ipv" + name[3:],
					"network.packet.drop.reason", netfilterReason(o), "destination.port", 7001,
				}
				events := o.events("network.packet.drop", kind...)
				assert.Len(t, events, packets, "%v", kind)
				for _, event := range events {
					a := event.Attributes()
					client, server := n.client.v4, n.server.v4
					if strings.HasSuffix(name, "6") {
						client, server = n.client.v6, n.server.v6
					}
					assert.Equal(t, client.String(), text(a, "source.address"))
					assert.NotEmpty(t, text(a, "source.port"))
					assert.Equal(t, server.String(), text(a, "destination.address"))
					assert.Equal(t, direction, text(a, "network.io.direction"))
					if hook == "input" { // on its way out a packet meets the firewall before its device
						assert.Equal(t, "eth0", text(a, "network.interface.name"))
					}
					requireSymbols(t, text(a, "code.stacktrace"))
					assert.Contains(t, event.Body().Str(), "drop "+netfilterReason(o)+": ")
				}
			}
			assert.Len(t, o.events("network.packet.drop"), total, "%v", summary(o))
			assert.EqualValues(t, total, o.sum("network.packet.drops",
				"network.packet.drop.reason", netfilterReason(o), "network.io.direction", direction))
			assert.EqualValues(t, total, o.sum("network.packet.drops"))
			assert.EqualValues(t, total, o.engine.Stats().Kernel.Kinds[wire.RecordDrop].Seen)
		})
	}
}

// netfilterReason: kernels before 5.17 give no reasons; there the function that dropped is all that is known.
func netfilterReason(o *observer) string {
	if olderThan(o.t, 5, 17) {
		return "nf_hook_slow"
	}
	return "NETFILTER_DROP"
}

// requireSymbols: a stack of functions, among them netfilter's.
func requireSymbols(t *testing.T, stack string) {
	t.Helper()
	frames := strings.Split(stack, "\n")
	require.Greater(t, len(frames), 3, stack)
	for _, frame := range frames {
		require.Regexp(t, `^[^ ]+\+0x[0-9a-f]+( \[[a-z0-9_]+\])?$`, frame, stack)
	}
	require.Contains(t, stack, "nf_hook_slow")
}

// summary is all events of an observer, for the message of a test that fails.
func summary(o *observer) string {
	var lines strings.Builder
	for _, name := range []string{"network.packet.drop", "network.tcp.reset", "network.tcp.retransmit", "network.tcp.connection.failed"} {
		for _, event := range o.events(name) {
			fmt.Fprintf(&lines, "\n%s\n%s", event.Body().Str(), text(event.Attributes(), "code.stacktrace"))
		}
	}
	return lines.String()
}
