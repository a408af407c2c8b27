package conn

import (
	"runtime"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/assert"

	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

func TestSteadyStateAllocatesNothing(t *testing.T) {
	w := newWorld(t, Options{})
	id := uint64(0)
	life := func() { // opened, snapshot, closed
		id++
		r := w.client(id)
		w.sees(wire.RecordConnOpen, r)
		r.BytesSent += 100
		w.sees(wire.RecordConnSnapshot, r)
		w.sees(wire.RecordConnClose, r)
		w.pass(time.Millisecond)
	}
	for range 10000 {
		life()
	}
	assert.Zero(t, testing.AllocsPerRun(5000, life))
	snapshot := w.client(id + 1)
	assert.Zero(t, testing.AllocsPerRun(1000, func() {
		snapshot.BytesSent++
		w.sees(wire.RecordConnSnapshot, snapshot)
		w.collect()
	}))
}

func TestAConnectionIsAsSmallAsDocumented(t *testing.T) {
	assert.LessOrEqual(t, unsafe.Sizeof(Connection{}), uintptr(256))
}

func benchmarkTable(b *testing.B, n int) (*world, []wire.ConnRecord) {
	w := &world{Table: New(Options{}, byRef{}), time: startNs}
	w.Begin(&wire.Begin{TimeNs: startNs, OffsetNs: offsetNs})
	records := make([]wire.ConnRecord, n)
	for i := range records {
		records[i] = w.client(uint64(i))
		records[i].Owner.TGID = uint32(1 + i%100)
		w.sees(wire.RecordConnOpen, records[i])
	}
	return w, records
}

// BenchmarkCollection is one collection of 10 000 connections of 100 owners that all moved payload.
func BenchmarkCollection(b *testing.B) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	w, records := benchmarkTable(b, 10000)
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.ReportAllocs()
	for b.Loop() {
		for i := range records {
			r := &records[i]
			r.Header = wire.RecordHeader{TimeNs: w.time, Kind: wire.RecordConnSnapshot}
			r.BytesSent += 100
			w.Conn(r)
		}
		w.collect()
	}
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/10000-float64(wire.ConnRecordSize), "B/connection")
}

// BenchmarkShortConnection is a connection whose end is the first that is heard of it.
func BenchmarkShortConnection(b *testing.B) {
	w, records := benchmarkTable(b, 1)
	r, id := records[0], uint64(1)
	r.BytesSent, r.BytesReceived = 100, 1000
	b.ReportAllocs()
	for b.Loop() {
		id++
		r.ID = id
		w.time += 100_000
		r.Header = wire.RecordHeader{TimeNs: w.time, Kind: wire.RecordConnClose}
		w.Conn(&r)
	}
}
