package symbol

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

// ErrHidden says that the kernel hides its addresses from this process (kallsyms_show_value in
// kernel/ksyms_common.c).
var ErrHidden = errors.New("kernel symbol addresses are hidden: set sysctl kernel.kptr_restrict to 0 or 1 " +
	"and give the collector CAP_SYSLOG")

const (
	// reloadEvery is the shortest time between two readings of the table, each ≈40 ms of CPU.
	reloadEvery = 10 * time.Second
	// bpfFresh is how old the table may be where it names a BPF program: those come and go, and the
	// place of one that went is soon another's.
	bpfFresh = time.Minute
	// bpfModule is what the kernel gives as the module of BPF programs.
	bpfModule = "bpf"
)

// Kallsyms names kernel addresses. It reads the table when first asked and again, at most every ten
// seconds, when an address is in no function that it knows: the module may have been loaded since.
// The table takes 18 bytes and its name for each function: 2.6 MB for the 64 000 of a 6.18 kernel, 5.6 MB
// for 120 000 with long names; reading it takes 12 MB more for a moment. For one goroutine.
type Kallsyms struct {
	open   func() (io.ReadCloser, error)
	now    func() time.Time
	table  *table // nil: not read, or not readable
	loaded time.Time
	err    error
}

// NewKallsyms gives the symbols of the running kernel. Nothing is read yet.
func NewKallsyms() *Kallsyms {
	return newKallsyms(func() (io.ReadCloser, error) { return os.Open("/proc/kallsyms") }, time.Now)
}

// Share gives the same symbols to another goroutine, which reads them anew for itself when it must. The table is read
// if it was not.
func (k *Kallsyms) Share() *Kallsyms {
	if k.table == nil {
		k.load()
	}
	shared := *k
	return &shared
}

func newKallsyms(open func() (io.ReadCloser, error), now func() time.Time) *Kallsyms {
	return &Kallsyms{open: open, now: now}
}

// Symbol gives the function that address lies in. ok is false between functions, in data and where the
// table cannot be read, which Err explains. To name a return address ask for the byte before it.
func (k *Kallsyms) Symbol(address uint64) (symbol wire.Symbol, ok bool) {
	symbol, ok = k.find(address)
	stale := ok && symbol.Module == bpfModule && k.now().Sub(k.loaded) >= bpfFresh
	if (!ok || stale) && k.load() {
		symbol, ok = k.find(address)
	}
	return symbol, ok
}

func (k *Kallsyms) find(address uint64) (wire.Symbol, bool) {
	if k.table == nil {
		return wire.Symbol{}, false
	}
	i, ok := k.table.find(address)
	if !ok {
		return wire.Symbol{}, false
	}
	return wire.Symbol{
		Name: k.table.name(i), Offset: address - k.table.addresses[i], Module: k.table.module(i),
	}, true
}

// Lookup gives where the function of that name starts and how many bytes there are up to the next
// symbol. The kernel's own come before modules', global ones before static; ok is false where the name
// is not known or where two equal ones make it ambiguous. It takes about a millisecond: for a handful
// of names at the start.
func (k *Kallsyms) Lookup(name string) (address, size uint64, ok bool) {
	if k.table == nil {
		k.load()
	}
	if k.table == nil {
		return 0, 0, false
	}
	return k.table.lookup(name)
}

// Err is why the table could not be read: ErrHidden, or an error of reading /proc/kallsyms; nil before
// the first question and where it could.
func (k *Kallsyms) Err() error { return k.err }

// load reads the table unless that was tried less than reloadEvery ago. An older table is kept where the
// new one cannot be read.
func (k *Kallsyms) load() bool {
	now := k.now()
	if !k.loaded.IsZero() && now.Sub(k.loaded) < reloadEvery {
		return false
	}
	k.loaded = now
	file, err := k.open()
	if err != nil {
		k.err = fmt.Errorf("read kernel symbols: %w", err)
		return false
	}
	defer file.Close()
	t, err := parse(file)
	if err != nil {
		k.err = fmt.Errorf("read kernel symbols: %w", err)
		return false
	}
	k.table, k.err = t, nil
	return true
}
