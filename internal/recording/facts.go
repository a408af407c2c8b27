package recording

import (
	"encoding/binary"
	"net/netip"

	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

// maxTracked is the number of keys per question whose latest answer the writer remembers, so that a
// repeated answer need not be written again. Of further keys every answer is written.
const maxTracked = 1 << 15

type enumKey struct {
	enum  string
	value uint32
}

type factWriter struct {
	from      wire.Facts
	cgroups   tracker[uint64, string]
	processes tracker[uint32, wire.Process]
	symbols   tracker[uint64, wire.Symbol]
	enums     tracker[enumKey, string]
	netns     tracker[uint32, wire.Namespace]

	translations tracker[wire.AddressPair, netip.AddrPort]
}

func newFactWriter(from wire.Facts) factWriter {
	return factWriter{
		from:      from,
		cgroups:   make(tracker[uint64, string]),
		processes: make(tracker[uint32, wire.Process]),
		symbols:   make(tracker[uint64, wire.Symbol]),
		enums:     make(tracker[enumKey, string]),
		netns:     make(tracker[uint32, wire.Namespace]),

		translations: make(tracker[wire.AddressPair, netip.AddrPort]),
	}
}

func (f *factWriter) forget() {
	f.cgroups, f.processes, f.symbols, f.enums, f.netns, f.translations = nil, nil, nil, nil, nil, nil
}

// tracker remembers for each key how often it was asked for and the answer.
type tracker[K, V comparable] map[K]*tracked[V]

type tracked[V comparable] struct {
	asks  uint64
	value V
	ok    bool
}

// changed counts an ask and says whether its answer must be written, and with which ask number.
func (t tracker[K, V]) changed(key K, value V, ok bool) (ask uint64, write bool) {
	last := t[key]
	if last == nil {
		if len(t) >= maxTracked {
			return 0, true
		}
		t[key] = &tracked[V]{asks: 1, value: value, ok: ok}
		return 1, true
	}
	last.asks++
	if last.ok == ok && (!ok || last.value == value) {
		return 0, false
	}
	last.value, last.ok = value, ok
	return last.asks, true
}

// CgroupPath implements wire.Facts.
func (t *Writer) CgroupPath(id uint64) (string, bool) {
	path, ok := t.facts.from.CgroupPath(id)
	if t.out == nil {
		return path, ok
	}
	if ask, write := t.facts.cgroups.changed(id, path, ok); write && t.begin(frameFact) {
		t.question(factCgroup, ask)
		t.chunk = binary.AppendUvarint(t.chunk, id)
		if t.chunk = appendBool(t.chunk, ok); ok {
			t.chunk = appendString(t.chunk, path)
		}
		t.end()
	}
	return path, ok
}

// Process implements wire.Facts.
func (t *Writer) Process(tgid uint32) (wire.Process, bool) {
	process, ok := t.facts.from.Process(tgid)
	if t.out == nil {
		return process, ok
	}
	if ask, write := t.facts.processes.changed(tgid, process, ok); write && t.begin(frameFact) {
		t.question(factProcess, ask)
		t.chunk = binary.AppendUvarint(t.chunk, uint64(tgid))
		if t.chunk = appendBool(t.chunk, ok); ok {
			t.chunk = appendString(t.chunk, process.Executable)
			t.chunk = appendString(t.chunk, process.Cgroup)
			t.chunk = binary.AppendUvarint(t.chunk, process.StartTicks)
		}
		t.end()
	}
	return process, ok
}

// Namespace implements wire.Facts.
func (t *Writer) Namespace(inode uint32) (wire.Namespace, bool) {
	namespace, ok := t.facts.from.Namespace(inode)
	if t.out == nil {
		return namespace, ok
	}
	if ask, write := t.facts.netns.changed(inode, namespace, ok); write && t.begin(frameFact) {
		t.question(factNamespace, ask)
		t.chunk = binary.AppendUvarint(t.chunk, uint64(inode))
		if t.chunk = appendBool(t.chunk, ok); ok {
			t.chunk = appendBool(t.chunk, namespace.Host)
			t.chunk = appendString(t.chunk, namespace.Cgroup)
			t.chunk = binary.AppendUvarint(t.chunk, namespace.StartNs)
		}
		t.end()
	}
	return namespace, ok
}

// Symbol implements wire.Facts.
func (t *Writer) Symbol(address uint64) (wire.Symbol, bool) {
	symbol, ok := t.facts.from.Symbol(address)
	if t.out == nil {
		return symbol, ok
	}
	if ask, write := t.facts.symbols.changed(address, symbol, ok); write && t.begin(frameFact) {
		t.question(factSymbol, ask)
		t.chunk = binary.AppendUvarint(t.chunk, address)
		if t.chunk = appendBool(t.chunk, ok); ok {
			t.chunk = appendString(t.chunk, symbol.Name)
			t.chunk = binary.AppendUvarint(t.chunk, symbol.Offset)
			t.chunk = appendString(t.chunk, symbol.Module)
		}
		t.end()
	}
	return symbol, ok
}

// EnumName implements wire.Facts.
func (t *Writer) EnumName(enum string, value uint32) (string, bool) {
	name, ok := t.facts.from.EnumName(enum, value)
	if t.out == nil {
		return name, ok
	}
	if ask, write := t.facts.enums.changed(enumKey{enum, value}, name, ok); write && t.begin(frameFact) {
		t.question(factEnum, ask)
		t.chunk = appendString(t.chunk, enum)
		t.chunk = binary.AppendUvarint(t.chunk, uint64(value))
		if t.chunk = appendBool(t.chunk, ok); ok {
			t.chunk = appendString(t.chunk, name)
		}
		t.end()
	}
	return name, ok
}

func (t *Writer) question(kind byte, ask uint64) {
	t.chunk = append(t.chunk, kind)
	t.chunk = binary.AppendUvarint(t.chunk, ask)
}
