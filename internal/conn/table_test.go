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

func TestAConnectionIsCountedOnceFromItsHandshakeToItsEnd(t *testing.T) {
	w := newWorld(t, Options{})
	r := w.client(1)
	w.sees(wire.RecordConnOpen, r)
	r.BytesSent, r.BytesReceived, r.SegsOut, r.SegsIn, r.OutOfOrder = 100, 50, 4, 3, 1
	w.sees(wire.RecordConnSnapshot, r)
	w.collect()
	assert.EqualValues(t, 1, w.only().States[StateEstablished])
	r.BytesSent, r.BytesReceived, r.SegsOut, r.SegsIn = 300, 60, 6, 7
	w.pass(5 * time.Second)
	r.CloseReason = wire.CloseRemoteFIN
	w.sees(wire.RecordConnClose, r)
	w.collect()

	s := w.only()
	assert.EqualValues(t, 1, s.Opened[wire.RoleClient])
	assert.EqualValues(t, 1, s.Closed[wire.CloseRemoteFIN])
	assert.Equal(t, [3]uint64{0, 300, 60}, s.Bytes)
	assert.Equal(t, [3]uint64{0, 6, 7}, s.Packets)
	assert.EqualValues(t, 1, s.OutOfOrder)
	assert.EqualValues(t, 1, s.Handshake[wire.RoleClient].Count)
	assert.Equal(t, 0.001, s.Handshake[wire.RoleClient].Sum)
	assert.InDelta(t, 15.001, s.Duration.Sum, 1e-9)
	assert.EqualValues(t, 0, s.States[StateEstablished], "the gauge falls back to 0")
	assert.EqualValues(t, 1<<StateEstablished, s.StatesSeen, "and goes on being reported")
	w.balanced()
}

func TestAShortConnectionFirstSeenAtItsEndCountsWhole(t *testing.T) {
	w := newWorld(t, Options{})
	r := w.client(1)
	r.BytesSent, r.BytesReceived, r.CloseReason = 70, 900, wire.CloseLocalFIN
	w.sees(wire.RecordConnClose, r)
	w.collect()
	s := w.only()
	assert.EqualValues(t, 1, s.Opened[wire.RoleClient])
	assert.EqualValues(t, 1, s.Closed[wire.CloseLocalFIN])
	assert.Equal(t, [3]uint64{0, 70, 900}, s.Bytes)
	assert.EqualValues(t, 1, s.Duration.Count)
	assert.EqualValues(t, 1, s.RTT.Count)
	w.balanced()
}

func TestAnAdoptedConnectionClaimsNothingFromBeforeTheStart(t *testing.T) {
	w := newWorld(t, Options{})
	r := w.client(1)
	r.EstablishedNs, r.HandshakeUs, r.Role = 0, 0, wire.RoleUnknown
	r.Flags |= wire.ConnAdopted | wire.ConnBoundByConnect
	r.BytesSent, r.BytesReceived, r.SegsOut, r.SegsIn = 1e9, 2e9, 1e6, 2e6
	w.sees(wire.RecordConnSnapshot, r)
	w.collect()
	r.BytesSent += 10
	r.SegsIn++
	w.sees(wire.RecordConnClose, r)
	w.collect()
	s := w.only()
	assert.Equal(t, [3]uint64{0, 10, 0}, s.Bytes)
	assert.Equal(t, [3]uint64{0, 0, 1}, s.Packets)
	assert.Zero(t, s.Opened)
	assert.Zero(t, s.Duration.Count)
	assert.Zero(t, s.Handshake[wire.RoleClient].Count)
	assert.EqualValues(t, 1, w.Stats().Adopted)
	c, ok := w.Get(1)
	assert.False(t, ok, "an interval later it is gone: %v", c)
	w.balanced()
}

func TestALocalPortChosenByConnectMakesAnAdoptedEndTheClient(t *testing.T) {
	w := newWorld(t, Options{})
	r := w.client(1)
	r.EstablishedNs, r.Role = 0, wire.RoleUnknown
	r.Flags |= wire.ConnAdopted
	w.sees(wire.RecordConnSnapshot, r)
	r.ID, r.Flags = 2, r.Flags|wire.ConnBoundByConnect
	w.sees(wire.RecordConnSnapshot, r)
	unknown, _ := w.Get(1)
	client, _ := w.Get(2)
	assert.EqualValues(t, wire.RoleUnknown, unknown.Role())
	assert.EqualValues(t, wire.RoleClient, client.Role())
}

func TestAConnectionAdoptedWhileConnectingIsOpenedHere(t *testing.T) {
	w := newWorld(t, Options{})
	r := w.client(1)
	r.State, r.EstablishedNs, r.Flags = StateSynSent, 0, wire.ConnAdopted
	w.sees(wire.RecordConnSnapshot, r)
	w.balanced()
	r.State, r.EstablishedNs, r.Flags, r.BytesSent = StateEstablished, w.time, wire.ConnAdopted|wire.ConnEstablished, 9
	w.sees(wire.RecordConnSnapshot, r)
	w.collect()
	assert.EqualValues(t, 1, w.only().Opened[wire.RoleClient])
	assert.EqualValues(t, 9, w.only().Bytes[wire.DirectionTransmit])
	w.balanced()
}

func TestAFailedConnectCountsOnceAndNeverAsOpened(t *testing.T) {
	const refused = 111
	failing := func(w *world) wire.ConnRecord {
		r := w.client(1)
		r.State, r.EstablishedNs, r.Flags, r.Error, r.HandshakeUs, r.SegsOut = StateSynSent, 0, 0, refused, 0, 1
		return r
	}
	for name, kinds := range map[string][]uint32{
		"reported as failed and closed":      {wire.RecordConnFailed, wire.RecordConnClose},
		"seen connecting before":             {wire.RecordConnSnapshot, wire.RecordConnFailed, wire.RecordConnClose},
		"with the report of failure lost":    {wire.RecordConnClose},
		"with the close lost":                {wire.RecordConnFailed},
		"still held by a descriptor":         {wire.RecordConnFailed, wire.RecordConnClose, wire.RecordConnSnapshot},
		"connecting, then the failure alone": {wire.RecordConnOpen, wire.RecordConnClose},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, Options{})
			for _, kind := range kinds {
				w.sees(kind, failing(w))
			}
			w.balanced()
			w.collect()
			s := w.only()
			assert.Equal(t, []Failure{{refused, 1}}, s.Failed)
			assert.Zero(t, s.Opened)
			assert.Zero(t, s.Closed)
			assert.Zero(t, s.Handshake[wire.RoleClient].Count)
			assert.EqualValues(t, 1, s.Packets[wire.DirectionTransmit], "its SYN was a packet")
			assert.EqualValues(t, 1, w.Stats().Failed)
		})
	}
}

func TestAServerEndThatNeverGotEstablishedIsNoFailedConnect(t *testing.T) {
	w := newWorld(t, Options{})
	r := w.client(1)
	r.Role, r.State, r.EstablishedNs, r.Flags = wire.RoleServer, StateSynRecv, 0, 0
	w.sees(wire.RecordConnClose, r)
	w.collect()
	assert.Empty(t, w.only().Failed)
	assert.EqualValues(t, 1, w.Stats().Abandoned)
	w.balanced()
}

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
