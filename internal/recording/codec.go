package recording

import (
	"encoding/binary"
	"unsafe"

	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendBool(b []byte, v bool) []byte {
	if v {
		return append(b, 1)
	}
	return append(b, 0)
}

func appendBegin(b []byte, begin *wire.Begin) []byte {
	b = binary.AppendUvarint(b, begin.TimeNs)
	b = binary.AppendVarint(b, begin.OffsetNs)
	b = appendString(b, begin.Kernel)
	b = appendString(b, begin.Arch)
	b = binary.AppendUvarint(b, uint64(len(begin.Probes)))
	for _, probe := range begin.Probes {
		b = appendString(b, probe.Capability)
		b = appendString(b, probe.Hook)
		b = binary.AppendUvarint(b, uint64(len(probe.Refused)))
		for _, refusal := range probe.Refused {
			b = appendString(b, refusal.Hook)
			b = appendString(b, refusal.Reason)
		}
	}
	return b
}

func appendCollection(b []byte, c *wire.Collection) []byte {
	b = binary.AppendUvarint(b, c.TimeNs)
	b = binary.AppendVarint(b, c.OffsetNs)
	b = appendBool(b, c.Snapshot)
	b = binary.AppendUvarint(b, uint64(len(c.Stats.Kinds)))
	for i := range c.Stats.Kinds {
		kind := &c.Stats.Kinds[i]
		b = binary.AppendUvarint(b, kind.Seen)
		b = binary.AppendUvarint(b, kind.Submitted)
		b = binary.AppendUvarint(b, kind.Suppressed)
		b = binary.AppendUvarint(b, kind.Lost)
	}
	b = binary.AppendUvarint(b, uint64(len(c.Stats.Programs)))
	for i := range c.Stats.Programs {
		program := &c.Stats.Programs[i]
		b = appendString(b, program.Name)
		b = binary.AppendUvarint(b, program.Runs)
		b = binary.AppendUvarint(b, program.RunNs)
		b = binary.AppendUvarint(b, program.Misses)
	}
	b = binary.AppendUvarint(b, c.Stats.CountsFull)
	b = binary.AppendUvarint(b, c.Stats.ConnsFull)
	b = binary.AppendUvarint(b, c.Stats.RingBytes)
	b = binary.AppendUvarint(b, c.Stats.RingSize)
	b = binary.AppendUvarint(b, uint64(len(c.Counts)))
	for i := range c.Counts {
		b = append(b, countKeyBytes(&c.Counts[i].Key)...)
		b = binary.AppendUvarint(b, c.Counts[i].Value)
	}
	return appendCommands(appendSoftirqs(appendFlows(appendNamespaces(appendStages(b, c), c.Namespaces), c), c), c)
}

func countKeyBytes(key *wire.CountKey) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(key)), wire.CountKeySize)
}

// decoder takes a body apart. After the first field that is not there every further one is zero and
// failed is set, so that callers check once, at the end.
type decoder struct {
	rest   []byte
	failed bool
}

func (d *decoder) fail() {
	d.failed = true
	d.rest = nil
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.rest)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.rest = d.rest[n:]
	return v
}

func (d *decoder) varint() int64 {
	v, n := binary.Varint(d.rest)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.rest = d.rest[n:]
	return v
}

// bytes is the next n bytes, valid as long as the body is; nil where there are fewer.
func (d *decoder) bytes(n uint64) []byte {
	if n > uint64(len(d.rest)) {
		d.fail()
		return nil
	}
	b := d.rest[:n]
	d.rest = d.rest[n:]
	return b
}

func (d *decoder) string() string { return string(d.bytes(d.uvarint())) }

func (d *decoder) bool() bool {
	b := d.bytes(1)
	if len(b) == 1 && b[0] > 1 {
		d.fail()
	}
	return len(b) == 1 && b[0] == 1
}

// length is the number of elements of a list of which each takes at least size bytes: a damaged length
// that the body cannot hold is refused before anything is allocated for it.
func (d *decoder) length(size int) int {
	n := d.uvarint()
	if n > uint64(len(d.rest)/size) {
		d.fail()
		return 0
	}
	return int(n)
}

// done says whether the whole body was understood.
func (d *decoder) done() bool { return !d.failed && len(d.rest) == 0 }

func decodeBegin(body []byte) (*wire.Begin, bool) {
	d := decoder{rest: body}
	begin := &wire.Begin{TimeNs: d.uvarint(), OffsetNs: d.varint(), Kernel: d.string(), Arch: d.string()}
	for range d.length(3) {
		probe := wire.ProbeStatus{Capability: d.string(), Hook: d.string()}
		for range d.length(2) {
			probe.Refused = append(probe.Refused, wire.Refusal{Hook: d.string(), Reason: d.string()})
		}
		begin.Probes = append(begin.Probes, probe)
	}
	return begin, d.done()
}

func decodeCollection(body []byte) (*wire.Collection, bool) {
	d := decoder{rest: body}
	c := &wire.Collection{TimeNs: d.uvarint(), OffsetNs: d.varint(), Snapshot: d.bool()}
	for i := range d.length(4) {
		kind := wire.KindStats{Seen: d.uvarint(), Submitted: d.uvarint(), Suppressed: d.uvarint(), Lost: d.uvarint()}
		if i >= len(c.Stats.Kinds) {
			return nil, false
		}
		c.Stats.Kinds[i] = kind
	}
	for range d.length(4) {
		c.Stats.Programs = append(c.Stats.Programs, wire.ProgramStats{
			Name: d.string(), Runs: d.uvarint(), RunNs: d.uvarint(), Misses: d.uvarint(),
		})
	}
	c.Stats.CountsFull, c.Stats.ConnsFull = d.uvarint(), d.uvarint()
	c.Stats.RingBytes, c.Stats.RingSize = d.uvarint(), d.uvarint()
	for range d.length(wire.CountKeySize + 1) {
		var count wire.Count
		copy(countKeyBytes(&count.Key), d.bytes(wire.CountKeySize))
		count.Value = d.uvarint()
		c.Counts = append(c.Counts, count)
	}
	d.parts(c)
	return c, d.done()
}
