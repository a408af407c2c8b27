package conn

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

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
	r.Flags |= wire.ConnAdopted
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

func TestTheRoleOfAnAdoptedConnectionIsTheKernelHalfsToTell(t *testing.T) {
	w := newWorld(t, Options{})
	r := w.client(1)
	r.EstablishedNs, r.Role = 0, wire.RoleUnknown
	r.Flags |= wire.ConnAdopted
	w.sees(wire.RecordConnSnapshot, r)
	r.ID, r.Role = 2, wire.RoleClient
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

func TestAConnectWithoutAnErrnoIsAbortedOnlyWhereTheApplicationClosedIt(t *testing.T) {
	for reason, want := range map[uint8]uint32{wire.CloseLocalFIN: ErrnoAborted, wire.CloseUnknown: ErrnoUnknown} {
		w := newWorld(t, Options{})
		r := w.client(1)
		r.State, r.EstablishedNs, r.Flags, r.CloseReason = StateSynSent, 0, 0, reason
		w.sees(wire.RecordConnFailed, r)
		assert.Equal(t, []Failure{{want, 1}}, w.only().Failed)
	}
}

func TestALocalPortThatIsChosenAfterTheFirstRecordIsKnown(t *testing.T) {
	w := newWorld(t, Options{})
	established := w.client(1)
	begun := established
	begun.Pair.LocalPort, begun.State, begun.Flags, begun.EstablishedNs = 0, StateSynSent, 0, 0
	w.sees(wire.RecordConnSnapshot, begun)
	w.sees(wire.RecordConnOpen, established)
	c, ok := w.Get(1)
	require.True(t, ok)
	assert.Equal(t, established.Pair.LocalAddr(), c.Local())
}
