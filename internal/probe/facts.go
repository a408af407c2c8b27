//go:build linux && (amd64 || arm64)

package probe

import (
	"github.com/ebpfnet/ebpfnetreceiver/internal/owner"
	"github.com/ebpfnet/ebpfnetreceiver/internal/symbol"
)

// reasonEnums are the kernel's enums whose values appear in records.
var reasonEnums = []string{"skb_drop_reason", "sk_rst_reason"}

// facts answers from the running host: wire.Facts of three sources.
type facts struct {
	*owner.Proc
	*symbol.Kallsyms
	symbol.Enums
}

func newFacts(types kernelTypes) *facts {
	f := &facts{
		Proc:     owner.NewProc(owner.ProcOptions{}),
		Kallsyms: symbol.NewKallsyms(),
		Enums:    symbol.Enums{},
	}
	for _, name := range reasonEnums {
		f.Enums[name] = types.enum(name)
	}
	return f
}
