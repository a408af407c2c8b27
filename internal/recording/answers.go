package recording

import (
	"math"
	"net/netip"
	"slices"

	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

// maxAnswers and maxAnswerBytes bound what the facts of a recording may take in memory. A recording of
// an hour on a busy node holds some thousand.
const (
	maxAnswers     = 1 << 20
	maxAnswerBytes = 128 << 20
)

// answers replays the facts of a recording: the n-th ask for a key gets the n-th answer recorded for
// it, asks after the last answer get the last.
type answers struct {
	cgroups   replies[uint64, string]
	processes replies[uint32, wire.Process]
	symbols   replies[uint64, wire.Symbol]
	enums     replies[enumKey, string]
	netns     replies[uint32, wire.Namespace]

	translations replies[wire.AddressPair, netip.AddrPort]

	count int
	size  int
}

func newAnswers() *answers {
	return &answers{
		cgroups:   make(replies[uint64, string]),
		processes: make(replies[uint32, wire.Process]),
		symbols:   make(replies[uint64, wire.Symbol]),
		enums:     make(replies[enumKey, string]),
		netns:     make(replies[uint32, wire.Namespace]),

		translations: make(replies[wire.AddressPair, netip.AddrPort]),
	}
}

type replies[K, V comparable] map[K]*replyList[V]

type replyList[V comparable] struct {
	list []reply[V]
	asks uint64
}

type reply[V comparable] struct {
	from  uint64 // first ask that gets it
	value V
	ok    bool
}

// add appends an answer; false: its ask number does not follow the one before.
func (r replies[K, V]) add(key K, ask uint64, value V, ok bool) bool {
	list := r[key]
	if list == nil {
		list = &replyList[V]{}
		r[key] = list
	}
	var latest uint64
	if n := len(list.list); n > 0 {
		latest = list.list[n-1].from
	}
	if ask == 0 {
		ask = latest + 1
	}
	if ask <= latest {
		return false
	}
	list.list = append(list.list, reply[V]{from: ask, value: value, ok: ok})
	return true
}

func (r replies[K, V]) ask(key K) (value V, ok bool) {
	list := r[key]
	if list == nil {
		return value, false
	}
	list.asks++
	i, found := slices.BinarySearchFunc(list.list, list.asks, func(r reply[V], ask uint64) int {
		switch {
		case r.from < ask:
			return -1
		case r.from > ask:
			return 1
		}
		return 0
	})
	if !found && i > 0 {
		i-- // the answer that holds since before
	}
	return list.list[i].value, list.list[i].ok
}

// load takes in the body of a fact frame; a text says what is wrong with it.
func (a *answers) load(body []byte) (problem string) {
	a.count++
	a.size += len(body)
	if a.count > maxAnswers || a.size > maxAnswerBytes {
		return "it holds more facts than a recording may; record for a shorter time"
	}
	d := decoder{rest: body}
	var kind byte
	if b := d.bytes(1); len(b) == 1 {
		kind = b[0]
	}
	ask := d.uvarint()
	ordered := true
	switch kind {
	case factCgroup:
		key, ok := d.uvarint(), d.bool()
		var path string
		if ok {
			path = d.string()
		}
		ordered = !d.done() || a.cgroups.add(key, ask, path, ok)
	case factProcess:
		key, ok := d.uint32(), d.bool()
		var process wire.Process
		if ok {
			process = wire.Process{Executable: d.string(), Cgroup: d.string(), StartTicks: d.uvarint()}
		}
		ordered = !d.done() || a.processes.add(key, ask, process, ok)
	case factSymbol:
		key, ok := d.uvarint(), d.bool()
		var symbol wire.Symbol
		if ok {
			symbol = wire.Symbol{Name: d.string(), Offset: d.uvarint(), Module: d.string()}
		}
		ordered = !d.done() || a.symbols.add(key, ask, symbol, ok)
	case factEnum:
		key := enumKey{enum: d.string(), value: d.uint32()}
		ok := d.bool()
		var name string
		if ok {
			name = d.string()
		}
		ordered = !d.done() || a.enums.add(key, ask, name, ok)
	case factTranslation:
		pair, backend := d.translation()
		ordered = !d.done() || a.translations.add(pair, ask, backend, true)
	case factNamespace:
		key, ok := d.uint32(), d.bool()
		var namespace wire.Namespace
		if ok {
			namespace = wire.Namespace{Host: d.bool(), Cgroup: d.string(), StartNs: d.uvarint()}
		}
		ordered = !d.done() || a.netns.add(key, ask, namespace, ok)
	default:
		d.fail()
	}
	if !d.done() || !ordered {
		return "a fact cannot be read"
	}
	return ""
}

func (d *decoder) uint32() uint32 {
	v := d.uvarint()
	if v > math.MaxUint32 {
		d.fail()
		return 0
	}
	return uint32(v)
}

// CgroupPath implements wire.Facts.
func (a *answers) CgroupPath(id uint64) (string, bool) { return a.cgroups.ask(id) }

// Process implements wire.Facts.
func (a *answers) Process(tgid uint32) (wire.Process, bool) { return a.processes.ask(tgid) }

// Namespace implements wire.Facts.
func (a *answers) Namespace(inode uint32) (wire.Namespace, bool) { return a.netns.ask(inode) }

// Symbol implements wire.Facts.
func (a *answers) Symbol(address uint64) (wire.Symbol, bool) { return a.symbols.ask(address) }

// EnumName implements wire.Facts.
func (a *answers) EnumName(enum string, value uint32) (string, bool) {
	return a.enums.ask(enumKey{enum, value})
}
