package otlp

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/plog"

	"github.com/ebpfnet/ebpfnetreceiver/internal/conn"
	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

func newLogs() *Logs {
	l := NewLogs(Options{Version: "1.2.3"}, environment)
	l.SetOffset(offsetNs)
	return l
}

// dropped is a SYN that netfilter drops on its way in, of no socket.
func dropped() *wire.PacketEvent {
	event := &wire.PacketEvent{
		Header:   wire.RecordHeader{TimeNs: startNs + 1e9, Kind: wire.RecordDrop},
		Owner:    wire.OwnerRef{Netns: 4026531840},
		Pair:     pair("192.0.2.9:51000", "10.0.0.2:80"),
		Location: dropsAt, Reason: 8, HasReason: 1,
		Length: 60, Sequence: 4294967295, HasTCP: wire.TCPSequence | wire.TCPHeader, TCPFlags: 2,
		Ifindex: 2, EtherType: 0x0800, Direction: wire.DirectionReceive,
		StackDepth: 3, Stack: [24]uint64{dropsAt, dropsAt - 0x80, 0xdead},
	}
	copy(event.Ifname[:], "eth0")
	return event
}

func retransmitted(connID uint64) *wire.PacketEvent {
	event := dropped()
	event.Header.Kind, event.ConnID, event.Owner = wire.RecordRetransmit, connID, wire.OwnerRef{}
	event.Pair = pair("[2001:db8::1]:40000", "[2001:db8::2]:80")
	event.EtherType, event.Reason, event.Location, event.StackDepth = 0, wire.RetransmitTimeout, 0, 0
	event.Direction, event.TCPFlags, event.TCPState = wire.DirectionTransmit, 0x18, conn.StateEstablished
	event.Ifname = [16]uint8{}
	return event
}

func bodyOf(t *testing.T, logs plog.Logs) (plog.LogRecord, map[string]any) {
	t.Helper()
	require.Equal(t, 1, logs.LogRecordCount())
	record := logs.ResourceLogs().At(0).ScopeLogs().At(0).LogRecords().At(0)
	return record, record.Attributes().AsRaw()
}

func TestLogsAreAsTheGoldenFileSays(t *testing.T) {
	p := bothEnds()
	l := newLogs()
	l.Packet(dropped(), nil, Link{})
	l.Packet(retransmitted(2), p.get(2), Link{TraceID: [16]byte{1}, SpanID: [8]byte{2}})
	reset := dropped()
	reset.Header.Kind, reset.Reason, reset.TCPFlags = wire.RecordReset, rstReason, 0x14
	reset.Direction, reset.Owner.TGID = wire.DirectionTransmit, curlPID
	copy(reset.Comm[:], "curl")
	l.Packet(reset, nil, Link{})
	failed := client(5, startNs+3e9, wire.RecordConnFailed)
	failed.State, failed.Flags, failed.EstablishedNs, failed.Error = conn.StateSynSent, 0, 0, 111
	l.ConnectionFailed(failed, nil, Link{})
	assert.Equal(t, 4, l.Len())
	goldenLogs(t, "logs", l.Take())
	assert.Zero(t, l.Len())
}

