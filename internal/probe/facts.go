//go:build linux && (amd64 || arm64)

package probe

import (
	"github.com/ebpfnet/ebpfnetreceiver/internal/owner"
	"github.com/ebpfnet/ebpfnetreceiver/internal/symbol"
	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

// reasonEnums are the kernel's enums whose values appear in records.
var reasonEnums = []string{"skb_drop_reason", "sk_rst_reason"}

// facts answers from the running host: wire.Facts of three sources.
type facts struct {
	*owner.Proc
	*symbol.Kallsyms
	symbol.Enums
	residents *residents // nil: the kernel does not tell
	conntrack *conntrack // nil: not wanted, or refused
}

func newFacts(kernel *Kernel) *facts {
	symbols := symbol.NewKallsyms()
	if kernel.symbols != nil {
		symbols = kernel.symbols.Share()
	}
	f := &facts{
		Proc:     owner.NewProc(owner.ProcOptions{}),
		Kallsyms: symbols,
		Enums:    symbol.Enums{},
	}
	for _, name := range reasonEnums {
		f.Enums[name] = kernel.types.enum(name)
	}
	return f
}

// Namespace implements the method of wire.Facts.
func (f *facts) Namespace(inode uint32) (wire.Namespace, bool) {
	if f.residents == nil {
		return wire.Namespace{}, false
	}
	return f.residents.namespace(inode)
}
