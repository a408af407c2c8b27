package conn

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ebpfnet/ebpfnetreceiver/internal/owner"
	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

func TestAConnectionThatVanishesIsLostAfterTwoCollections(t *testing.T) {
	w := newWorld(t, Options{})
	r := w.client(1)
	r.BytesSent = 5
	w.sees(wire.RecordConnSnapshot, r)
	w.collect()
	w.collect()
	assert.EqualValues(t, 1, w.Stats().Live, "one collection without it is chance")
	w.collect()
	assert.EqualValues(t, 0, w.Stats().Live)
	assert.EqualValues(t, 1, w.Stats().LostClose)
	s := w.only()
	assert.Zero(t, s.Closed, "how it ended is not known")
	assert.Zero(t, s.Duration.Count)
	assert.EqualValues(t, 5, s.Bytes[wire.DirectionTransmit])
	assert.Zero(t, s.States[StateEstablished])
	w.balanced()
}

func TestAClosedSocketThatADescriptorStillHoldsDoesNotComeBack(t *testing.T) {
	w := newWorld(t, Options{})
	r := w.client(1)
	w.sees(wire.RecordConnClose, r)
	for range 5 {
		w.collect()
		r.State = StateClose
		w.sees(wire.RecordConnSnapshot, r)
	}
	assert.EqualValues(t, 1, w.Stats().Seen)
	assert.EqualValues(t, 5, w.Stats().Ignored)
	w.balanced()
}

func TestOneWhoseCloseWasLostIsGivenUpThoughADescriptorHoldsIt(t *testing.T) {
	w := newWorld(t, Options{})
	r := w.client(1)
	w.sees(wire.RecordConnSnapshot, r)
	for range 4 {
		w.collect()
		r.State = StateClose
		w.sees(wire.RecordConnSnapshot, r)
	}
	assert.EqualValues(t, 1, w.Stats().LostClose)
	assert.EqualValues(t, 1, w.Stats().Seen)
	w.balanced()
}

func TestLateAndRepeatedRecordsAreIgnoredAndCounted(t *testing.T) {
	w := newWorld(t, Options{})
	r := w.client(1)
	r.BytesSent = 100
	w.sees(wire.RecordConnOpen, r)
	w.sees(wire.RecordConnOpen, r)
	assert.EqualValues(t, 1, w.Stats().Ignored, "a second OPEN")

	w.pass(time.Second)
	r.BytesSent = 200
	w.sees(wire.RecordConnSnapshot, r)
	late := r
	late.BytesSent, late.Header = 150, wire.RecordHeader{TimeNs: w.time - 1, Kind: wire.RecordConnSnapshot}
	w.Conn(&late)
	assert.EqualValues(t, 2, w.Stats().Ignored, "a snapshot older than what is known")

	w.sees(wire.RecordConnClose, r)
	w.sees(wire.RecordConnClose, r)
	assert.EqualValues(t, 3, w.Stats().Ignored, "a second CLOSE")
	w.sees(wire.RecordConnSnapshot, r)
	assert.EqualValues(t, 4, w.Stats().Ignored, "a snapshot after the end")

	r.ID, r.State = 2, StateListen
	w.sees(wire.RecordConnSnapshot, r)
	assert.EqualValues(t, 5, w.Stats().Ignored, "a listening socket")

	w.collect()
	assert.EqualValues(t, 200, w.only().Bytes[wire.DirectionTransmit])
	assert.EqualValues(t, 1, w.only().Opened[wire.RoleClient])
	w.balanced()
}

func TestLookupsOutliveTheEndForALittleWhile(t *testing.T) {
	w := newWorld(t, Options{Linger: time.Second})
	r := w.client(1)
	w.sees(wire.RecordConnClose, r)
	w.pass(time.Second)
	w.sees(wire.RecordConnOpen, w.client(2))
	c, ok := w.Get(1)
	require.True(t, ok)
	assert.True(t, c.Ended())
	assert.Equal(t, netip.MustParseAddrPort("10.0.0.1:40000"), c.Local())
	assert.Equal(t, netip.MustParseAddrPort("10.0.0.2:80"), c.Remote())
	assert.Equal(t, owner.Owner{PID: 7, Executable: "curl", ServiceName: "curl"}, c.Owner())
	assert.Equal(t, "curl", c.Comm())
	assert.EqualValues(t, 7, c.Process())
	assert.Equal(t, 500*time.Microsecond, c.RTT())

	w.pass(time.Nanosecond)
	w.sees(wire.RecordConnSnapshot, w.client(2))
	_, ok = w.Get(1)
	assert.False(t, ok)
}

func TestBeyondMaxConnectionsRecordsAreRefused(t *testing.T) {
	w := newWorld(t, Options{MaxConnections: 2})
	for id := range uint64(5) {
		w.sees(wire.RecordConnOpen, w.client(id))
	}
	assert.EqualValues(t, 2, w.Stats().Seen)
	assert.EqualValues(t, 3, w.Stats().Refused)
	w.balanced()
}

func TestTheBooksBalanceWhateverIsLostRepeatedOrReordered(t *testing.T) {
	for seed := range uint64(20) {
		random := rand.New(rand.NewPCG(seed, 1))
		w := newWorld(t, Options{MaxConnections: 300})
		kinds := []uint32{wire.RecordConnOpen, wire.RecordConnClose, wire.RecordConnSnapshot, wire.RecordConnFailed}
		flags := []uint8{0, wire.ConnAdopted, wire.ConnEstablished, wire.ConnAdopted | wire.ConnEstablished}
		for step := range 3000 {
			r := w.client(random.Uint64N(400))
			r.Flags = flags[random.IntN(len(flags))]
			r.Role, r.State = uint8(random.IntN(3)), uint8(random.IntN(StateCount))
			r.CloseReason, r.Owner.TGID = uint8(random.IntN(9)), uint32(random.IntN(3))
			r.BytesSent, r.SegsOut = random.Uint64N(1e6), random.Uint32()
			if random.IntN(2) == 0 {
				r.EstablishedNs = 0
			}
			w.pass(time.Duration(random.IntN(50)) * time.Millisecond)
			w.sees(kinds[random.IntN(len(kinds))], r)
			if step%500 == 499 {
				w.collect()
			}
			w.balanced()
		}
	}
}
