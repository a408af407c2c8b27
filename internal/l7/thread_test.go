package l7

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

// worker is a thread's view of its connections: what it receives and sends on each, in that order.
type worker struct {
	t     *Tracker
	calls []Call
	next  map[uint64][2]uint32 // sequence numbers
	now   uint64
}

func newWorker() *worker {
	w := &worker{next: map[uint64][2]uint32{}}
	w.t = NewTracker(Options{}, func(c *Call) {
		kept := *c
		kept.Target = string([]byte(c.Target))
		w.calls = append(w.calls, kept)
	})
	return w
}

func (w *worker) moves(tid uint32, conn uint64, direction, flags uint8, data string) {
	w.now += 1000
	next, side := w.next[conn], 0
	if direction == wire.DirectionTransmit {
		side = 1
	}
	w.t.Payload(&wire.PayloadRecord{
		Header: wire.RecordHeader{TimeNs: w.now, Kind: wire.RecordPayload}, ConnID: conn, TID: tid,
		Sequence: next[side], Length: uint32(len(data)), Captured: uint32(len(data)), Direction: direction, Flags: flags,
	}, []byte(data))
	next[side] += uint32(len(data))
	w.next[conn] = next
}

func (w *worker) hears(tid uint32, conn uint64, target string, flags uint8, headers string) {
	w.moves(tid, conn, wire.DirectionReceive, flags, "GET "+target+" HTTP/1.1\r\nHost: a\r\n"+headers+"\r\n")
}

func (w *worker) asks(tid uint32, conn uint64, target string) {
	w.moves(tid, conn, wire.DirectionTransmit, 0, "GET "+target+" HTTP/1.1\r\nHost: b\r\n\r\n")
}

func (w *worker) isAnswered(tid uint32, conn uint64) {
	w.moves(tid, conn, wire.DirectionReceive, wire.PayloadWaits, "HTTP/1.1 204 No Content\r\n\r\n")
}

func (w *worker) answers(tid uint32, conn uint64) {
	w.moves(tid, conn, wire.DirectionTransmit, 0, "HTTP/1.1 204 No Content\r\n\r\n")
}

// within is what the call to a target was made for.
func (w *worker) within(t *testing.T, target string) Within {
	t.Helper()
	w.t.Flush(w.now + 5e9)
	for _, c := range w.calls {
		if c.Target == target {
			return c.Within
		}
	}
	require.FailNow(t, "no call to "+target)
	return Within{}
}

func TestARequestIsMadeWithinTheOneThatItsThreadServes(t *testing.T) {
	const waits = wire.PayloadWaits
	w := newWorker()
	for round := range 3 {
		target := fmt.Sprintf("/back/%d", round)
		sequence := w.next[1][0]
		w.hears(7, 1, "/front", waits, "")
		w.asks(7, 2, target)
		w.isAnswered(7, 2)
		w.asks(7, 2, target+"/more")
		w.isAnswered(7, 2)
		w.answers(7, 1)
		assert.Equal(t, Within{Known: true, ConnID: 1, Sequence: sequence}, w.within(t, target))
		assert.Equal(t, Within{Known: true, ConnID: 1, Sequence: sequence}, w.within(t, target+"/more"))
	}
	assert.Empty(t, w.t.threads)
}

func TestARequestKeepsTheTraceOfTheOneItIsMadeWithin(t *testing.T) {
	w := newWorker()
	w.hears(7, 1, "/front", wire.PayloadWaits, "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n")
	w.asks(7, 2, "/back")
	w.isAnswered(7, 2)
	assert.Equal(t, [16]byte{0x4b, 0xf9, 0x2f, 0x35, 0x77, 0xb3, 0x4d, 0xa6, 0xa3, 0xce, 0x92, 0x9d, 0x0e, 0x0e, 0x47, 0x36},
		w.within(t, "/back").TraceID)
}

func TestWhatARequestIsMadeWithinIsNeverGuessed(t *testing.T) {
	const waits = wire.PayloadWaits
	for name, ask := range map[string]func(w *worker){
		"the thread waits for nothing, as event loops do": func(w *worker) {
			w.hears(7, 1, "/front", 0, "")
			w.asks(7, 9, "/back")
		},
		"another thread asks": func(w *worker) {
			w.hears(7, 1, "/front", waits, "")
			w.asks(8, 9, "/back")
		},
		"two are served at once": func(w *worker) {
			w.hears(7, 1, "/front", waits, "")
			w.hears(7, 2, "/front", waits, "")
			w.asks(7, 9, "/back")
		},
		"two were, and one is answered": func(w *worker) {
			w.hears(7, 1, "/front", waits, "")
			w.hears(7, 2, "/front", waits, "")
			w.answers(7, 2)
			w.t.Flush(w.now + 5e9)
			w.asks(7, 9, "/back")
		},
		"it was answered before": func(w *worker) {
			w.hears(7, 1, "/front", waits, "")
			w.answers(7, 1)
			w.asks(7, 9, "/back")
		},
		"its connection has ended": func(w *worker) {
			w.hears(7, 1, "/front", waits, "")
			w.t.Close(1, w.now+1, "")
			w.asks(7, 9, "/back")
		},
		"its head is not complete": func(w *worker) {
			w.moves(7, 1, wire.DirectionReceive, waits, "GET /front HTTP/1.1\r\nHost: a\r\n")
			w.asks(7, 9, "/back")
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorker()
			ask(w)
			w.isAnswered(7, 9)
			assert.Equal(t, Within{}, w.within(t, "/back"))
		})
	}
}
