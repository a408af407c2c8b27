package symbol

import (
	"cmp"
	"slices"
	"sort"
)

// table holds the text symbols in columns, sorted by address: 8 bytes of address, 4 of size, 4 of name
// offset, 2 of module and flags for each, and the names end to end.
type table struct {
	addresses []uint64
	sizes     []uint32 // bytes up to the next symbol of whatever kind; equal for aliases
	offsets   []uint32 // of the name in names; one more than symbols
	tags      []uint16 // module, and whether global
	names     []byte
	modules   []string // modules[0] is the kernel itself
}

const (
	tagGlobal  = 1 << 15
	tagModule  = tagGlobal - 1 // index into modules
	pageSize   = 4096
	maxSymbols = 4 << 20
)

func (t *table) name(i int) string { return string(t.bytes(i)) }

func (t *table) bytes(i int) []byte { return t.names[t.offsets[i]:t.offsets[i+1]] }

func (t *table) module(i int) string { return t.modules[t.tags[i]&tagModule] }

// find gives the symbol that address lies in, the preferred one of aliases.
func (t *table) find(address uint64) (int, bool) {
	i := sort.Search(len(t.addresses), func(i int) bool { return t.addresses[i] > address }) - 1
	if i < 0 || address-t.addresses[i] >= uint64(t.sizes[i]) {
		return 0, false
	}
	for i > 0 && t.addresses[i-1] == t.addresses[i] {
		i--
	}
	return i, true
}

func (t *table) lookup(name string) (address, size uint64, ok bool) {
	best, bestRank, ambiguous := 0, 0, false
	for i := range t.addresses {
		if string(t.bytes(i)) != name {
			continue
		}
		rank := 1
		if t.tags[i]&tagGlobal != 0 {
			rank++
		}
		if t.tags[i]&tagModule == 0 {
			rank += 2
		}
		if rank > bestRank {
			best, bestRank, ambiguous = i, rank, false
		} else if rank == bestRank && t.addresses[i] != t.addresses[best] {
			ambiguous = true
		}
	}
	if bestRank == 0 || ambiguous {
		return 0, 0, false
	}
	return t.addresses[best], uint64(t.sizes[best]), true
}

// line is one symbol while the table is built.
type line struct {
	address  uint64
	nameAt   uint32 // in the parser's names
	nameSize uint16
	module   uint16
	kind     byte // as kallsyms has it; 0: only bounds the symbol before it
}

func (l *line) global() bool { return l.kind == 'T' || l.kind == 'W' }

func (l *line) weak() bool { return l.kind == 'W' || l.kind == 'w' }

// compile sorts the lines and gives each text symbol its size.
func compile(lines []line, names []byte, modules []string) *table {
	text := func(l *line) []byte { return names[l.nameAt : l.nameAt+uint32(l.nameSize)] }
	sortLines(lines, func(a, b line) int {
		return cmp.Or(
			preferFirst(a.kind != 0, b.kind != 0),
			// Of aliases the one that a reader expects comes first: the strong, global, plainest name.
			preferFirst(!a.weak(), !b.weak()),
			preferFirst(a.global(), b.global()),
			cmp.Compare(underscores(text(&a)), underscores(text(&b))),
			cmp.Compare(a.nameSize, b.nameSize),
			slices.Compare(text(&a), text(&b)),
		)
	})
	symbols, size := 0, 0
	for i := range lines {
		if lines[i].kind != 0 {
			symbols++
			size += int(lines[i].nameSize)
		}
	}
	t := &table{
		addresses: make([]uint64, 0, symbols), sizes: make([]uint32, 0, symbols),
		offsets: make([]uint32, 0, symbols+1), tags: make([]uint16, 0, symbols),
		names: make([]byte, 0, size), modules: modules,
	}
	next := len(lines) // first line with a higher address
	for i := len(lines) - 1; i >= 0; i-- {
		if i+1 < len(lines) && lines[i+1].address != lines[i].address {
			next = i + 1
		}
		if lines[i].kind != 0 {
			t.sizes = append(t.sizes, sizeOf(lines, i, next))
		}
	}
	slices.Reverse(t.sizes)
	for i := range lines {
		l := &lines[i]
		if l.kind == 0 {
			continue
		}
		tag := l.module
		if l.global() {
			tag |= tagGlobal
		}
		t.addresses = append(t.addresses, l.address)
		t.offsets = append(t.offsets, uint32(len(t.names)))
		t.tags = append(t.tags, tag)
		t.names = append(t.names, text(l)...)
	}
	t.offsets = append(t.offsets, uint32(len(t.names)))
	return t
}

// sortLines sorts by address, and aliases among themselves. The kernel's own symbols, nearly all there are, come
// sorted by address, modules' after them.
func sortLines(lines []line, aliases func(a, b line) int) {
	byAddress := func(a, b line) int { return cmp.Compare(a.address, b.address) }
	sorted := min(1, len(lines))
	for sorted < len(lines) && lines[sorted-1].address <= lines[sorted].address {
		sorted++
	}
	slices.SortFunc(lines[sorted:], byAddress)
	if 0 < sorted && sorted < len(lines) && lines[sorted].address < lines[sorted-1].address {
		slices.SortFunc(lines, byAddress)
	}
	for len(lines) > 0 {
		same := 1
		for same < len(lines) && lines[same].address == lines[0].address {
			same++
		}
		if same > 1 {
			slices.SortFunc(lines[:same], aliases)
		}
		lines = lines[same:]
	}
}

// sizeOf is the distance to the next higher symbol. Where that is another module's, or none, the end is
// not known: only the rest of the page is certain to belong to this one, as module memory is made of
// whole pages.
func sizeOf(lines []line, i, next int) uint32 {
	page := pageSize - lines[i].address%pageSize
	if next == len(lines) {
		return uint32(page)
	}
	distance := lines[next].address - lines[i].address
	if lines[next].module != lines[i].module {
		distance = min(distance, page)
	}
	return uint32(min(distance, 1<<31))
}

func preferFirst(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}

func underscores(name []byte) int {
	n := 0
	for n < len(name) && name[n] == '_' {
		n++
	}
	return n
}
