package http2

import "github.com/ebpfnet/ebpfnetreceiver/internal/l7/buffer"

// ID tells the header fields apart that somebody wants. 0: nobody does.
type ID uint16

// Names says which fields are wanted, and numbers them.
type Names struct {
	id     func(name []byte) ID
	static [len(staticTable)]ID
}

// NewNames makes a set of names; id is asked with names in lower case.
func NewNames(id func(name []byte) ID) *Names {
	n := &Names{id: id}
	for i := range staticTable {
		if staticTable[i].name != "" {
			n.static[i] = id([]byte(staticTable[i].name))
		}
	}
	return n
}

// Field is a wanted field of a block.
type Field struct {
	ID    ID
	Value []byte
}

// Block is what was read from one header block. It is reused, and valid until then.
type Block struct {
	Fields []Field
	// Unknown is how many fields there were that nobody can name or whose value nobody can tell: they are in
	// the part of the dynamic table that was not seen.
	Unknown int

	spans []span
	text  []byte
	name  []byte
}

type span struct{ start, end int }

func (b *Block) add(id ID, value []byte) {
	start := len(b.text)
	b.text = append(b.text, value...)
	b.addDecoded(id, start)
}

func (b *Block) addDecoded(id ID, start int) {
	b.Fields = append(b.Fields, Field{ID: id})
	b.spans = append(b.spans, span{start, len(b.text)})
}

// Decode reads a block, all of which has to be there: each changes the table for the next. false: it is not
// valid, or does not follow the ones that were read before. Then nothing of it counts, and the table is
// forgotten.
func (t *Table) Decode(block []byte, names *Names, pool *buffer.Pool, out *Block) bool {
	out.Fields, out.spans, out.text, out.Unknown = out.Fields[:0], out.spans[:0], out.text[:0], 0
	if !t.decode(block, names, pool, out) {
		out.Fields, out.Unknown = out.Fields[:0], 0
		t.Forget()
		return false
	}
	for i, s := range out.spans {
		out.Fields[i].Value = out.text[s.start:s.end]
	}
	return true
}

func (t *Table) decode(block []byte, names *Names, pool *buffer.Pool, out *Block) bool {
	for begun := false; len(block) > 0; {
		first := block[0]
		if first&0xe0 == 0x20 { // RFC 7541 section 6.3
			var size uint32
			var ok bool
			if size, block, ok = integer(block, 5); !ok || begun || size > t.limit {
				return false
			}
			t.resize(size)
			continue
		}
		begun = true
		if first&0x80 != 0 { // section 6.1
			index, rest, ok := integer(block, 7)
			if !ok || index == 0 {
				return false
			}
			block = rest
			if index < uint32(len(staticTable)) {
				if id := names.static[index]; id != 0 {
					start := len(out.text)
					out.text = append(out.text, staticTable[index].value...)
					out.addDecoded(id, start)
				}
				continue
			}
			e := t.at(index - uint32(len(staticTable)))
			switch {
			case e == nil && t.complete:
				return false
			case e == nil || !e.known:
				out.Unknown++
			case e.id != 0:
				out.add(e.id, t.value(e))
			}
			continue
		}
		insert, bits := first&0xc0 == 0x40, uint8(4) // sections 6.2.1 to 6.2.3
		if insert {
			bits = 6
		}
		rest, ok := t.literal(block, bits, insert, names, pool, out)
		if !ok {
			return false
		}
		block = rest
	}
	return true
}

// literal reads a field whose value is written out.
func (t *Table) literal(block []byte, bits uint8, insert bool, names *Names, pool *buffer.Pool, out *Block) ([]byte, bool) {
	index, rest, ok := integer(block, bits)
	if !ok {
		return nil, false
	}
	e := entry{known: true}
	switch {
	case index == 0:
		raw, huffman, after, ok := str(rest)
		if !ok {
			return nil, false
		}
		rest = after
		if huffman {
			if out.name, ok = appendHuffman(out.name[:0], raw); !ok {
				return nil, false
			}
			raw = out.name
		}
		e.id, e.nameLength = names.id(raw), uint32(len(raw))
	case index < uint32(len(staticTable)):
		e.id, e.nameLength = names.static[index], uint32(len(staticTable[index].name))
	default:
		named := t.at(index - uint32(len(staticTable)))
		switch {
		case named == nil && t.complete:
			return nil, false
		case named == nil || !named.named():
			e.known = false
		default:
			e.id, e.nameLength = named.id, named.nameLength
		}
	}
	raw, huffman, rest, ok := str(rest)
	if !ok {
		return nil, false
	}
	wanted := e.known && e.id != 0
	if !e.known {
		out.Unknown++
	}
	if !wanted && !insert {
		return rest, true
	}
	start := len(out.text)
	if huffman {
		if out.text, ok = appendHuffman(out.text, raw); !ok {
			return nil, false
		}
	} else {
		out.text = append(out.text, raw...)
	}
	value := out.text[start:]
	if insert {
		t.insert(e, value, pool)
	}
	if wanted {
		out.addDecoded(e.id, start)
	} else {
		out.text = out.text[:start]
	}
	return rest, true
}

// integer reads an integer with a prefix of so many bits (RFC 7541 section 5.1).
func integer(b []byte, bits uint8) (value uint32, rest []byte, ok bool) {
	if len(b) == 0 {
		return 0, nil, false
	}
	most := uint32(1)<<bits - 1
	value = uint32(b[0]) & most
	if value < most {
		return value, b[1:], true
	}
	sum := uint64(value)
	for i := 1; i < len(b) && i <= 5; i++ {
		sum += uint64(b[i]&0x7f) << (7 * (i - 1))
		if b[i]&0x80 == 0 {
			return uint32(sum), b[i+1:], sum <= 1<<32-1
		}
	}
	return 0, nil, false
}

// str reads a string literal (section 5.2).
func str(b []byte) (raw []byte, huffman bool, rest []byte, ok bool) {
	if len(b) == 0 {
		return nil, false, nil, false
	}
	huffman = b[0]&0x80 != 0
	n, rest, ok := integer(b, 7)
	if !ok || uint64(n) > uint64(len(rest)) {
		return nil, false, nil, false
	}
	return rest[:n], huffman, rest[n:], true
}

// wellFormed says whether a block can be taken apart, whatever is in the table.
func wellFormed(block []byte) bool {
	ok := len(block) > 0
	for begun := false; len(block) > 0 && ok; {
		first := block[0]
		switch {
		case first&0xe0 == 0x20:
			_, block, ok = integer(block, 5)
			ok = ok && !begun
			continue
		case first&0x80 != 0:
			var index uint32
			index, block, ok = integer(block, 7)
			ok = ok && index != 0
		default:
			bits := uint8(4)
			if first&0x40 != 0 {
				bits = 6
			}
			var index uint32
			if index, block, ok = integer(block, bits); ok && index == 0 {
				_, _, block, ok = str(block)
			}
			if ok {
				_, _, block, ok = str(block)
			}
		}
		begun = true
	}
	return ok
}
