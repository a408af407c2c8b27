package l7

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ebpfnet/ebpfnetreceiver/internal/l7/buffer"
	"github.com/ebpfnet/ebpfnetreceiver/internal/l7/http1"
	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

const (
	benchRequest = "GET /api/v1/items/4711?fields=name,price&limit=20 HTTP/1.1\r\n" +
		"Host: shop.example.com\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36\r\n" +
		"Accept: application/json\r\nAccept-Encoding: gzip, deflate, br\r\nConnection: keep-alive\r\n" +
		"Cookie: session=0123456789abcdef0123456789abcdef; theme=dark\r\n" +
		"traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n\r\n"
	benchResponse = "HTTP/1.1 200 OK\r\nServer: nginx/1.26.0\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\n" +
		"Content-Type: application/json\r\nContent-Length: 2048\r\nConnection: keep-alive\r\n\r\n"
)

// exchanges feeds one call after the other on one connection.
type exchanges struct {
	tracker           *Tracker
	request, response wire.PayloadRecord
	requestData       []byte
	responseData      []byte
}

func newExchanges(emit func(*Call)) *exchanges {
	x := &exchanges{tracker: NewTracker(Options{}, emit), requestData: []byte(benchRequest),
		responseData: []byte(benchResponse + string(make([]byte, 1024)))}
	x.tracker.Mark(1, Origin{Sequences: true, Receive: 100, Transmit: 200})
	x.request = wire.PayloadRecord{ConnID: 1, Direction: wire.DirectionReceive, Sequence: 100,
		Length: uint32(len(benchRequest)), Captured: uint32(len(benchRequest))}
	x.response = wire.PayloadRecord{ConnID: 1, Direction: wire.DirectionTransmit, Sequence: 200,
		Length: uint32(len(benchResponse) + 2048), Captured: uint32(len(x.responseData))}
	return x
}

func (x *exchanges) next() {
	x.request.Header.TimeNs += 1e6
	x.response.Header.TimeNs = x.request.Header.TimeNs + 1e5
	x.tracker.Payload(&x.request, x.requestData)
	x.tracker.Payload(&x.response, x.responseData)
	x.request.Sequence += x.request.Length
	x.response.Sequence += x.response.Length
}

func TestNothingIsAllocatedPerRecord(t *testing.T) {
	calls := 0
	x := newExchanges(func(*Call) { calls++ })
	for range 10 {
		x.next()
	}
	require.Zero(t, testing.AllocsPerRun(1000, x.next))
	require.Greater(t, calls, 1000)
}

func TestNothingIsAllocatedPerConnection(t *testing.T) {
	calls := 0
	x := newExchanges(func(*Call) { calls++ })
	id := uint64(1)
	connection := func() {
		id++
		x.request.ConnID, x.response.ConnID = id, id
		x.tracker.Mark(id, Origin{Sequences: true, Receive: x.request.Sequence, Transmit: x.response.Sequence})
		x.next()
		x.tracker.Close(id, x.response.Header.TimeNs, "")
	}
	connection()
	require.Zero(t, testing.AllocsPerRun(1000, connection))
	require.Greater(t, calls, 1000)
}

func BenchmarkCall(b *testing.B) {
	b.Run("tracker", func(b *testing.B) {
		calls := 0
		x := newExchanges(func(*Call) { calls++ })
		b.ReportAllocs()
		for b.Loop() {
			x.next()
		}
		if calls == 0 {
			b.Fatal("no calls")
		}
	})
	b.Run("net/http", func(b *testing.B) {
		request, response := bytes.NewReader(nil), bytes.NewReader(nil)
		whole := []byte(benchResponse + string(make([]byte, 2048)))
		b.ReportAllocs()
		for b.Loop() {
			request.Reset([]byte(benchRequest))
			response.Reset(whole)
			r, err := http.ReadRequest(bufio.NewReader(request))
			if err != nil {
				b.Fatal(err)
			}
			a, err := http.ReadResponse(bufio.NewReader(response), r)
			if err != nil {
				b.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, a.Body)
		}
	})
}

type discard struct{}

func (discard) Field(http1.Name, []byte, bool) {}

func BenchmarkHead(b *testing.B) {
	b.Run("http1", func(b *testing.B) {
		var head http1.Head
		pool, names, data := buffer.New(1<<20), http1.NewNames(true, nil), []byte(benchRequest)
		b.SetBytes(int64(len(data)))
		b.ReportAllocs()
		for b.Loop() {
			head.Reset(names, pool)
			n, _ := head.Feed(data, pool, discard{})
			if _, progress := head.Feed(data[n:], pool, discard{}); progress != http1.Done {
				b.Fatal(progress)
			}
		}
	})
	b.Run("net/http", func(b *testing.B) {
		r := bytes.NewReader(nil)
		buffered := bufio.NewReader(r)
		b.SetBytes(int64(len(benchRequest)))
		b.ReportAllocs()
		for b.Loop() {
			r.Reset([]byte(benchRequest))
			buffered.Reset(r)
			if _, err := http.ReadRequest(buffered); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkOpaque is what a record costs of a connection that is none of ours.
func BenchmarkOpaque(b *testing.B) {
	tracker := NewTracker(Options{}, func(*Call) {})
	rec := &wire.PayloadRecord{ConnID: 1, Direction: wire.DirectionReceive, Length: 6}
	data := []byte("\x16\x03\x01abc")
	for b.Loop() {
		rec.Header.TimeNs++
		rec.Sequence += 6
		tracker.Payload(rec, data)
	}
}

// BenchmarkConnections has the calls of 10 000 connections in turn.
func BenchmarkConnections(b *testing.B) {
	x := newExchanges(func(*Call) {})
	const n = 10000
	var sequences [n][2]uint32
	i := uint64(0)
	for b.Loop() {
		at := i % n
		i++
		x.request.ConnID, x.response.ConnID = at+1, at+1
		x.request.Sequence, x.response.Sequence = sequences[at][0], sequences[at][1]
		x.next()
		sequences[at] = [2]uint32{x.request.Sequence, x.response.Sequence}
	}
}
