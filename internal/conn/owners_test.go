package conn

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ebpfnet/ebpfnetreceiver/internal/owner"
	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

func (w *world) owners() (all []owner.Owner, overflow *Owned[Group]) {
	for group := range w.Groups().All {
		if group.Overflow {
			overflow = group
			continue
		}
		all = append(all, group.Owner)
	}
	return all, overflow
}

func TestAnAcceptedConnectionWaitsForItsProcess(t *testing.T) {
	w := newWorld(t, Options{})
	r := w.client(1)
	r.Role, r.Owner.TGID, r.BytesReceived = wire.RoleServer, 0, 3
	w.sees(wire.RecordConnSnapshot, r) // still in the accept queue
	w.collect()
	r.Owner.TGID, r.BytesReceived = 8, 30
	w.sees(wire.RecordConnOpen, r)
	w.collect()
	for group := range w.Groups().All {
		switch group.Owner.PID {
		case 8:
			require.Len(t, group.Value.Series(), 1)
			assert.EqualValues(t, 1, group.Value.Series()[0].Opened[wire.RoleServer])
			assert.EqualValues(t, 30, group.Value.Series()[0].Bytes[wire.DirectionReceive])
		default:
			assert.Empty(t, group.Value.Series(), "nothing is claimed for the namespace")
		}
	}
	w.balanced()
}

func TestAConnectionThatNoProcessTakesIsItsNamespacesInTheEnd(t *testing.T) {
	w := newWorld(t, Options{})
	r := w.client(1)
	r.Role, r.Owner.TGID = wire.RoleServer, 0
	w.sees(wire.RecordConnSnapshot, r)
	w.collect()
	w.sees(wire.RecordConnSnapshot, r)
	w.collect()
	all, _ := w.owners()
	assert.Equal(t, []owner.Owner{{Netns: 1}}, all)
	assert.EqualValues(t, 1, w.only().Opened[wire.RoleServer])
}

func TestWhatIsLostBeforeAProcessTookItWasOpenedNevertheless(t *testing.T) {
	w := newWorld(t, Options{})
	r := w.client(1)
	r.Role, r.Owner.TGID = wire.RoleServer, 0
	w.sees(wire.RecordConnSnapshot, r)
	for range 3 {
		w.collect()
	}
	assert.EqualValues(t, 1, w.Stats().LostClose)
	assert.EqualValues(t, 1, w.only().Opened[wire.RoleServer])
}

func TestAConnectionHandedToAnotherProcessCountsThereFromThenOn(t *testing.T) {
	w := newWorld(t, Options{})
	r := w.client(1)
	r.BytesSent = 10
	w.sees(wire.RecordConnOpen, r)
	r.Owner.TGID, r.BytesSent = 8, 15
	w.sees(wire.RecordConnSnapshot, r)
	r.Owner.TGID, r.BytesSent = 0, 16 // made in softirq: says nothing about the process
	w.sees(wire.RecordConnClose, r)
	sent, opened := map[uint32]uint64{}, uint64(0)
	for group := range w.Groups().All {
		sent[group.Owner.PID] = group.Value.Series()[0].Bytes[wire.DirectionTransmit]
		opened += group.Value.Series()[0].Opened[wire.RoleClient]
	}
	assert.Equal(t, map[uint32]uint64{7: 10, 8: 6}, sent)
	assert.EqualValues(t, 1, opened)
	w.balanced()
}

func TestOwnersBeyondTheLimitFoldIntoOne(t *testing.T) {
	w := newWorld(t, Options{Limits: Limits{Owners: 4}})
	for i := range uint64(5) {
		r := w.client(i)
		r.Owner.TGID, r.BytesSent = uint32(10+i), 1
		w.sees(wire.RecordConnSnapshot, r)
	}
	w.collect()
	all, overflow := w.owners()
	assert.Len(t, all, 2)
	require.NotNil(t, overflow)
	assert.EqualValues(t, 3, overflow.Value.Series()[0].Opened[wire.RoleClient])
	assert.EqualValues(t, 3, w.Stats().Folded)
	c, _ := w.Get(4)
	assert.EqualValues(t, 14, c.Owner().PID, "its spans and events still tell whose it is")
}

func TestContainersKeepTheirPlaceHoweverManyProcessesThereAre(t *testing.T) {
	owners := NewOwners[int](Limits{Owners: 10, IdleCollections: 1})
	process := func(i int) owner.Owner { return owner.Owner{PID: uint32(i + 1), Executable: "sh"} }
	for i := range 100 {
		owners.Of(process(i), 1)
	}
	for i := range 5 {
		assert.False(t, owners.Of(owner.Owner{ContainerID: string(rune('a' + i))}, 1).Overflow)
	}
	assert.True(t, owners.Of(owner.Owner{ContainerID: "z"}, 1).Overflow, "the limit holds for them too")
	assert.True(t, owners.Of(process(7), 1).Overflow)
	assert.False(t, owners.Of(process(3), 1).Overflow)
	owners.Sweep()
	owners.Sweep()
	assert.False(t, owners.Of(process(7), 1).Overflow, "what was forgotten makes room")
}

