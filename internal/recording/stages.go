package recording

import (
	"encoding/binary"

	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

// A collection may end with parts that older versions did not write, each a tag, a length and a body. What is
// empty is not written.
const (
	partStages byte = 1 + iota
	partNamespaces
	partFlows
	partSoftirqs
	partSocketFlows
	partCommands
	partStageRates
)

func appendPart(b []byte, tag byte, body []byte) []byte {
	b = append(b, tag)
	b = binary.AppendUvarint(b, uint64(len(body)))
	return append(b, body...)
}

// parts takes the parts at the end of a collection; those of a newer version are left out.
func (d *decoder) parts(c *wire.Collection) {
	for len(d.rest) > 0 && !d.failed {
		tag := d.bytes(1)[0]
		part := decoder{rest: d.bytes(d.uvarint())}
		switch tag {
		case partStages:
			decodeStages(&part, c)
		case partNamespaces:
			c.Namespaces = part.namespaces()
		case partFlows:
			decodeFlows(&part, c)
		case partSoftirqs:
			decodeSoftirqs(&part, c)
		case partSocketFlows:
			decodeSocketFlows(&part, c)
		case partCommands:
			decodeCommands(&part, c)
		case partStageRates:
			eachStageLoss(c, wire.StageRate, wire.StageLossKinds, func(n *uint64) { *n = part.uvarint() })
		default:
			continue
		}
		d.failed = d.failed || !part.done()
	}
}

func appendStages(b []byte, c *wire.Collection) []byte {
	if len(c.Stages) == 0 && c.Stats.Stages == (wire.StageLosses{}) {
		return b
	}
	part := binary.AppendUvarint(nil, uint64(len(c.Stages)))
	for i := range c.Stages {
		s := &c.Stages[i]
		part = binary.AppendUvarint(part, s.Owner.CgroupID)
		part = binary.AppendUvarint(part, uint64(s.Owner.Netns))
		part = appendBool(part, s.Overflow)
		part = append(part, s.Direction, s.Stage)
		part = appendHistogram(part, s.SumNs, s.First, s.Counts)
	}
	eachStageLoss(c, 0, wire.StageRate, func(n *uint64) { part = binary.AppendUvarint(part, *n) })
	b = appendPart(b, partStages, part)
	part, any := part[:0], false
	eachStageLoss(c, wire.StageRate, wire.StageLossKinds, func(n *uint64) {
		part, any = binary.AppendUvarint(part, *n), any || *n != 0
	})
	if !any {
		return b
	}
	return appendPart(b, partStageRates, part)
}

// eachStageLoss calls do with the number of each direction's and stage's losses of the kinds from first to below end:
// those from StageRate on are newer than partStages, which has no room for more.
func eachStageLoss(c *wire.Collection, first, end int, do func(n *uint64)) {
	for i := range c.Stats.Stages {
		for j := range c.Stats.Stages[i] {
			for k := first; k < end; k++ {
				do(&c.Stats.Stages[i][j][k])
			}
		}
	}
}

func decodeStages(d *decoder, c *wire.Collection) {
	for range d.length(8) {
		s := wire.StageTimes{}
		s.Owner.CgroupID, s.Owner.Netns = d.uvarint(), uint32(d.uvarint())
		s.Overflow = d.bool()
		if kind := d.bytes(2); kind != nil {
			s.Direction, s.Stage = kind[0], kind[1]
		}
		s.SumNs, s.First, s.Counts = d.histogram()
		c.Stages = append(c.Stages, s)
	}
	eachStageLoss(c, 0, wire.StageRate, func(n *uint64) { *n = d.uvarint() })
}

func appendHistogram(b []byte, sumNs uint64, first uint32, counts []uint32) []byte {
	b = binary.AppendUvarint(b, sumNs)
	b = binary.AppendUvarint(b, uint64(first))
	b = binary.AppendUvarint(b, uint64(len(counts)))
	for _, n := range counts {
		b = binary.AppendUvarint(b, uint64(n))
	}
	return b
}

func (d *decoder) histogram() (sumNs uint64, first uint32, counts []uint32) {
	sumNs, first = d.uvarint(), uint32(d.uvarint())
	n := d.length(1)
	if first > wire.HistogramSlots || n > wire.HistogramSlots-int(first) {
		d.fail()
		return 0, 0, nil
	}
	for range n {
		counts = append(counts, uint32(d.uvarint()))
	}
	return sumNs, first, counts
}

func appendSoftirqs(b []byte, c *wire.Collection) []byte {
	if len(c.Softirqs) == 0 {
		return b
	}
	part := binary.AppendUvarint(nil, uint64(len(c.Softirqs)))
	for i := range c.Softirqs {
		s := &c.Softirqs[i]
		part = binary.AppendUvarint(part, uint64(s.CPU))
		part = append(part, s.Vector, s.Phase)
		part = appendHistogram(part, s.SumNs, s.First, s.Counts)
	}
	return appendPart(b, partSoftirqs, part)
}

func decodeSoftirqs(d *decoder, c *wire.Collection) {
	for range d.length(6) {
		s := wire.SoftirqTimes{CPU: uint32(d.uvarint())}
		if kind := d.bytes(2); kind != nil {
			s.Vector, s.Phase = kind[0], kind[1]
		}
		s.SumNs, s.First, s.Counts = d.histogram()
		c.Softirqs = append(c.Softirqs, s)
	}
}

func appendCommands(b []byte, c *wire.Collection) []byte {
	if len(c.Commands) == 0 {
		return b
	}
	part := binary.AppendUvarint(nil, uint64(len(c.Commands)))
	for i := range c.Commands {
		s := &c.Commands[i]
		part = appendString(part, wire.Text(s.Key.Device))
		part = append(part, s.Key.Class, s.Key.Overflow)
		part = appendHistogram(part, s.SumNs, s.First, s.Counts)
	}
	return appendPart(b, partCommands, part)
}

func decodeCommands(d *decoder, c *wire.Collection) {
	for range d.length(6) {
		s := wire.CommandTimes{}
		copy(s.Key.Device[:], d.string())
		if kind := d.bytes(2); kind != nil {
			s.Key.Class, s.Key.Overflow = kind[0], kind[1]
		}
		s.SumNs, s.First, s.Counts = d.histogram()
		c.Commands = append(c.Commands, s)
	}
}
