package symbol

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

const small = `0000000000000000 A fixed_percpu_data
ffffffff81000000 T _stext
ffffffff81000000 T _text
ffffffff81000000 t alias_local
ffffffff81000100 t __pfx_tcp_drop
ffffffff81000110 T tcp_drop
ffffffff81000200 W weak_alias
ffffffff81000200 T __do_it
ffffffff81000200 T do_it
ffffffff81000300 t twice
ffffffff81000400 t twice
ffffffff81000500 t global_too
ffffffff81000600 T global_too
ffffffff81000700 T _etext
ffffffff82000000 D data
ffffffffc0001000 t helper	[nf_tables]
ffffffffc0001080 t nft_do_chain	[nf_tables]
ffffffffc0005000 t tcp_drop	[other]
ffffffffc0009000 t bpf_prog_0123_on_drop	[bpf]
`

type clock struct{ time.Time }

func (c *clock) now() time.Time { return c.Time }

// kernel is a /proc/kallsyms whose content can change.
type kernel struct {
	text  string
	err   error
	reads int
}

func (k *kernel) open() (io.ReadCloser, error) {
	k.reads++
	return io.NopCloser(strings.NewReader(k.text)), k.err
}

func newSmall() (*Kallsyms, *kernel, *clock) {
	k, c := &kernel{text: small}, &clock{time.Unix(1000, 0)}
	return newKallsyms(k.open, c.now), k, c
}

func TestAnAddressIsNamedByTheFunctionItLiesIn(t *testing.T) {
	symbols, _, _ := newSmall()
	for _, c := range []struct {
		what    string
		address uint64
		want    wire.Symbol
	}{
		{"the first byte", 0xffffffff81000110, wire.Symbol{Name: "tcp_drop"}},
		{"the last byte", 0xffffffff810001ff, wire.Symbol{Name: "tcp_drop", Offset: 0xef}},
		{"of a global and a static alias the global, plainest", 0xffffffff81000004, wire.Symbol{Name: "_text", Offset: 4}},
		{"of a weak and strong ones the strong without underscores", 0xffffffff81000200, wire.Symbol{Name: "do_it"}},
		{"in a module", 0xffffffffc0001084, wire.Symbol{Name: "nft_do_chain", Offset: 4, Module: "nf_tables"}},
		{"in a BPF program", 0xffffffffc0009001, wire.Symbol{Name: "bpf_prog_0123_on_drop", Offset: 1, Module: "bpf"}},
	} {
		got, ok := symbols.Symbol(c.address)
		require.True(t, ok, c.what)
		require.Equal(t, c.want, got, c.what)
	}
	for what, address := range map[string]uint64{
		"zero": 0, "user space": 0x7fff00000000, "below the kernel": 0xffffffff80ffffff,
		"padding before a function": 0xffffffff81000104, "data": 0xffffffff82000010,
		"behind the last function of a module": 0xffffffffc0002000, "the end of memory": ^uint64(0),
	} {
		_, ok := symbols.Symbol(address)
		require.False(t, ok, what)
	}
	require.NoError(t, symbols.Err())
}

func TestALookupGivesWhatIsNotAmbiguous(t *testing.T) {
	symbols, _, _ := newSmall()
	for name, want := range map[string][2]uint64{
		"tcp_drop":     {0xffffffff81000110, 0xf0}, // the kernel's before the module's
		"weak_alias":   {0xffffffff81000200, 0x100},
		"global_too":   {0xffffffff81000600, 0x100}, // the global before the static one
		"nft_do_chain": {0xffffffffc0001080, 0xf80},
	} {
		address, size, ok := symbols.Lookup(name)
		require.True(t, ok, name)
		require.Equal(t, want, [2]uint64{address, size}, name)
	}
	for _, name := range []string{"twice", "data", "no_such", "", "__pfx_tcp_drop", "tcp_dro"} {
		_, _, ok := symbols.Lookup(name)
		require.False(t, ok, name)
	}
}

func TestAModuleLoadedLaterIsFoundButTheTableIsNotReadPerEvent(t *testing.T) {
	symbols, kernel, clock := newSmall()
	const late = 0xffffffffc0020010
	_, ok := symbols.Symbol(late)
	require.False(t, ok)
	kernel.text += "ffffffffc0020000 t late\t[late]\n"
	for range 1000 {
		_, ok = symbols.Symbol(late)
		require.False(t, ok)
	}
	require.Equal(t, 1, kernel.reads)
	clock.Time = clock.Add(reloadEvery)
	got, ok := symbols.Symbol(late)
	require.True(t, ok)
	require.Equal(t, wire.Symbol{Name: "late", Offset: 0x10, Module: "late"}, got)
	require.Equal(t, 2, kernel.reads)
	symbols.Symbol(0xffffffff81000110)
	clock.Time = clock.Add(time.Hour)
	symbols.Symbol(0xffffffff81000110)
	require.Equal(t, 2, kernel.reads, "what is known is not asked for again")
}

