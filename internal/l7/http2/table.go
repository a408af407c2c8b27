package http2

import (
	"math"

	"github.com/ebpfnet/ebpfnetreceiver/internal/l7/buffer"
)

// Bounds of what is kept of a table, whatever size its owner announces: beyond them the oldest entries are
// forgotten, and unknown from then on.
const (
	maxEntries = 1024
	maxText    = 32 << 10
)

const (
	defaultSize = 4096 // RFC 9113 section 6.5.2
	entryCost   = 32   // RFC 7541 section 4.1
	unbounded   = math.MaxUint32
)

// Table is the dynamic table of one direction, as far as it is known.
//
// A block refers to entries by their distance from the newest one. So who has read every block from some
// point on knows the entries that were inserted since, and knows which references are to older ones; how
// large the table is, and what was evicted, plays no part in that, as a sender never refers to what is not
// there. But a block that was missed may have inserted any number: then nothing is known any more.
//
// Begin or Forget comes before the first block.
type Table struct {
	entries  []entry // a ring, oldest first
	first    int
	count    int
	text     []byte // values of entries, lent by the pool; older than the oldest entry's is garbage
	base     uint64 // position of text[0]
	size     uint64 // of the entries, by RFC 7541 section 4.1; at least, where a name is not known
	capacity uint32 // unbounded: not known
	limit    uint32 // that a size update may announce, unbounded: not known
	complete bool   // there are no entries but these
}

type entry struct {
	id          ID
	known       bool
	nameLost    bool // not even the name is known
	nameLength  uint32
	valueLength uint32
	position    uint64
}

func (e *entry) named() bool { return e.known || !e.nameLost }
func (e *entry) cost() uint64 {
	return uint64(e.nameLength) + uint64(e.valueLength) + entryCost
}

// Begin says that the next block is the first of its connection.
func (t *Table) Begin() {
	t.Forget()
	t.complete, t.capacity, t.limit = true, defaultSize, defaultSize
}

// Forget says that blocks may have been missed.
func (t *Table) Forget() {
	t.first, t.count, t.size, t.text = 0, 0, 0, t.text[:0]
	t.complete, t.capacity, t.limit = false, unbounded, unbounded
}

// Allow takes the size that the receiver of the blocks allows with SETTINGS_HEADER_TABLE_SIZE. It may be in
// force before or after that is acknowledged, so the largest of all counts.
func (t *Table) Allow(size uint32) {
	if t.limit != unbounded {
		t.limit = max(t.limit, size)
	}
}

// Known says whether all of the table is known.
func (t *Table) Known() bool { return t.complete }

// Release gives back what was lent.
func (t *Table) Release(pool *buffer.Pool) {
	pool.Put(t.text)
	t.text = nil
	t.Forget()
	if len(t.entries) > 0 {
		pool.Unreserve(len(t.entries) * entrySize)
		t.entries = nil
	}
}

// at is the entry that so many newer ones follow, nil if it is not known.
func (t *Table) at(distance uint32) *entry {
	if distance >= uint32(t.count) {
		return nil
	}
	return &t.entries[(t.first+t.count-1-int(distance))&(len(t.entries)-1)]
}

func (t *Table) value(e *entry) []byte {
	start := e.position - t.base
	return t.text[start : start+uint64(e.valueLength)]
}

func (t *Table) resize(size uint32) {
	t.capacity = size
	t.evict(uint64(size))
}

// evict makes the table no larger than size. Who is older goes first: once a known entry goes, all unknown
// ones have gone.
func (t *Table) evict(size uint64) {
	for t.count > 0 && t.size > size {
		t.drop()
		t.complete = true
	}
	if size < entryCost {
		t.complete = true
	}
}

func (t *Table) drop() {
	t.size -= t.entries[t.first].cost()
	t.first = (t.first + 1) & (len(t.entries) - 1)
	t.count--
}

// insert adds the newest entry.
func (t *Table) insert(e entry, value []byte, pool *buffer.Pool) {
	e.nameLost = !e.known
	e.valueLength = uint32(len(value))
	if t.capacity != unbounded {
		if e.cost() > uint64(t.capacity) { // section 4.4: that empties the table
			t.evict(0)
			return
		}
		if t.size+e.cost() > uint64(t.capacity) {
			t.evict(uint64(t.capacity) - e.cost())
		}
	}
	if t.count == len(t.entries) && !t.grow(pool) {
		if t.count == 0 {
			t.complete = false // not even one can be kept, so that references to it are unknown
			return
		}
		t.drop()
		t.complete = false
	}
	if e.known && e.id != 0 {
		e.known = t.keep(&e, value, pool)
	}
	t.entries[(t.first+t.count)&(len(t.entries)-1)] = e
	t.count++
	t.size += e.cost()
}

// keep stores an entry's value.
func (t *Table) keep(e *entry, value []byte, pool *buffer.Pool) bool {
	if len(t.text)+len(value) > cap(t.text) && !t.makeRoom(len(value), pool) {
		return false
	}
	e.position = t.base + uint64(len(t.text))
	t.text = append(t.text, value...)
	return true
}

// makeRoom drops the values of entries that have gone, and takes a larger buffer where that is not enough.
func (t *Table) makeRoom(n int, pool *buffer.Pool) bool {
	live := t.base + uint64(len(t.text))
	for i := range t.count {
		if e := &t.entries[(t.first+i)&(len(t.entries)-1)]; e.known && e.id != 0 {
			live = e.position
			break
		}
	}
	rest := t.text[live-t.base:]
	need := len(rest) + n
	if need > maxText {
		return false
	}
	if 2*need > cap(t.text) { // else it would have to be moved again soon
		if bigger := pool.Get(2 * need); bigger != nil {
			old := t.text
			t.text = append(bigger, rest...)
			pool.Put(old)
			t.base = live
			return true
		}
		if need > cap(t.text) {
			return false
		}
	}
	t.text = append(t.text[:0], rest...)
	t.base = live
	return true
}

const entrySize = 32

// grow doubles the ring.
func (t *Table) grow(pool *buffer.Pool) bool {
	n := max(16, 2*len(t.entries))
	if n > maxEntries || !pool.Reserve((n-len(t.entries))*entrySize) {
		return false
	}
	bigger := make([]entry, n)
	for i := range t.count {
		bigger[i] = t.entries[(t.first+i)&(len(t.entries)-1)]
	}
	t.entries, t.first = bigger, 0
	return true
}

// AllowAny says that what the receiver allows was not seen.
func (t *Table) AllowAny() { t.limit = unbounded }
