package conn

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

// flows are all flows that there are.
func (w *world) flows() (all []Flow) {
	for group := range w.Flows().Owners().All {
		for _, flow := range group.Value.All() {
			all = append(all, *flow)
		}
	}
	return all
}

func newFlowWorld(t *testing.T, limits FlowLimits) *world {
	return newWorld(t, Options{Flows: &limits})
}

func to(r wire.ConnRecord, remote string) wire.ConnRecord {
	address := netip.MustParseAddrPort(remote)
	r.Pair.Remote, r.Pair.RemotePort = address.Addr().As16(), address.Port()
	return r
}

func TestConnectionsToOneServiceAreOneFlow(t *testing.T) {
	w := newFlowWorld(t, FlowLimits{})
	for id := range uint64(3) {
		r := w.client(id)
		r.Pair.LocalPort += uint16(id)
		r.BytesSent, r.BytesRetrans, r.BytesReceived, r.SegsOut, r.SegsIn = 120, 20, 1000, 5, 4
		w.sees(wire.RecordConnSnapshot, r)
		r.BytesReceived = 1001
		w.sees(wire.RecordConnClose, r)
	}
	other := to(w.client(9), "10.0.0.2:81")
	other.SegsOut = 1
	w.sees(wire.RecordConnSnapshot, other)
	w.collect()
	flows := w.flows()
	require.Len(t, flows, 2)
	assert.Equal(t, FlowKey{Peer: netip.MustParseAddr("10.0.0.2"), Port: 80, Role: wire.RoleClient, Protocol: 6}, flows[0].Key)
	assert.Equal(t, [3]uint64{0, 300, 3003}, flows[0].Bytes)
	assert.Equal(t, [3]uint64{0, 15, 12}, flows[0].Packets)
	assert.EqualValues(t, 81, flows[1].Key.Port)
	assert.Equal(t, startNs+uint64(offsetNs)-2e6, flows[0].StartNs, "when the first connection was opened")
}

func TestAFlowHasTheServersPortOrNone(t *testing.T) {
	for name, test := range map[string]struct {
		role uint8
		port uint16
	}{
		"client": {wire.RoleClient, 80}, "server": {wire.RoleServer, 40000}, "unknown": {wire.RoleUnknown, 0},
	} {
		w := newFlowWorld(t, FlowLimits{})
		r := w.client(1)
		r.Role, r.SegsOut = test.role, 1
		w.sees(wire.RecordConnSnapshot, r)
		assert.Equal(t, test.port, w.flows()[0].Key.Port, name)
	}
}

func TestARoleThatIsLearntLaterBeginsAnotherFlow(t *testing.T) {
	w := newFlowWorld(t, FlowLimits{})
	r := w.client(1)
	r.Role, r.SegsOut = wire.RoleUnknown, 10
	w.sees(wire.RecordConnSnapshot, r)
	r.Role, r.SegsOut = wire.RoleClient, 15
	w.sees(wire.RecordConnSnapshot, r)
	flows := w.flows()
	require.Len(t, flows, 2)
	assert.EqualValues(t, 10, flows[0].Packets[wire.DirectionTransmit])
	assert.EqualValues(t, 5, flows[1].Packets[wire.DirectionTransmit])
	assert.Zero(t, flows[0].connections)
	assert.EqualValues(t, 1, flows[1].connections)
}

func TestAnAdoptedConnectionsPastIsNotInItsFlow(t *testing.T) {
	w := newFlowWorld(t, FlowLimits{})
	r := w.client(1)
	r.Flags |= wire.ConnAdopted
	r.EstablishedNs, r.SegsOut = 0, 1000
	w.sees(wire.RecordConnSnapshot, r)
	r.SegsOut = 1002
	w.sees(wire.RecordConnSnapshot, r)
	assert.EqualValues(t, 2, w.flows()[0].Packets[wire.DirectionTransmit])
	assert.Equal(t, startNs+uint64(offsetNs), w.flows()[0].StartNs)
}

func TestFlowsBeyondTheLimitsAreCountedTogether(t *testing.T) {
	w := newFlowWorld(t, FlowLimits{PerOwner: 3, Total: 5})
	id := uint64(0)
	for _, process := range []uint32{7, 8, 9} {
		for _, peer := range []string{"10.0.0.2:80", "10.0.0.3:80", "[fd00::1]:80", "10.0.0.5:80"} {
			id++
			r := to(w.client(id), peer)
			r.Owner.TGID, r.SegsOut = process, 1
			w.sees(wire.RecordConnClose, r)
		}
	}
	w.collect()
	perOwner, overflow, packets := []int{}, uint64(0), uint64(0)
	for group := range w.Flows().Owners().All {
		perOwner = append(perOwner, len(group.Value.All()))
		for _, flow := range group.Value.All() {
			packets += flow.Packets[wire.DirectionTransmit]
			if flow.Key.Overflow {
				overflow += flow.Packets[wire.DirectionTransmit]
				assert.Equal(t, FlowKey{Overflow: true}, flow.Key)
			}
		}
	}
	assert.Equal(t, []int{3, 3, 2}, perOwner, "two flows and the overflow each, until the total is reached")
	assert.EqualValues(t, 12, packets, "nothing is lost")
	assert.EqualValues(t, 7, overflow)
	assert.EqualValues(t, 7, w.Stats().FlowsFolded)
}