func TestABPFProgramIsNotNamedFromAnOldTable(t *testing.T) {
	symbols, kernel, clock := newSmall()
	symbols.Symbol(0xffffffffc0009000)
	kernel.text = strings.Replace(small, "bpf_prog_0123_on_drop", "bpf_prog_4567_another", 1)
	clock.Time = clock.Add(bpfFresh)
	got, ok := symbols.Symbol(0xffffffffc0009000)
	require.True(t, ok)
	require.Equal(t, "bpf_prog_4567_another", got.Name)
}

func TestHiddenAddressesAreOneClearErrorAndNoNames(t *testing.T) {
	hidden := strings.Repeat("0000000000000000 T tcp_drop\n", 1000)
	for what, text := range map[string]string{"all zero": hidden, "few and zero": hidden[:280]} {
		k, c := &kernel{text: text}, &clock{time.Unix(1, 0)}
		symbols := newKallsyms(k.open, c.now)
		require.NoError(t, symbols.Err(), "nothing was asked yet")
		for range 3 {
			_, ok := symbols.Symbol(0xffffffff81000110)
			require.False(t, ok, what)
		}
		_, _, ok := symbols.Lookup("tcp_drop")
		require.False(t, ok)
		require.ErrorIs(t, symbols.Err(), ErrHidden)
		require.ErrorContains(t, symbols.Err(), "kernel.kptr_restrict")
		require.ErrorContains(t, symbols.Err(), "CAP_SYSLOG")
		require.Equal(t, 1, k.reads)
	}
}

func TestATableThatCannotBeReadIsAnError(t *testing.T) {
	for what, k := range map[string]*kernel{
		"no file":       {err: errors.New("permission denied")},
		"an empty file": {text: ""},
		"no symbols":    {text: "hello world\n\n \nffff\nffff T\nxyz T name\n"},
		"a long line":   {text: strings.Repeat("x", 100_000)},
	} {
		symbols := newKallsyms(k.open, time.Now)
		_, ok := symbols.Symbol(0xffffffff81000110)
		require.False(t, ok, what)
		require.ErrorContains(t, symbols.Err(), "read kernel symbols", what)
	}
}

func TestAnOlderTableIsKeptWhereANewOneCannotBeRead(t *testing.T) {
	symbols, kernel, clock := newSmall()
	symbols.Symbol(0xffffffff81000110)
	kernel.err = errors.New("too many open files")
	clock.Time = clock.Add(reloadEvery)
	symbols.Symbol(1)
	require.Error(t, symbols.Err())
	_, ok := symbols.Symbol(0xffffffff81000110)
	require.True(t, ok)
}

func TestATableOf120000SymbolsKeepsWithin6MB(t *testing.T) {
	var text strings.Builder
	for i := range 120_000 {
		fmt.Fprintf(&text, "%016x t a_kernel_function_name_%06d\n", uint64(0xffffffff81000000)+uint64(i)*64, i)
	}
	table, err := parse(strings.NewReader(text.String()))
	require.NoError(t, err)
	require.Less(t, table.memory(), 6<<20)
	t.Logf("%d symbols with names of 29 bytes: %d bytes", len(table.addresses), table.memory())
}

func (t *table) memory() int {
	return 8*cap(t.addresses) + 4*cap(t.sizes) + 4*cap(t.offsets) + 2*cap(t.tags) + cap(t.names)
}

func TestTheRunningKernelNamesItsOwnFunctions(t *testing.T) {
	symbols := NewKallsyms()
	address, size, ok := symbols.Lookup("tcp_v4_rcv")
	if errors.Is(symbols.Err(), ErrHidden) || errors.Is(symbols.Err(), os.ErrNotExist) {
		t.Skip(symbols.Err())
	}
	require.NoError(t, symbols.Err())
	require.True(t, ok)
	require.Greater(t, size, uint64(16))
	got, ok := symbols.Symbol(address + size - 1)
	require.True(t, ok)
	require.Equal(t, wire.Symbol{Name: "tcp_v4_rcv", Offset: size - 1}, got)
	t.Logf("%d symbols in %d bytes", len(symbols.table.addresses), symbols.table.memory())
}

func BenchmarkLoad(b *testing.B) {
	data, err := os.ReadFile("/proc/kallsyms")
	if err != nil {
		b.Skip(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := parse(strings.NewReader(string(data))); err != nil {
			b.Skip(err)
		}
	}
}

func BenchmarkSymbol(b *testing.B) {
	symbols := NewKallsyms()
	address, _, ok := symbols.Lookup("tcp_v4_rcv")
	if !ok {
		b.Skip(symbols.Err())
	}
	b.ReportAllocs()
	for b.Loop() {
		symbols.Symbol(address + 4)
	}
}
