//go:build linux && (amd64 || arm64)

package kerneltest

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"
)

// echo sends every datagram back, through a socket that is bound and not connected.
func (n *namespace) echo(network string, at netip.AddrPort) {
	n.t.Helper()
	var server net.PacketConn
	var err error
	n.do(func() { server, err = net.ListenPacket(network, at.String()) })
	require.NoError(n.t, err)
	n.t.Cleanup(func() { server.Close() })
	go func() {
		buffer := make([]byte, 2000)
		for {
			length, from, err := server.ReadFrom(buffer)
			if err != nil {
				return
			}
			_, _ = server.WriteTo(buffer[:length], from)
		}
	}()
}

// ask sends datagrams of so many bytes from one socket and waits for each to come back.
func (n *namespace) ask(socket net.PacketConn, to netip.AddrPort, times, bytes int) {
	n.t.Helper()
	buffer := make([]byte, 2000)
	for range times {
		var err error
		if c, ok := socket.(*net.UDPConn); ok && c.RemoteAddr() != nil {
			_, err = c.Write(buffer[:bytes])
		} else {
			_, err = socket.WriteTo(buffer[:bytes], net.UDPAddrFromAddrPort(to))
		}
		require.NoError(n.t, err)
		length, _, err := socket.ReadFrom(buffer)
		require.NoError(n.t, err)
		require.Equal(n.t, bytes, length)
	}
}

func (n *namespace) dialUDP(to netip.AddrPort) (socket *net.UDPConn) {
	n.t.Helper()
	var err error
	n.do(func() { socket, err = net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to)) })
	require.NoError(n.t, err)
	n.t.Cleanup(func() { socket.Close() })
	return socket
}

// datagramFlows are bytes and packets of the newest flows over UDP, by peer, role, port and direction.
func (o *observer) datagramFlows() map[string][2]int64 {
	flows := map[string][2]int64{}
	for key, counts := range o.flowsBy("network.transport", "network.peer.address", "network.flow.role", "server.port", "network.io.direction") {
		if of, ok := strings.CutPrefix(key, "udp "); ok {
			flows[of] = counts
		}
	}
	return flows
}

// flowsBy are bytes and packets of the newest flows that moved any, by the values of attributes with spaces between.
func (o *observer) flowsBy(attributes ...string) map[string][2]int64 {
	flows := map[string][2]int64{}
	for i, name := range []string{"network.flow.io", "network.flow.packets"} {
		o.flows(name, func(point pmetric.NumberDataPoint, _ pcommon.Map) {
			if point.IntValue() == 0 {
				return
			}
			values := make([]string, len(attributes))
			for j, attribute := range attributes {
				values[j] = text(point.Attributes(), attribute)
			}
			counts := flows[strings.Join(values, " ")]
			counts[i] += point.IntValue()
			flows[strings.Join(values, " ")] = counts
		})
	}
	return flows
}

func TestDatagramFlowsAgreeWithNstat(t *testing.T) {
	withEachHook(t, "datagrams", testDatagramFlows)
}

func testDatagramFlows(t *testing.T, avoid []string) {
	n := newNetwork(t)
	n.server.echo("udp4", n.server.at4(7300))
	n.server.echo("udp6", n.server.at6(7301))
	before, beforeServer := n.client.nstat(), n.server.nstat()
	o := observe(t, avoiding(n.dnsSettings(), avoid))
	requireHook(t, o, "datagrams", avoid)

	four, six := n.client.dialUDP(n.server.at4(7300)), n.client.dialUDP(n.server.at6(7301))
	n.client.ask(four, n.server.at4(7300), 20, 100)
	n.client.ask(six, n.server.at6(7301), 10, 1000)
	var mapped net.PacketConn // an IPv6 socket that speaks IPv4, not connected
	var err error
	n.client.do(func() { mapped, err = net.ListenPacket("udp", ":0") })
	require.NoError(t, err)
	defer mapped.Close()
	n.client.ask(mapped, n.server.at4(7300), 5, 10)
	client, server := n.client.since(before), n.server.since(beforeServer)
	o.stop()

	v4, v6, c4, c6 := n.server.v4.String(), n.server.v6.String(), n.client.v4.String(), n.client.v6.String()
	want := map[string][2]int64{
		v4 + " client 7300 transmit": {2000, 20}, v4 + " client 7300 receive": {2000, 20},
		v6 + " client 7301 transmit": {10000, 10}, v6 + " client 7301 receive": {10000, 10},
		v4 + "   transmit":           {50, 5}, // who knows whether this end is a client?
		c4 + " server 7300 transmit": {2050, 25},
		c6 + " server 7301 transmit": {10000, 10},
	}
	hook, _ := o.hook("datagrams")
	if !strings.HasPrefix(hook, "tp_btf") {
		want[v4+"   receive"] = [2]int64{50, 5}
		want[c4+" server 7300 receive"] = [2]int64{2050, 25}
		want[c6+" server 7301 receive"] = [2]int64{10000, 10}
	} else { // whence a datagram came to a socket that is not connected is not known
		want["   receive"] = [2]int64{50, 5}
		want[" server 7300 receive"] = [2]int64{2050, 25}
		want[" server 7301 receive"] = [2]int64{10000, 10}
	}
	flows := o.datagramFlows()
	if o.skipped() == 0 {
		assert.Equal(t, want, flows, hook)
	}
	packets := map[string]int64{}
	for key, counts := range flows {
		assert.LessOrEqual(t, counts[0], want[key][0], key)
		assert.LessOrEqual(t, counts[1], want[key][1], key)
		packets[key[strings.LastIndexByte(key, ' ')+1:]] += counts[1]
	}
	udp := func(counter string) int64 {
		return client["Udp"+counter] + client["Udp6"+counter] + server["Udp"+counter] + server["Udp6"+counter]
	}
	for direction, counter := range map[string]string{"transmit": "OutDatagrams", "receive": "InDatagrams"} {
		o.assertAll(int(udp(counter)), packets[direction], direction)
	}
	assert.Zero(t, o.engine.Stats().Kernel.FlowsFull, fmt.Sprint(flows))
}
