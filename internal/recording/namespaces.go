package recording

import (
	"encoding/binary"
	"math"

	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

// appendNamespaces writes each string once: there are as many counters as namespaces times names.
func appendNamespaces(b []byte, namespaces []wire.NamespaceCounters) []byte {
	if len(namespaces) == 0 {
		return b
	}
	numbers := map[string]uint64{}
	var texts []string
	number := func(text string) uint64 {
		n, ok := numbers[text]
		if !ok {
			n = uint64(len(texts))
			numbers[text] = n
			texts = append(texts, text)
		}
		return n
	}
	var body []byte
	for i := range namespaces {
		namespace := &namespaces[i]
		body = binary.AppendUvarint(body, uint64(namespace.Inode))
		body = binary.AppendUvarint(body, namespace.Identity)
		body = binary.AppendUvarint(body, namespace.ZeroNs)
		body = binary.AppendUvarint(body, uint64(len(namespace.Counters)))
		for _, c := range namespace.Counters {
			body = append(body, byte(c.Group))
			for _, field := range [...]uint64{uint64(c.Port), c.Value, number(c.Device), number(c.Kind), number(c.Name)} {
				body = binary.AppendUvarint(body, field)
			}
		}
	}
	part := binary.AppendUvarint(nil, uint64(len(texts)))
	for _, text := range texts {
		part = appendString(part, text)
	}
	part = binary.AppendUvarint(part, uint64(len(namespaces)))
	return appendPart(b, partNamespaces, append(part, body...))
}

func (d *decoder) namespaces() (namespaces []wire.NamespaceCounters) {
	texts := make([]string, d.length(1))
	for i := range texts {
		texts[i] = d.string()
	}
	text := func() string {
		n := d.uvarint()
		if n >= uint64(len(texts)) {
			d.fail()
			return ""
		}
		return texts[n]
	}
	for range d.length(4) {
		namespace := wire.NamespaceCounters{Inode: d.uint32(), Identity: d.uvarint(), ZeroNs: d.uvarint()}
		for range d.length(6) {
			var c wire.Counter
			if group := d.bytes(1); len(group) == 1 {
				c.Group = wire.CounterGroup(group[0])
			}
			port := d.uvarint()
			if port > math.MaxUint16 {
				d.fail()
			}
			c.Port, c.Value, c.Device, c.Kind, c.Name = uint16(port), d.uvarint(), text(), text(), text()
			namespace.Counters = append(namespace.Counters, c)
		}
		namespaces = append(namespaces, namespace)
	}
	return namespaces
}
