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
		of := FlowKey{Peer: peer, Port: key.Port, Role: key.Role, Protocol: key.Protocol}
		if flows[i].Local.IsValid() {
			t.translate(&of, socketPair(&flows[i]))
		}
		flow := t.flows.Of(t.resolver.Resolve(key.Owner, "", timeNs), of, uint64(int64(t.sinceNs)+t.offsetNs))
		flow.Add(key.Direction, flows[i].Count.Bytes, flows[i].Count.Packets)
	}
}

func socketPair(flow *wire.DatagramFlow) *wire.AddressPair {
	return &wire.AddressPair{
		Local: flow.Local.Addr().As16(), LocalPort: flow.Local.Port(),
		Remote: flow.Key.Peer, RemotePort: flow.Key.Port, Protocol: flow.Key.Protocol,
	}
}
