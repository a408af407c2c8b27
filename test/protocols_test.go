//go:build linux && (amd64 || arm64)

package kerneltest

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// socket opens a socket in the namespace.
func (n *namespace) socket(family, kind, protocol int) (socket int) {
	n.t.Helper()
	var err error
	n.do(func() { socket, err = unix.Socket(family, kind|unix.SOCK_CLOEXEC, protocol) })
	require.NoError(n.t, err)
	n.t.Cleanup(func() { unix.Close(socket) })
	require.NoError(n.t, unix.SetsockoptTimeval(socket, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 60}))
	return socket
}

func sockaddr(at netip.AddrPort) unix.Sockaddr {
	if at.Addr().Is4() {
		return &unix.SockaddrInet4{Addr: at.Addr().As4(), Port: int(at.Port())}
	}
	return &unix.SockaddrInet6{Addr: at.Addr().As16(), Port: int(at.Port())}
}

// echoRequest is a message of ICMP or ICMPv6; the kernel sums the latter up itself.
func echoRequest(kind byte, payload int) []byte {
	message := make([]byte, 8+payload)
	message[0], message[4], message[7] = kind, 0x12, 1
	var sum uint32
	for i := 0; i < len(message); i += 2 {
		sum += uint32(message[i])<<8 | uint32(message[i+1])
	}
	sum = sum&0xffff + sum>>16
	message[2], message[3] = byte(^sum>>8), byte(^sum)
	return message
}

// ping sends echo requests through a socket and waits for each answer.
func ping(t *testing.T, socket int, to netip.Addr, request []byte, times int) {
	t.Helper()
	require.NoError(t, unix.Connect(socket, sockaddr(netip.AddrPortFrom(to, 0))))
	answer := make([]byte, 2000)
	for range times {
		_, err := unix.Write(socket, request)
		require.NoError(t, err)
		_, err = unix.Read(socket, answer)
		require.NoError(t, err)
	}
}

// protocolFlows are bytes and packets of the newest flows, by transport, peer, role, port and direction.
func (o *observer) protocolFlows() map[string][2]int64 {
	flows := map[string][2]int64{}
	for key, counts := range o.flowsBy("network.transport", "network.peer.address", "network.flow.role", "server.port", "network.io.direction") {
		flows[strings.Join(strings.Fields(key), " ")] = counts // without what is absent
	}
	return flows
}

func TestFlowsOfICMPAndRawProtocolsAgreeWithNstat(t *testing.T) {
	n := newNetwork(t)
	n.client.set("ipv4/ping_group_range", "0 0")
	before := n.client.nstat()
	o := observe(t, n.dnsSettings())

	raw := n.client.socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP)
	ping(t, raw, n.server.v4, echoRequest(8, 56), 5)
	unprivileged := n.client.socket(unix.AF_INET, unix.SOCK_DGRAM, unix.IPPROTO_ICMP)
	ping(t, unprivileged, n.server.v4, echoRequest(8, 10), 3)
	six := n.client.socket(unix.AF_INET6, unix.SOCK_RAW, unix.IPPROTO_ICMPV6)
	answersOnly := unix.ICMPv6Filter{Data: [8]uint32{^uint32(0), ^uint32(0), ^uint32(0), ^uint32(0), ^uint32(1 << 1)}}
	require.NoError(t, unix.SetsockoptICMPv6Filter(six, unix.IPPROTO_ICMPV6, unix.ICMPV6_FILTER, &answersOnly))
	ping(t, six, n.server.v6, echoRequest(128, 100), 4)
	unprivileged6 := n.client.socket(unix.AF_INET6, unix.SOCK_DGRAM, unix.IPPROTO_ICMPV6)
	ping(t, unprivileged6, n.server.v6, echoRequest(128, 20), 2)

	const experimental = 253 // RFC 3692
	sender, receiver := n.client.socket(unix.AF_INET, unix.SOCK_RAW, experimental), n.server.socket(unix.AF_INET, unix.SOCK_RAW, experimental)
	for range 2 {
		require.NoError(t, unix.Sendto(sender, make([]byte, 50), 0, sockaddr(netip.AddrPortFrom(n.server.v4, 0))))
		length, _, err := unix.Recvfrom(receiver, make([]byte, 200), 0)
		require.NoError(t, err)
		require.Equal(t, 70, length, "with its header of IPv4")
	}
	nstat := n.client.since(before)
	o.stop()

	v4, v6, client := n.server.v4.String(), n.server.v6.String(), n.client.v4.String()
	want := map[string][2]int64{
		"icmp " + v4 + " transmit":   {5*64 + 3*18, nstat["IcmpOutEchos"]},
		"icmp " + v4 + " receive":    {5*84 + 3*18, nstat["IcmpInEchoReps"]}, // raw sockets of IPv4 are given its header
		"icmpv6 " + v6 + " transmit": {4*108 + 2*28, nstat["Icmp6OutEchos"]},
		"icmpv6 " + v6 + " receive":  {4*108 + 2*28, nstat["Icmp6InEchoReplies"]},
		"253 " + v4 + " transmit":    {100, 2},
	}
	hook, refused := o.hook("datagrams")
	if strings.HasPrefix(hook, "tp_btf") { // whence a packet came to a socket that is not connected is not known
		want["253 receive"] = [2]int64{140, 2}
	} else {
		want["253 "+client+" receive"] = [2]int64{140, 2}
	}
	assert.EqualValues(t, 8, nstat["IcmpOutEchos"])
	assert.EqualValues(t, 6, nstat["Icmp6InEchoReplies"])
	assert.Equal(t, want, o.protocolFlows(), "%s %v", hook, refused)
}

