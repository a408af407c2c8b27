package conn

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

func TestRetransmittedPayloadIsNotTransmittedTwice(t *testing.T) {
	w := newWorld(t, Options{})
	r := w.client(1)
	r.BytesSent, r.BytesRetrans = 1000, 200
	w.sees(wire.RecordConnSnapshot, r)
	assert.EqualValues(t, 800, w.only().Bytes[wire.DirectionTransmit])
	r.BytesRetrans = 400 // read between the two counters' updates
	w.sees(wire.RecordConnSnapshot, r)
	assert.EqualValues(t, 800, w.only().Bytes[wire.DirectionTransmit], "a sum never falls")
	r.BytesSent = 1400
	w.sees(wire.RecordConnSnapshot, r)
	assert.EqualValues(t, 1000, w.only().Bytes[wire.DirectionTransmit])
}

func TestSegmentCountersSurviveTheirWrap(t *testing.T) {
	w := newWorld(t, Options{})
	r := w.client(1)
	total := uint64(0)
	for range 40 {
		w.pass(time.Second)
		r.SegsOut += 1 << 30
		total += 1 << 30
		w.sees(wire.RecordConnSnapshot, r)
	}
	assert.Equal(t, total, w.only().Packets[wire.DirectionTransmit])
}

func TestRoundTripTimesAreThoseOfConnectionsInUse(t *testing.T) {
	w := newWorld(t, Options{})
	r := w.client(1)
	w.sees(wire.RecordConnSnapshot, r)
	w.collect()
	assert.EqualValues(t, 0, w.only().RTT.Count, "it moved nothing yet")
	for range 3 {
		r.BytesSent++
		w.sees(wire.RecordConnSnapshot, r)
		w.collect()
	}
	assert.EqualValues(t, 3, w.only().RTT.Count, "once per collection in which it moved payload")
	w.sees(wire.RecordConnSnapshot, r)
	w.collect()
	assert.EqualValues(t, 3, w.only().RTT.Count, "idle again")
	r.BytesReceived = 9
	w.sees(wire.RecordConnClose, r)
	assert.EqualValues(t, 4, w.only().RTT.Count, "and once at its end")
	assert.EqualValues(t, 4, w.only().MinRTT.Count)

	w.sees(wire.RecordConnClose, w.client(2))
	assert.EqualValues(t, 5, w.only().RTT.Count, "one that never moved any has its handshake's, once")
}

func TestClosedWindowsAreTheConnectionsStoppedRightNow(t *testing.T) {
	w := newWorld(t, Options{})
	r := w.client(1)
	r.SndWnd = 0
	w.sees(wire.RecordConnSnapshot, r)
	r = w.client(2)
	r.RcvWnd = 0
	w.sees(wire.RecordConnSnapshot, r)
	r = w.client(3)
	r.State, r.Flags, r.SndWnd, r.EstablishedNs = StateSynSent, 0, 0, 0 // no window is known before the answer
	w.sees(wire.RecordConnSnapshot, r)
	w.collect()
	assert.Equal(t, [3]uint64{0, 1, 1}, w.only().ZeroWindow)
}
