//go:build linux && (amd64 || arm64)

package kerneltest

import (
	"encoding/json"
	"regexp"
	"strconv"
	"strings"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// nstat is the namespace's SNMP and TcpExt counters since it was made.
func (n *namespace) nstat() map[string]int64 {
	n.t.Helper()
	counters := map[string]int64{}
	for line := range strings.Lines(n.run("nstat", "-asz")) {
		if part := strings.Fields(line); len(part) >= 2 && part[0] != "#kernel" {
			value, err := strconv.ParseInt(part[1], 10, 64)
			require.NoError(n.t, err)
			counters[part[0]] = value
		}
	}
	return counters
}

// since gives the difference of each counter to what it was before.
func (n *namespace) since(before map[string]int64) map[string]int64 {
	n.t.Helper()
	counters := n.nstat()
	for name := range counters {
		counters[name] -= before[name]
	}
	return counters
}

// states counts the TCP sockets of the namespace by state, as ss names it. TIME-WAIT is not among them: the
// connection has ended, what is left only keeps its ports.
func (n *namespace) states() map[string]int {
	n.t.Helper()
	states := map[string]int{}
	for line := range strings.Lines(n.run("ss", "-Htan")) {
		if state, _, _ := strings.Cut(line, " "); state != "LISTEN" && state != "TIME-WAIT" {
			states[state]++
		}
	}
	return states
}

// socket is what ss knows of one TCP connection.
type socket struct {
	BytesSent, BytesRetrans, BytesReceived int64
	SegsOut, SegsIn, Retrans               int64
	RTT, MinRTT                            float64 // milliseconds
	Unacked, OutOfOrder                    int64
}

var socketField = regexp.MustCompile(`([a-z_]+):([0-9./]+)`)

// socketOf asks ss for the one established connection that the filter chooses.
func (n *namespace) socketOf(filter ...string) socket {
	n.t.Helper()
	out := n.run("ss", append([]string{"-Htin"}, filter...)...)
	var s socket
	for _, field := range socketField.FindAllStringSubmatch(out, -1) {
		number := func(text string) int64 {
			value, err := strconv.ParseInt(text, 10, 64)
			require.NoError(n.t, err, out)
			return value
		}
		switch value := field[2]; field[1] {
		case "bytes_sent":
			s.BytesSent = number(value)
		case "bytes_retrans":
			s.BytesRetrans = number(value)
		case "bytes_received":
			s.BytesReceived = number(value)
		case "segs_out":
			s.SegsOut = number(value)
		case "segs_in":
			s.SegsIn = number(value)
		case "rcv_ooopack":
			s.OutOfOrder = number(value)
		case "unacked":
			s.Unacked = number(value)
		case "retrans": // now/in all
			_, all, _ := strings.Cut(value, "/")
			s.Retrans = number(all)
		case "rtt": // smoothed/variance
			smoothed, _, _ := strings.Cut(value, "/")
			rtt, err := strconv.ParseFloat(smoothed, 64)
			require.NoError(n.t, err)
			s.RTT = rtt
		case "minrtt":
			rtt, err := strconv.ParseFloat(value, 64)
			require.NoError(n.t, err)
			s.MinRTT = rtt
		}
	}
	require.NotZerof(n.t, s.SegsOut, "ss found no connection for %v: %s", filter, out)
	if strings.HasPrefix(out, "CLOSE-WAIT") {
		s.BytesReceived-- // the FIN takes a number of the sequence, which the kernel counts as one byte
	}
	return s
}

// firewall loads rules into the namespace. Counters that they name can be read with counted.
func (n *namespace) firewall(rules string) { n.t.Helper(); n.feed(rules, "nft", "-f", "-") }

// counted is the number of packets that a named counter of the firewall has seen.
func (n *namespace) counted() map[string]int {
	n.t.Helper()
	var listing struct {
		NFTables []struct {
			Counter *struct {
				Name    string
				Packets int
			}
		}
	}
	require.NoError(n.t, json.Unmarshal([]byte(n.run("nft", "-j", "list", "counters")), &listing))
	packets := map[string]int{}
	for _, entry := range listing.NFTables {
		if entry.Counter != nil {
			packets[entry.Counter.Name] = entry.Counter.Packets
		}
	}
	return packets
}

var droppedByQdisc = regexp.MustCompile(`dropped ([0-9]+),`)

// droppedByQdisc is what the root queueing discipline of a device says that it dropped.
func (n *namespace) droppedByQdisc(device string) int {
	n.t.Helper()
	found := droppedByQdisc.FindStringSubmatch(n.run("tc", "-s", "qdisc", "show", "dev", device, "root"))
	require.NotNil(n.t, found)
	dropped, err := strconv.Atoi(found[1])
	require.NoError(n.t, err)
	return dropped
}

// requireNoDrops: nothing was dropped but what nstat has of segments that came too late, as they do between processors
// of a slow machine, or of causes that the test itself made. What comes when its socket is gone finds none or the
// listener, to which a segment with an ACK opens no connection, and is answered with an RST.
func (o *observer) requireNoDrops(causes map[string]int64, nstat ...map[string]int64) {
	o.t.Helper()
	for reason, drops := range o.by("network.packet.drop.reason", "network.packet.drops") {
		allowed := causes[reason]
		if reason == "PROTO_MEM" { // its reader had no time, and what waited for it filled its buffer
			for _, counters := range nstat {
				allowed += counters["TcpExtTCPRcvQDrop"]
			}
		}
		for _, counters := range nstat {
			allowed += counters[late[reason]]
			if reason == "NO_SOCKET" || reason == "TCP_FLAGS" {
				allowed += counters["TcpOutRsts"]
			}
		}
		require.LessOrEqual(o.t, drops, allowed, "%s: %s", reason, summary(o))
	}
}

// assertResets: all that were sent are told. Before 6.10 the kernel tells only of those that a socket sends: so many for
// certain, and where a connection's is gone it may be the listener's.
func (o *observer) assertResets(certain, sent int64) {
	o.t.Helper()
	told := o.sum("network.tcp.resets", "network.io.direction", "transmit")
	if !olderThan(o.t, 6, 10) {
		certain = sent
	}
	assert.GreaterOrEqual(o.t, told+int64(o.skipped()), certain, summary(o))
	assert.LessOrEqual(o.t, told, sent, summary(o))
}

// tooLate is what nstat has of segments that came too late.
func tooLate(nstat ...map[string]int64) (segments int64) {
	for _, counters := range nstat {
		for _, name := range late {
			segments += counters[name]
		}
	}
	return segments
}

var late = map[string]string{
	"TCP_RFC7323_PAWS": "TcpExtPAWSEstab", "TCP_RFC7323_TW_PAWS": "TcpExtPAWSTimewait",
}
