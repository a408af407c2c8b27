package l7

import (
	"bytes"
	"fmt"
	"io"
	"testing"

	"github.com/stretchr/testify/require"
	xhttp2 "golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

// streams feeds one HTTP/2 call after the other on one connection.
type streams struct {
	tracker           *Tracker
	stream            uint32
	request, response wire.PayloadRecord
	sides             [2]struct {
		out     bytes.Buffer
		framer  *xhttp2.Framer
		block   bytes.Buffer
		encoder *hpack.Encoder
	}
}

func newStreams(emit func(*Call)) *streams {
	x := &streams{tracker: NewTracker(Options{}, emit), stream: 1}
	for i := range x.sides {
		s := &x.sides[i]
		s.framer, s.encoder = xhttp2.NewFramer(&s.out, nil), hpack.NewEncoder(&s.block)
	}
	x.request = wire.PayloadRecord{ConnID: 1, Direction: wire.DirectionReceive, Sequence: 100}
	x.response = wire.PayloadRecord{ConnID: 1, Direction: wire.DirectionTransmit, Sequence: 200}
	x.tracker.Mark(1, Origin{Sequences: true, Receive: 100, Transmit: 200})
	x.sides[0].out.WriteString(xhttp2.ClientPreface)
	_ = x.sides[0].framer.WriteSettings()
	_ = x.sides[1].framer.WriteSettings()
	x.flush()
	return x
}

func (x *streams) head(side int, end bool, fields ...string) {
	s := &x.sides[side]
	s.block.Reset()
	for i := 0; i < len(fields); i += 2 {
		_ = s.encoder.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	_ = s.framer.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: x.stream, BlockFragment: s.block.Bytes(), EndStream: end, EndHeaders: true})
}

func (x *streams) flush() {
	for i, record := range []*wire.PayloadRecord{&x.request, &x.response} {
		data := x.sides[i].out.Bytes()
		record.Header.TimeNs += 1e6
		record.Length, record.Captured = uint32(len(data)), uint32(len(data))
		x.tracker.Payload(record, data)
		record.Sequence += record.Length
		x.sides[i].out.Reset()
	}
}

var benchContent = make([]byte, 2048)

func (x *streams) next() {
	x.write()
	x.flush()
}

func (x *streams) write() {
	x.head(0, true, ":method", "GET", ":scheme", "http", ":path", "/api/v1/items/4711?fields=name,price&limit=20", ":authority", "shop.example.com",
		"user-agent", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36", "accept", "application/json", "accept-encoding", "gzip, deflate, br",
		"cookie", "session=0123456789abcdef0123456789abcdef; theme=dark")
	x.head(1, false, ":status", "200", "server", "nginx/1.26.0", "date", "Thu, 01 Jan 2026 00:00:00 GMT", "content-type", "application/json", "content-length", "2048")
	_ = x.sides[1].framer.WriteData(x.stream, true, benchContent)
	x.stream += 2
}

func TestNothingIsAllocatedPerStream(t *testing.T) {
	calls := 0
	x := newStreams(func(*Call) { calls++ })
	for range 100 {
		x.next()
	}
	encoding := testing.AllocsPerRun(500, func() {
		x.write()
		x.sides[0].out.Reset()
		x.sides[1].out.Reset()
	})
	require.Equal(t, encoding, testing.AllocsPerRun(500, x.next), "what writing the frames takes")
	require.Greater(t, calls, 500)
}

