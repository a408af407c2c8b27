package recording

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

// spy notes every call with all of its bytes.
type spy struct{ calls []string }

func (s *spy) note(format string, args ...any) {
	s.calls = append(s.calls, fmt.Sprintf(format, args...))
}

func (s *spy) Begin(b *wire.Begin)        { s.note("begin %#v", *b) }
func (s *spy) Conn(r *wire.ConnRecord)    { s.note("conn %x", wire.Bytes(r)) }
func (s *spy) Packet(e *wire.PacketEvent) { s.note("packet %x", wire.Bytes(e)) }
func (s *spy) Slow(e *wire.SlowEvent)     { s.note("slow %x", wire.Bytes(e)) }
func (s *spy) Stage(r *wire.StageRecord)  { s.note("stage %x", wire.Bytes(r)) }
func (s *spy) Flush(timeNs uint64)        { s.note("flush %d", timeNs) }
func (s *spy) Collect(c *wire.Collection) { s.note("collect %#v", *c) }
func (s *spy) Payload(r *wire.PayloadRecord, data []byte) {
	s.note("payload %x %q", wire.Bytes(r), data)
}

func (s *spy) Datagram(r *wire.DatagramRecord, data []byte) {
	s.note("datagram %x %q", wire.Bytes(r), data)
}

// script makes every kind of call, every field with a value of its own.
func script(handler wire.Handler) {
	handler.Begin(&wire.Begin{
		TimeNs: 1e9, OffsetNs: -5, Kernel: "6.1.0-x", Arch: "amd64",
		Probes: []wire.ProbeStatus{
			{Capability: "drops", Hook: "tp_btf/kfree_skb"},
			{Capability: "payload", Hook: "kprobe/tcp_sendmsg", Refused: []wire.Refusal{
				{Hook: "fexit/tcp_sendmsg", Reason: "not supported\xff"}, {Hook: "fentry/tcp_sendmsg"},
			}},
		},
	})
	for i, kind := range []uint32{wire.RecordConnOpen, wire.RecordConnSnapshot, wire.RecordConnFailed, wire.RecordConnClose} {
		var record wire.ConnRecord
		fill(wire.Bytes(&record), byte(i))
		record.Header = wire.RecordHeader{TimeNs: 2e9 + uint64(i), Kind: kind, CPU: 3}
		handler.Conn(&record)
	}
	for i, kind := range []uint32{wire.RecordDrop, wire.RecordReset, wire.RecordRetransmit} {
		var event wire.PacketEvent
		fill(wire.Bytes(&event), byte(i))
		event.Header = wire.RecordHeader{TimeNs: 3e9 + uint64(i), Kind: kind}
		handler.Packet(&event)
	}
	for _, data := range []string{"GET / HTTP/1.1\r\n\r\n", "", string(make([]byte, 100_000))} {
		record := wire.PayloadRecord{ConnID: 7, Sequence: 1, Length: 1 << 20, Captured: uint32(len(data))}
		record.Header = wire.RecordHeader{TimeNs: 4e9, Kind: wire.RecordPayload}
		handler.Payload(&record, []byte(data))
	}
	datagram := wire.DatagramRecord{Socket: 9, Length: 700, Captured: 3}
	datagram.Header = wire.RecordHeader{TimeNs: 4e9, Kind: wire.RecordDatagram}
	handler.Datagram(&datagram, []byte("abc"))
	handler.Flush(5e9)
	collection := &wire.Collection{TimeNs: 6e9, OffsetNs: 1 << 60, Stats: wire.KernelStats{
		Programs:   []wire.ProgramStats{{Name: "on_drop", Runs: 1, RunNs: 1 << 63, Misses: 3}},
		CountsFull: 4, ConnsFull: 5, FlowsFull: 8, RingBytes: 6, RingSize: 7,
	}}
	for i := range collection.Stats.Kinds {
		collection.Stats.Kinds[i] = wire.KindStats{Seen: uint64(i), Submitted: 1, Suppressed: 2, Lost: 3}
	}
	for i := range 3 {
		collection.Counts = append(collection.Counts, wire.Count{
			Key: wire.CountKey{Reason: uint32(i), Kind: wire.RecordDrop, Owner: wire.OwnerRef{CgroupID: 1 << 40}}, Value: 9,
		})
	}
	collection.Stages = []wire.StageTimes{
		{Owner: wire.OwnerRef{CgroupID: 1 << 40, Netns: 4026531840}, Direction: wire.DirectionReceive,
			Stage: wire.StageTCPToApp, SumNs: 1 << 50, First: wire.HistogramSlots - 3, Counts: []uint32{1, 0, 1<<32 - 1}},
		{Overflow: true, Direction: wire.DirectionTransmit, Stage: wire.StageDriver, Counts: []uint32{7}},
	}
	collection.Softirqs = []wire.SoftirqTimes{{CPU: 1 << 20, Vector: 3, Phase: wire.SoftirqRun, SumNs: 5, First: 2, Counts: []uint32{1}}}
	collection.Commands = []wire.CommandTimes{
		{Key: wire.CommandKey{Device: [16]uint8{'e', 't', 'h', '0'}, Class: 4}, SumNs: 1 << 50, First: 7, Counts: []uint32{2, 0, 1}},
		{Key: wire.CommandKey{Overflow: 1}, SumNs: 1, Counts: []uint32{9}},
	}
	collection.Stats.Stages[wire.DirectionTransmit][wire.StageQdisc][wire.StageNoStamp] = 1 << 40
	collection.Namespaces = []wire.NamespaceCounters{
		{Inode: 4026531840, Identity: 1, Counters: []wire.Counter{
			{Group: wire.CounterTCP, Name: "ListenDrops", Value: 1 << 60},
			{Group: wire.CounterQdisc, Device: "eth0", Kind: "fq_codel", Name: "bytes", Value: 5},
			{Group: wire.CounterListener, Port: 65535, Name: "drops", Value: 2},
		}},
		{Inode: 7, Identity: 1 << 63, ZeroNs: 3e9, Counters: []wire.Counter{{Group: wire.CounterTCP, Name: "ListenDrops"}}},
	}
	for i := range 3 {
		collection.Flows = append(collection.Flows, wire.DatagramFlow{
			Key: wire.FlowKey{Port: uint16(i), Protocol: 17, Owner: wire.OwnerRef{TGID: 4}}, Count: wire.FlowCount{Bytes: 1 << 40, Packets: 2},
		})
	}
	for _, local := range []string{"192.0.2.1:40000", "[2001:db8::1]:65535"} {
		collection.Flows = append(collection.Flows, wire.DatagramFlow{
			Key:   wire.FlowKey{Port: 53, Protocol: 17, Owner: wire.OwnerRef{TGID: 4}, Peer: [16]uint8{1, 2, 3}},
			Count: wire.FlowCount{Bytes: 7, Packets: 1}, Local: netip.MustParseAddrPort(local),
		})
	}
	handler.Collect(collection)
	handler.Collect(&wire.Collection{})
}