// newSCTPSocket skips the test where the kernel has no SCTP.
func (n *namespace) newSCTPSocket(kind int) int {
	var probe int
	var err error
	n.do(func() { probe, err = unix.Socket(unix.AF_INET, kind, unix.IPPROTO_SCTP) })
	if err != nil {
		lacks(n.t, "no SCTP in this kernel: %v", err)
	}
	unix.Close(probe)
	return n.socket(unix.AF_INET, kind, unix.IPPROTO_SCTP)
}

func TestFlowsOfSCTPHaveThePortOfAListener(t *testing.T) {
	n := newNetwork(t)
	server, client := n.server.newSCTPSocket(unix.SOCK_SEQPACKET), n.client.newSCTPSocket(unix.SOCK_STREAM)
	o := observe(t, n.dnsSettings())
	require.NoError(t, unix.Bind(server, sockaddr(n.server.at4(7600))))
	require.NoError(t, unix.Listen(server, 5))
	require.NoError(t, unix.Connect(client, sockaddr(n.server.at4(7600))))
	buffer := make([]byte, 2000)
	for range 6 {
		_, err := unix.Write(client, buffer[:300])
		require.NoError(t, err)
		length, from, err := unix.Recvfrom(server, buffer, 0)
		require.NoError(t, err)
		require.Equal(t, 300, length)
		require.NoError(t, unix.Sendto(server, buffer[:length/2], 0, from))
		length, err = unix.Read(client, buffer)
		require.NoError(t, err)
		require.Equal(t, 150, length)
	}
	o.stop()
	v4, from := n.server.v4.String(), n.client.v4.String()
	want := map[string][2]int64{
		// Who connected is not told: an accepted socket looks the same.
		"sctp " + v4 + " transmit":               {1800, 6},
		"sctp " + v4 + " receive":                {900, 6},
		"sctp " + from + " server 7600 transmit": {900, 6},
		"sctp " + from + " server 7600 receive":  {1800, 6},
	}
	hook, refused := o.hook("datagrams")
	if strings.HasPrefix(hook, "tp_btf") {
		delete(want, "sctp "+from+" server 7600 receive")
		want["sctp server 7600 receive"] = [2]int64{1800, 6}
	} else {
		hook, refused = o.hook("datagrams.sctp")
	}
	assert.Equal(t, want, o.protocolFlows(), "%s %v", hook, refused)
}
