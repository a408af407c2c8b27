package otlp

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/ebpfnet/ebpfnetreceiver/internal/l7"
	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

func BenchmarkSpanToOTLP(b *testing.B) {
	p := bothEnds()
	s := newSpans(Options{})
	marshaler := ptrace.ProtoMarshaler{}
	call := get(2, true)
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		s.Add(Span{Call: call, Conn: p.get(2), Identity: identity})
		if n++; n%1000 == 0 {
			if _, err := marshaler.MarshalTraces(s.Take()); err != nil {
				b.Fatal(err)
			}
		}
	}
}

func BenchmarkCallIntoMetrics(b *testing.B) {
	p := bothEnds()
	calls := []*l7.Call{get(1, false), get(2, true)}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		call := calls[i&1]
		call.EndNs = call.StartNs + uint64(1e6+i%1000*1e4)
		p.Call(call, p.get(call.ConnID))
		i++
	}
}

func TestACallIntoMetricsAllocatesNothing(t *testing.T) {
	p := bothEnds()
	call := get(1, false)
	p.Call(call, p.get(1))
	assert.Zero(t, testing.AllocsPerRun(100, func() { p.Call(call, p.get(1)) }))
}

func BenchmarkMetricsOf500Owners(b *testing.B) {
	p := newPipeline(Options{})
	for i := range uint64(10000) {
		r := client(i, startNs+1e9, wire.RecordConnOpen)
		r.Owner.TGID = uint32(1 + i%500)
		p.Conn(r)
	}
	b.ReportAllocs()
	for b.Loop() {
		p.time += interval
		b.StopTimer()
		for i := range uint64(10000) {
			r := client(i, p.time, wire.RecordConnSnapshot)
			r.Owner.TGID = uint32(1 + i%500)
			p.Conn(r)
		}
		p.Table.Collect(p.time, offsetNs)
		b.StartTimer()
		p.Metrics.Collect(&wire.Collection{TimeNs: p.time, OffsetNs: offsetNs}, p.Table)
	}
}