func TestTheBodyIsOneLineWithTheEssential(t *testing.T) {
	p := bothEnds()
	arp := dropped()
	arp.EtherType, arp.Pair, arp.HasTCP = 0x0806, wire.AddressPair{}, 0
	bare := dropped()
	bare.EtherType, bare.Pair, bare.HasTCP = 0, wire.AddressPair{}, 0
	icmp := dropped()
	icmp.Pair.Protocol, icmp.Pair.LocalPort, icmp.Pair.RemotePort, icmp.HasTCP = 1, 0, 0, 0
	unnamed := dropped()
	unnamed.HasReason = 0
	silent := dropped()
	silent.HasReason, silent.Location = 0, 0
	for want, add := range map[string]func(*Logs){
		"drop NETFILTER_DROP: 192.0.2.9:51000 -> 10.0.0.2:80 tcp SYN, 60 bytes, on eth0": func(l *Logs) { l.Packet(dropped(), nil, Link{}) },
		"drop nft_do_chain: 192.0.2.9:51000 -> 10.0.0.2:80 tcp SYN, 60 bytes, on eth0":   func(l *Logs) { l.Packet(unnamed, nil, Link{}) },
		"drop: 192.0.2.9:51000 -> 10.0.0.2:80 tcp SYN, 60 bytes, on eth0":                func(l *Logs) { l.Packet(silent, nil, Link{}) },
		"drop NETFILTER_DROP: ethertype 0x806, 60 bytes, on eth0":                        func(l *Logs) { l.Packet(arp, nil, Link{}) },
		"drop NETFILTER_DROP: no header, 60 bytes, on eth0":                              func(l *Logs) { l.Packet(bare, nil, Link{}) },
		"drop NETFILTER_DROP: 192.0.2.9 -> 10.0.0.2 icmp, 60 bytes, on eth0":             func(l *Logs) { l.Packet(icmp, nil, Link{}) },
		"retransmit timeout: [2001:db8::1]:40000 -> [2001:db8::2]:80 tcp PSH|ACK, 60 bytes, process nginx 80": func(l *Logs) {
			l.Packet(retransmitted(2), p.get(2), Link{})
		},
		"connect ECONNREFUSED: 10.0.0.1:40000 -> 10.0.0.2:80, after 2ms, process curl 1234": func(l *Logs) {
			r := client(1, startNs, wire.RecordConnFailed)
			r.Error = 111
			l.ConnectionFailed(r, nil, Link{})
		},
	} {
		l := newLogs()
		add(l)
		record, _ := bodyOf(t, l.Take())
		assert.Equal(t, want, record.Body().Str())
	}
}

func TestAPacketThatIsNotIPHasNoAddresses(t *testing.T) {
	event := dropped()
	event.EtherType, event.Pair = 0x0806, wire.AddressPair{}
	l := newLogs()
	l.Packet(event, nil, Link{})
	_, attributes := bodyOf(t, l.Take())
	assert.NotContains(t, attributes, attrSourceAddress)
	assert.NotContains(t, attributes, attrNetworkType)
}

func TestAProcessIsNamedOnlyWhereItIsCertain(t *testing.T) {
	record := func(flags uint8, tgid uint32) map[string]any {
		r := serverEnd(2, startNs+1e9, wire.RecordConnFailed)
		r.Flags, r.Owner.TGID = flags, tgid
		l := newLogs()
		l.ConnectionFailed(r, nil, Link{})
		_, attributes := bodyOf(t, l.Take())
		return attributes
	}
	assert.EqualValues(t, 80, record(0, 80)[attrPID])
	assert.Equal(t, "nginx", record(0, 80)[attrExecutableName])
	assert.NotContains(t, record(0, 81), attrExecutableName, "a process that is gone has a number only")
	assert.NotContains(t, record(wire.ConnTGIDAmbiguous, 80), attrPID, "more than one holds the socket")
	assert.NotContains(t, record(0, 0), attrPID)
}

func TestAProcessThatIsTheResourceIsNotRepeated(t *testing.T) {
	r := client(1, startNs, wire.RecordConnFailed)
	l := newLogs()
	l.ConnectionFailed(r, nil, Link{})
	logs := l.Take()
	_, attributes := bodyOf(t, logs)
	assert.NotContains(t, attributes, attrPID)
	pid, _ := logs.ResourceLogs().At(0).Resource().Attributes().Get(attrPID)
	assert.EqualValues(t, curlPID, pid.Int())
}

func TestErrnosHaveTheirNames(t *testing.T) {
	for errno, want := range map[uint32]string{0: "aborted", 104: "ECONNRESET", 110: "ETIMEDOUT", 111: "ECONNREFUSED", 113: "EHOSTUNREACH", 4000: "_OTHER"} {
		assert.Equal(t, want, errnoName(errno))
	}
}

func TestFlagsAreNamedInTheOrderOfTheirBits(t *testing.T) {
	for flags, want := range map[uint8]string{0: "", 0x02: "SYN", 0x14: "RST|ACK", 0xff: "FIN|SYN|RST|PSH|ACK|URG|ECE|CWR", 0x11: "FIN|ACK"} {
		assert.Equal(t, want, tcpFlags(flags))
	}
}

func BenchmarkPacketToOTLP(b *testing.B) {
	l := newLogs()
	marshaler := plog.ProtoMarshaler{}
	event := dropped()
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		l.Packet(event, nil, Link{})
		if n++; n%1000 == 0 {
			if _, err := marshaler.MarshalLogs(l.Take()); err != nil {
				b.Fatal(err)
			}
		}
	}
}
