package recording

import (
	"encoding/binary"
	"net/netip"
	"unsafe"

	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

// Flows of single sockets are a part of their own, behind the others': so recordings from before there were any can
// still be read.
func appendFlows(b []byte, c *wire.Collection) []byte {
	var ofPeers, ofSockets []byte
	peers, sockets := 0, 0
	for i := range c.Flows {
		flow := &c.Flows[i]
		if local := flow.Local; local.IsValid() {
			sockets++
			address := local.Addr().As16()
			ofSockets = append(appendFlow(ofSockets, flow), address[:]...)
			ofSockets = binary.LittleEndian.AppendUint16(ofSockets, local.Port())
		} else {
			peers++
			ofPeers = appendFlow(ofPeers, flow)
		}
	}
	if peers > 0 || c.Stats.FlowsFull > 0 {
		part := binary.AppendUvarint(nil, c.Stats.FlowsFull)
		b = appendPart(b, partFlows, append(binary.AppendUvarint(part, uint64(peers)), ofPeers...))
	}
	if sockets > 0 {
		b = appendPart(b, partSocketFlows, append(binary.AppendUvarint(nil, uint64(sockets)), ofSockets...))
	}
	return b
}

func appendFlow(b []byte, flow *wire.DatagramFlow) []byte {
	b = append(b, flowKeyBytes(&flow.Key)...)
	b = binary.AppendUvarint(b, flow.Count.Bytes)
	return binary.AppendUvarint(b, flow.Count.Packets)
}

func decodeFlows(d *decoder, c *wire.Collection) {
	c.Stats.FlowsFull = d.uvarint()
	for range d.length(wire.FlowKeySize + 2) {
		c.Flows = append(c.Flows, decodeFlow(d))
	}
}

func decodeSocketFlows(d *decoder, c *wire.Collection) {
	for range d.length(wire.FlowKeySize + 2 + 18) {
		flow := decodeFlow(d)
		var address [16]byte
		copy(address[:], d.bytes(uint64(len(address))))
		var port [2]byte
		copy(port[:], d.bytes(uint64(len(port))))
		flow.Local = netip.AddrPortFrom(netip.AddrFrom16(address).Unmap(), binary.LittleEndian.Uint16(port[:]))
		c.Flows = append(c.Flows, flow)
	}
}

func decodeFlow(d *decoder) (flow wire.DatagramFlow) {
	copy(flowKeyBytes(&flow.Key), d.bytes(wire.FlowKeySize))
	flow.Count.Bytes, flow.Count.Packets = d.uvarint(), d.uvarint()
	return flow
}

func flowKeyBytes(key *wire.FlowKey) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(key)), wire.FlowKeySize)
}
