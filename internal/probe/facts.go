//go:build linux && (amd64 || arm64)

package probe

import (
	"github.com/ebpfnet/ebpfnetreceiver/internal/symbol"
	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

// reasonEnums are the kernel's enums whose values appear in records.
var reasonEnums = []string{"skb_drop_reason", "sk_rst_reason"}

// facts answers from the running host.
type facts struct {
	symbols *symbol.Kallsyms
	enums   symbol.Enums
}

func newFacts(types kernelTypes) *facts {
	f := &facts{symbols: symbol.NewKallsyms(), enums: symbol.Enums{}}
	for _, name := range reasonEnums {
		f.enums[name] = types.enum(name)
	}
	return f
}

func (f *facts) CgroupPath(id uint64) (string, bool) { return "", false }

func (f *facts) Process(tgid uint32) (wire.Process, bool) { return wire.Process{}, false }

func (f *facts) Symbol(address uint64) (wire.Symbol, bool) { return f.symbols.Symbol(address) }

func (f *facts) EnumName(enum string, value uint32) (string, bool) {
	return f.enums.EnumName(enum, value)
}