func TestAnIdleFlowIsForgottenAndBeginsAnew(t *testing.T) {
	w := newFlowWorld(t, FlowLimits{IdleCollections: 3})
	live, closed := w.client(1), to(w.client(2), "10.0.0.3:80")
	live.SegsOut, closed.SegsOut = 1, 1
	w.sees(wire.RecordConnSnapshot, live)
	w.sees(wire.RecordConnClose, closed)
	w.collect()
	for range 3 {
		assert.Len(t, w.flows(), 2)
		w.sees(wire.RecordConnSnapshot, live)
		w.collect()
	}
	require.Len(t, w.flows(), 1, "one has a connection, if an idle one")
	again := to(w.client(3), "10.0.0.3:80")
	again.SegsOut = 4
	w.sees(wire.RecordConnClose, again)
	flows := w.flows()
	require.Len(t, flows, 2)
	assert.EqualValues(t, 4, flows[1].Packets[wire.DirectionTransmit])
	assert.Equal(t, w.time-2e6+uint64(offsetNs), flows[1].StartNs)
	assert.Equal(t, 2, w.Table.flows.total)
}

func TestFlowsAllocateNothingInSteadyState(t *testing.T) {
	w := newFlowWorld(t, FlowLimits{})
	id := uint64(0)
	life := func() {
		id++
		r := w.client(id)
		r.SegsOut = 7
		w.sees(wire.RecordConnOpen, r)
		r.BytesSent += 100
		w.sees(wire.RecordConnClose, r)
		w.pass(time.Millisecond)
	}
	for range 10000 {
		life()
	}
	assert.Zero(t, testing.AllocsPerRun(5000, life))
}

func TestAClientsFlowNamesTheBackendBehindAService(t *testing.T) {
	backend := netip.MustParseAddrPort("10.2.0.9:8080")
	w := newWorld(t, Options{Flows: &FlowLimits{}, Translation: func(pair *wire.AddressPair) (netip.AddrPort, bool) {
		return backend, pair.RemotePort == 80
	}})
	translated, direct, server := w.client(1), to(w.client(2), "10.0.0.2:81"), w.client(3)
	server.Role = wire.RoleServer
	for _, r := range []wire.ConnRecord{translated, direct, server} {
		r.SegsOut = 1
		w.sees(wire.RecordConnClose, r)
	}
	dialled := netip.MustParseAddr("10.0.0.2")
	flows := w.flows()
	require.Len(t, flows, 3)
	assert.Equal(t, FlowKey{Peer: backend.Addr(), PeerPort: 8080, Dialled: dialled, Port: 80, Role: wire.RoleClient, Protocol: 6}, flows[2].Key)
	assert.Equal(t, FlowKey{Peer: dialled, Port: 81, Role: wire.RoleClient, Protocol: 6}, flows[0].Key)
	assert.Equal(t, FlowKey{Peer: dialled, Port: 40000, Role: wire.RoleServer, Protocol: 6}, flows[1].Key)
}

func TestTheBackendIsAskedForOnceTheClientHasGotThrough(t *testing.T) {
	backend := netip.MustParseAddrPort("10.2.0.9:8080")
	sent := false
	w := newWorld(t, Options{Flows: &FlowLimits{}, Translation: func(*wire.AddressPair) (netip.AddrPort, bool) {
		return backend, sent
	}})
	through, refused := w.client(1), w.client(2)
	for _, r := range []*wire.ConnRecord{&through, &refused} {
		connecting := *r
		connecting.State, connecting.EstablishedNs, connecting.Flags = StateSynSent, 0, 0
		connecting.SegsOut = 1
		w.sees(wire.RecordConnSnapshot, connecting)
	}
	require.Empty(t, w.flows(), "the table of connections has not seen it yet")
	sent = true
	through.SegsOut, through.SegsIn = 3, 2
	w.sees(wire.RecordConnOpen, through)
	refused.State, refused.EstablishedNs, refused.Flags = StateSynSent, 0, 0
	refused.SegsOut, refused.SegsIn = 2, 1
	w.sees(wire.RecordConnFailed, refused)
	flows := w.flows()
	require.Len(t, flows, 1)
	assert.Equal(t, backend.Addr(), flows[0].Key.Peer)
	assert.EqualValues(t, 5, flows[0].Packets[wire.DirectionTransmit], "with what was sent before")
	assert.EqualValues(t, 3, flows[0].Packets[wire.DirectionReceive])
}
