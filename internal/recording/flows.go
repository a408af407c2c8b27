package recording

import (
	"encoding/binary"
	"unsafe"

	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

func appendFlows(b []byte, c *wire.Collection) []byte {
	if len(c.Flows) == 0 && c.Stats.FlowsFull == 0 {
		return b
	}
	part := binary.AppendUvarint(nil, c.Stats.FlowsFull)
	part = binary.AppendUvarint(part, uint64(len(c.Flows)))
	for i := range c.Flows {
		part = append(part, flowKeyBytes(&c.Flows[i].Key)...)
		part = binary.AppendUvarint(part, c.Flows[i].Count.Bytes)
		part = binary.AppendUvarint(part, c.Flows[i].Count.Packets)
	}
	return appendPart(b, partFlows, part)
}

func decodeFlows(d *decoder, c *wire.Collection) {
	c.Stats.FlowsFull = d.uvarint()
	for range d.length(wire.FlowKeySize + 2) {
		var flow wire.DatagramFlow
		copy(flowKeyBytes(&flow.Key), d.bytes(wire.FlowKeySize))
		flow.Count.Bytes, flow.Count.Packets = d.uvarint(), d.uvarint()
		c.Flows = append(c.Flows, flow)
	}
}

func flowKeyBytes(key *wire.FlowKey) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(key)), wire.FlowKeySize)
}