// BenchmarkStreamOfItsOwn has a path and a trace in each call that no table holds, as most have.
func BenchmarkStreamOfItsOwn(b *testing.B) {
	const calls = 512
	x := newStreams(func(*Call) {})
	var sides [2][calls][]byte
	for n := range calls {
		x.head(0, true, ":method", "GET", ":scheme", "http", ":path", fmt.Sprintf("/api/v1/items/%d?fields=name,price&limit=%d", 7919*n, n),
			":authority", "shop.example.com", "user-agent", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36", "accept", "application/json",
			"traceparent", fmt.Sprintf("00-4bf92f3577b34da6a3ce92%010x-00f067aa0ba9%04x-01", 104729*n, n))
		x.head(1, false, ":status", "200", "server", "nginx/1.26.0", "date", "Thu, 01 Jan 2026 00:00:00 GMT", "content-type", "application/json", "content-length", "2048")
		_ = x.sides[1].framer.WriteData(x.stream, true, benchContent)
		x.stream += 2
		for i := range sides {
			sides[i][n] = bytes.Clone(x.sides[i].out.Bytes())
			x.sides[i].out.Reset()
		}
	}
	b.Run("tracker", func(b *testing.B) {
		told, at, id := 0, 0, uint64(1)
		tracker := NewTracker(Options{}, func(c *Call) { told++ })
		b.ReportAllocs()
		for b.Loop() {
			if at == 0 { // all on a connection, then on the next
				tracker.Close(id, x.request.Header.TimeNs, "")
				id++
				for i, record := range []*wire.PayloadRecord{&x.request, &x.response} {
					record.ConnID, record.Sequence = id, 1
					begin := &bytes.Buffer{}
					if i == 0 {
						begin.WriteString(xhttp2.ClientPreface)
					}
					_ = xhttp2.NewFramer(begin, nil).WriteSettings()
					record.Length, record.Captured = uint32(begin.Len()), uint32(begin.Len())
					tracker.Payload(record, begin.Bytes())
					record.Sequence += record.Length
				}
			}
			for i, record := range []*wire.PayloadRecord{&x.request, &x.response} {
				data := sides[i][at]
				record.Header.TimeNs += 1e6
				record.Length, record.Captured = uint32(len(data)), uint32(len(data))
				tracker.Payload(record, data)
				record.Sequence += record.Length
			}
			at = (at + 1) % calls
		}
		if told < b.N {
			b.Fatal(told, "calls of", b.N)
		}
	})
	b.Run("http2.Framer", func(b *testing.B) {
		var readers [2]*bytes.Reader
		var framers [2]*xhttp2.Framer
		at := 0
		b.ReportAllocs()
		for b.Loop() {
			if at == 0 {
				for i := range framers {
					readers[i] = bytes.NewReader(nil)
					framers[i] = xhttp2.NewFramer(io.Discard, readers[i])
					framers[i].SetReuseFrames()
					framers[i].ReadMetaHeaders = hpack.NewDecoder(4096, nil)
				}
			}
			for i, n := range []int{1, 2} {
				readers[i].Reset(sides[i][at])
				for range n {
					if _, err := framers[i].ReadFrame(); err != nil {
						b.Fatal(err)
					}
				}
			}
			at = (at + 1) % calls
		}
	})
}

// BenchmarkStream reads one call's two records again and again: the blocks refer to the dynamic table alone.
func BenchmarkStream(b *testing.B) {
	b.Run("tracker", func(b *testing.B) {
		calls := 0
		x := newStreams(func(*Call) { calls++ })
		x.next()
		x.write()
		var sides [2][]byte
		for i := range x.sides {
			sides[i] = bytes.Clone(x.sides[i].out.Bytes())
		}
		stream := x.stream
		b.ReportAllocs()
		for b.Loop() {
			stream += 2
			for i, record := range []*wire.PayloadRecord{&x.request, &x.response} {
				data := sides[i]
				for at := 0; at < len(data); at += 9 + int(data[at])<<16 + int(data[at+1])<<8 + int(data[at+2]) {
					data[at+5], data[at+6], data[at+7], data[at+8] = byte(stream>>24)&0x7f, byte(stream>>16), byte(stream>>8), byte(stream)|1
				}
				record.Header.TimeNs += 1e6
				record.Length, record.Captured = uint32(len(data)), uint32(len(data))
				x.tracker.Payload(record, data)
				record.Sequence += record.Length
			}
		}
		if calls < b.N {
			b.Fatal(calls, "calls of", b.N)
		}
	})
	b.Run("http2.Framer", func(b *testing.B) {
		x := newStreams(func(*Call) {})
		x.next()
		x.write()
		var readers [2]*bytes.Reader
		var framers [2]*xhttp2.Framer
		for i := range framers {
			readers[i] = bytes.NewReader(nil)
			framers[i] = xhttp2.NewFramer(io.Discard, readers[i])
			framers[i].SetReuseFrames()
			framers[i].ReadMetaHeaders = hpack.NewDecoder(4096, nil)
		}
		first := newStreams(func(*Call) {})
		first.write()
		for i := range framers { // fills the tables
			readers[i].Reset(first.sides[i].out.Bytes())
			if _, err := framers[i].ReadFrame(); err != nil {
				b.Fatal(err)
			}
		}
		var whole [2][]byte
		for i := range whole {
			whole[i] = bytes.Clone(x.sides[i].out.Bytes())
		}
		b.ReportAllocs()
		for b.Loop() {
			for i, n := range []int{1, 2} {
				readers[i].Reset(whole[i])
				for range n {
					if _, err := framers[i].ReadFrame(); err != nil {
						b.Fatal(err)
					}
				}
			}
		}
	})
}
