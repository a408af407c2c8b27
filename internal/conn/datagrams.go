package conn

import (
	"net/netip"

	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

// Datagrams adds what was exchanged in datagrams since the collection before. It comes before Collect.
func (t *Table) Datagrams(flows []wire.DatagramFlow, timeNs uint64) {
	if t.flows == nil {
		return
	}
	for i := range flows {
		key := &flows[i].Key
		peer := netip.AddrFrom16(key.Peer).Unmap()
		if peer == netip.IPv6Unspecified() {
			peer = netip.Addr{}
		}
		flow := t.flows.Of(t.resolver.Resolve(key.Owner, "", timeNs), FlowKey{
			Peer: peer, Port: key.Port, Role: key.Role, Protocol: key.Protocol,
		}, uint64(int64(t.sinceNs)+t.offsetNs))
		flow.Add(key.Direction, flows[i].Count.Bytes, flows[i].Count.Packets)
	}
}