func fill(b []byte, seed byte) {
	for i := range b {
		b[i] = byte(i) + seed
	}
}

// facts answers by number of ask, so that no two answers are alike where changing is set.
type facts struct {
	asks     uint64
	changing bool
}

func (f *facts) n() uint64 {
	if f.asks++; f.changing {
		return f.asks
	}
	return 1
}

func (f *facts) CgroupPath(id uint64) (string, bool) {
	return fmt.Sprintf("/cgroup-%d-%d", id, f.n()), id != 404
}

func (f *facts) Process(tgid uint32) (wire.Process, bool) {
	if tgid == 404 {
		return wire.Process{}, false
	}
	return wire.Process{Executable: "nginx", Cgroup: "/system.slice", StartTicks: f.n()}, true
}

func (f *facts) Namespace(inode uint32) (wire.Namespace, bool) {
	if inode == 404 {
		return wire.Namespace{}, false
	}
	return wire.Namespace{Host: inode == 1, Cgroup: "/pod", StartNs: f.n()}, true
}

func (f *facts) Symbol(address uint64) (wire.Symbol, bool) {
	return wire.Symbol{Name: "tcp_drop", Offset: address + f.n(), Module: "m"}, address != 404
}

func (f *facts) EnumName(enum string, value uint32) (string, bool) {
	return fmt.Sprintf("%s_%d_%d", enum, value, f.n()), value != 404
}

// askAll asks every question once and tells the answers.
func askAll(f wire.Facts) string {
	var answers []any
	for _, key := range []uint32{1, 2, 404} {
		path, ok1 := f.CgroupPath(uint64(key))
		process, ok2 := f.Process(key)
		symbol, ok3 := f.Symbol(uint64(key))
		name, ok4 := f.EnumName("e", key)
		namespace, ok5 := f.Namespace(key)
		if !ok1 {
			path = "" // of an unknown fact only that it is unknown is kept
		}
		if !ok3 {
			symbol = wire.Symbol{}
		}
		if !ok4 {
			name = ""
		}
		answers = append(answers, path, ok1, process, ok2, symbol, ok3, name, ok4, namespace, ok5)
	}
	return fmt.Sprint(answers...)
}

// recorded is a whole recording of the script, and of facts asked three times, as bytes.
func recordedScript(t testing.TB) []byte {
	var file bytes.Buffer
	writer := Tee(&file, &spy{}, &facts{changing: true}, Options{})
	for range 3 {
		askAll(writer)
	}
	script(writer)
	require.NoError(t, writer.Close())
	return file.Bytes()
}

func write(t testing.TB, data []byte) string {
	path := filepath.Join(t.TempDir(), "recording")
	require.NoError(t, os.WriteFile(path, data, 0o600))
	return path
}

// replay gives the calls that a recording makes and how it ends.
func replay(t testing.TB, data []byte) ([]string, error) {
	reader, err := Open(write(t, data))
	if err != nil {
		return nil, err
	}
	defer reader.Close()
	var got spy
	err = reader.Run(context.Background(), &got)
	return got.calls, err
}
