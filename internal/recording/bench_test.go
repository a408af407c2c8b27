package recording

import (
	"bytes"
	"context"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

type nothing struct{ n int }

func (h *nothing) Begin(*wire.Begin)                     { h.n++ }
func (h *nothing) Conn(*wire.ConnRecord)                 { h.n++ }
func (h *nothing) Slow(*wire.SlowEvent)                  { h.n++ }
func (h *nothing) Stage(*wire.StageRecord)               { h.n++ }
func (h *nothing) Packet(*wire.PacketEvent)              { h.n++ }
func (h *nothing) Datagram(*wire.DatagramRecord, []byte) { h.n++ }
func (h *nothing) Payload(*wire.PayloadRecord, []byte)   { h.n++ }
func (h *nothing) Flush(uint64)                          { h.n++ }
func (h *nothing) Collect(*wire.Collection)              { h.n++ }

// traffic is what an HTTP request makes: 300 bytes of payload, and a repeated fact.
type traffic struct {
	record wire.PayloadRecord
	data   []byte
}

func newTraffic() *traffic {
	t := &traffic{data: make([]byte, 300)}
	t.record.Header.Kind, t.record.Captured = wire.RecordPayload, 300
	return t
}

func BenchmarkTeePayload(b *testing.B) {
	writer := Tee(io.Discard, &nothing{}, &facts{}, Options{})
	defer writer.Close()
	t := newTraffic()
	b.SetBytes(int64(len(t.data) + wire.PayloadRecordSize))
	b.ReportAllocs()
	for b.Loop() {
		writer.Payload(&t.record, t.data)
	}
}

func BenchmarkTeeConn(b *testing.B) {
	writer := Tee(io.Discard, &nothing{}, &facts{}, Options{})
	defer writer.Close()
	record := wire.ConnRecord{Header: wire.RecordHeader{Kind: wire.RecordConnOpen}}
	b.ReportAllocs()
	for b.Loop() {
		writer.Conn(&record)
	}
}

func BenchmarkReplay(b *testing.B) {
	var file bytes.Buffer
	writer := Tee(&file, &nothing{}, &facts{}, Options{})
	t := newTraffic()
	for range 10_000 {
		writer.Payload(&t.record, t.data)
	}
	require.NoError(b, writer.Close())
	reader, err := newReader("bench", bytes.NewReader(file.Bytes()), int64(file.Len()))
	require.NoError(b, err)
	handler := &nothing{}
	b.SetBytes(int64(file.Len()))
	for b.Loop() {
		require.NoError(b, reader.Run(context.Background(), handler))
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/10_000, "ns/record")
}

func TestTeeingARecordAllocatesNothing(t *testing.T) {
	writer := Tee(io.Discard, &nothing{}, &facts{}, Options{})
	defer writer.Close()
	traffic := newTraffic()
	for range 20_000 { // until all chunks are there
		writer.Payload(&traffic.record, traffic.data)
	}
	writer.Process(1)
	require.Zero(t, testing.AllocsPerRun(20_000, func() {
		writer.Payload(&traffic.record, traffic.data)
		writer.Process(1)
	}))
}