func TestAttributesBeyondTheLimitFoldIntoOneSeries(t *testing.T) {
	w := newWorld(t, Options{MaxSets: 3, Dimensions: Dimensions{Peer: true, ServerPort: true, Role: true, NetworkType: true}})
	for i := range uint64(6) {
		r := w.client(i)
		r.Pair.Remote[15] = uint8(i)
		w.sees(wire.RecordConnSnapshot, r)
	}
	w.collect()
	for group := range w.Groups().All {
		require.Len(t, group.Value.Series(), 3)
		first, last := group.Value.Series()[0], group.Value.Series()[2]
		assert.Equal(t, Attributes{Peer: first.Attributes.Peer, ServerPort: 80, Role: wire.RoleClient, IPVersion: 4}, first.Attributes)
		assert.Equal(t, Attributes{Overflow: true}, last.Attributes)
		assert.EqualValues(t, 4, last.Opened[wire.RoleClient])
	}
}

func TestTheServersPortIsNeverTheEphemeralOne(t *testing.T) {
	for role, want := range map[uint8]uint16{wire.RoleUnknown: 0, wire.RoleClient: 80, wire.RoleServer: 40000} {
		w := newWorld(t, Options{Dimensions: Dimensions{ServerPort: true}})
		r := w.client(1)
		r.Role = role
		w.sees(wire.RecordConnSnapshot, r)
		assert.Equal(t, want, w.only().Attributes.ServerPort)
	}
}

func TestAnIdleOwnerIsForgottenAndBeginsAnewWhenItComesBack(t *testing.T) {
	w := newWorld(t, Options{Limits: Limits{IdleCollections: 3}})
	wall := func(timeNs uint64) uint64 { return timeNs + uint64(offsetNs) }
	startOf := func() uint64 {
		for group := range w.Groups().All {
			return group.StartNs
		}
		return 0
	}
	w.collect()
	first := w.time
	w.pass(3 * time.Second)
	w.sees(wire.RecordConnClose, w.client(1))
	assert.Equal(t, wall(first), startOf(), "sums were zero at the collection before")
	w.collect()
	for range 2 {
		w.collect()
		assert.NotZero(t, startOf())
	}
	w.collect()
	assert.Zero(t, startOf())

	second := w.time
	w.sees(wire.RecordConnClose, w.client(2))
	w.collect()
	assert.Equal(t, wall(second)-2e6, startOf(), "or when its connection opened, if that is earlier")
	assert.EqualValues(t, 1, w.only().Opened[wire.RoleClient])
}

func TestALiveConnectionKeepsItsOwner(t *testing.T) {
	w := newWorld(t, Options{Limits: Limits{IdleCollections: 1}})
	for range 10 {
		w.sees(wire.RecordConnSnapshot, w.client(1))
		w.collect()
	}
	assert.EqualValues(t, 1, w.only().Opened[wire.RoleClient])
}

func TestASocketThatTwoProcessesHoldIsNeithers(t *testing.T) {
	w := newWorld(t, Options{})
	r := w.client(1)
	r.Flags, r.EstablishedNs = wire.ConnEstablished|wire.ConnAdopted, 0
	w.sees(wire.RecordConnSnapshot, r)
	r.Flags, r.Owner.TGID = r.Flags|wire.ConnTGIDAmbiguous, 0
	r.BytesSent = 5
	w.sees(wire.RecordConnSnapshot, r)
	c, _ := w.Get(1)
	assert.Zero(t, c.Process())
	assert.Equal(t, owner.Owner{Netns: 1}, c.Owner())
}

func TestAttributesBeyondTheLimitOfAllOwnersFoldToo(t *testing.T) {
	w := newWorld(t, Options{MaxAllSets: 4, Dimensions: Dimensions{Peer: true}})
	for i := range uint64(12) {
		r := w.client(i)
		r.Owner.TGID += uint32(i % 3)
		r.Pair.Remote[15] = uint8(i)
		w.sees(wire.RecordConnSnapshot, r)
	}
	w.collect()
	sets, opened := 0, uint64(0)
	for group := range w.Groups().All {
		for _, s := range group.Value.Series() {
			sets++
			opened += s.Opened[wire.RoleClient]
		}
	}
	assert.EqualValues(t, 12, opened)
	assert.LessOrEqual(t, sets, 4+2*3)
}
