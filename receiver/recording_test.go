package receiver

import (
	"bytes"
	"flag"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ebpfnet/ebpfnetreceiver/internal/recording"
	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

// tinyRecording is what tests.config of metadata.yaml replays: one HTTP request that a server in a container
// answers, and one packet that is dropped.
const tinyRecording = "testdata/tiny.recording"

var update = flag.Bool("update", false, "write "+tinyRecording)

func TestTheRecordingIsUpToDate(t *testing.T) {
	want := writeTinyRecording(t)
	if *update {
		require.NoError(t, os.WriteFile(tinyRecording, want, 0o644))
	}
	got, err := os.ReadFile(tinyRecording)
	require.NoError(t, err)
	assert.True(t, bytes.Equal(want, got), "the layout of the kernel's records changed: go generate ./receiver")
}

func writeTinyRecording(t *testing.T) []byte {
	const (
		start    = uint64(time.Hour)
		id       = 1
		cgroup   = 4711
		request  = "GET /hello HTTP/1.1\r\nHost: shop.example\r\n\r\n"
		response = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
	)
	var file bytes.Buffer
	writer := recording.Tee(&file, ignored{}, tinyFacts{}, recording.Options{})
	at := func(after time.Duration, kind uint32) wire.RecordHeader {
		return wire.RecordHeader{TimeNs: start + uint64(after), Kind: kind}
	}
	server, client := netip.MustParseAddrPort("10.0.0.1:80"), netip.MustParseAddrPort("10.0.0.2:40000")
	owner := wire.OwnerRef{CgroupID: cgroup, Netns: 4026531840}

	writer.Begin(&wire.Begin{
		TimeNs: start, OffsetNs: 1_700_000_000_000_000_000, Kernel: "6.12.0", Arch: "amd64",
		Probes: []wire.ProbeStatus{{Capability: "connections", Hook: "tp_btf/inet_sock_set_state"}},
	})
	conn := wire.ConnRecord{
		Header: at(time.Millisecond, wire.RecordConnOpen), ID: id, Owner: owner, Pair: pair(server, client),
		OpenedNs: start, EstablishedNs: start + uint64(time.Millisecond), HandshakeUs: 200,
		State: 1, Role: wire.RoleServer, Flags: wire.ConnEstablished,
	}
	writer.Conn(&conn)
	payload := func(after time.Duration, direction uint8, data string) {
		writer.Payload(&wire.PayloadRecord{
			Header: at(after, wire.RecordPayload), ConnID: id, Sequence: 1000,
			Length: uint32(len(data)), Captured: uint32(len(data)), Direction: direction,
		}, []byte(data))
	}
	payload(2*time.Millisecond, wire.DirectionReceive, request)
	payload(5*time.Millisecond, wire.DirectionTransmit, response)
	writer.Packet(&wire.PacketEvent{
		Header: at(6*time.Millisecond, wire.RecordDrop), ConnID: id, Owner: owner, Pair: pair(client, server),
		Reason: 8, HasReason: 1, Length: 60, EtherType: 0x0800, Direction: wire.DirectionReceive,
	})
	conn.Header = at(7*time.Millisecond, wire.RecordConnClose)
	conn.BytesSent, conn.BytesAcked, conn.BytesReceived = uint64(len(response)), uint64(len(response)), uint64(len(request))
	conn.SegsOut, conn.SegsIn, conn.SRTTUs, conn.MinRTTUs = 4, 5, 150, 100
	conn.CloseReason = wire.CloseRemoteFIN
	writer.Conn(&conn)
	_, _ = writer.CgroupPath(cgroup)
	_, _ = writer.EnumName("skb_drop_reason", 8)
	writer.Flush(start + uint64(time.Second))

	collection := &wire.Collection{TimeNs: start + uint64(time.Second), OffsetNs: 1_700_000_000_000_000_000}
	for kind, seen := range map[int]uint64{
		wire.RecordConnOpen: 1, wire.RecordConnClose: 1, wire.RecordPayload: 2, wire.RecordDrop: 1,
	} {
		collection.Stats.Kinds[kind] = wire.KindStats{Seen: seen, Submitted: seen}
	}
	collection.Counts = []wire.Count{{Value: 1, Key: wire.CountKey{
		Owner: owner, Reason: 8, HasReason: 1, Kind: wire.RecordDrop, Direction: wire.DirectionReceive,
	}}}
	writer.Collect(collection)
	require.NoError(t, writer.Close())
	return file.Bytes()
}

func pair(local, remote netip.AddrPort) wire.AddressPair {
	return wire.AddressPair{
		Local: local.Addr().As16(), LocalPort: local.Port(),
		Remote: remote.Addr().As16(), RemotePort: remote.Port(), Protocol: 6,
	}
}

// tinyFacts is what the host of the recording knew.
type tinyFacts struct{}

func (tinyFacts) Namespace(uint32) (wire.Namespace, bool) { return wire.Namespace{}, false }
func (tinyFacts) CgroupPath(uint64) (string, bool) {
	return "/kubepods.slice/kubepods-pod11111111_2222_3333_4444_555555555555.slice/cri-containerd-" +
		"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef.scope", true
}
func (tinyFacts) Process(uint32) (wire.Process, bool) { return wire.Process{}, false }
func (tinyFacts) Symbol(uint64) (wire.Symbol, bool)   { return wire.Symbol{}, false }
func (tinyFacts) EnumName(string, uint32) (string, bool) {
	return "SKB_DROP_REASON_NETFILTER_DROP", true
}

// ignored is the handler behind the recording writer: there is nobody.
type ignored struct{}

func (ignored) Begin(*wire.Begin)                     {}
func (ignored) Conn(*wire.ConnRecord)                 {}
func (ignored) Slow(*wire.SlowEvent)                  {}
func (ignored) Stage(*wire.StageRecord)               {}
func (ignored) Packet(*wire.PacketEvent)              {}
func (ignored) Datagram(*wire.DatagramRecord, []byte) {}
func (ignored) Payload(*wire.PayloadRecord, []byte)   {}
func (ignored) Flush(uint64)                          {}
func (ignored) Collect(*wire.Collection)              {}
