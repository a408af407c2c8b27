//go:build linux && (amd64 || arm64)

package probe

import (
	"fmt"

	"github.com/cilium/ebpf/btf"

	"github.com/ebpfnet/ebpfnetreceiver/internal/symbol"
)

// kernelTypes is what the loader wants to know of the running kernel's types.
type kernelTypes struct {
	cache *btf.Cache // shared by all loads: to read the kernel's types takes longer than to verify a program
	spec  *btf.Spec
}

func loadKernelTypes() (kernelTypes, error) {
	cache := btf.NewCache()
	spec, err := cache.Kernel()
	if err != nil {
		return kernelTypes{}, fmt.Errorf("%w (/sys/kernel/btf/vmlinux: %v); use a kernel built with "+
			"CONFIG_DEBUG_INFO_BTF=y, as those of the large distributions are", ErrNoBTF, err)
	}
	return kernelTypes{cache, spec}, nil
}

// kernelSince: is the running kernel of this version or a later one? For what neither its types nor an attempt
// can tell.
func kernelSince(major, minor int) bool {
	var isMajor, isMinor int
	if _, err := fmt.Sscanf(kernelRelease(), "%d.%d", &isMajor, &isMinor); err != nil {
		return false
	}
	return isMajor > major || isMajor == major && isMinor >= minor
}

// Kernel is what takes long to read of the running kernel, as long as all else of opening the probes in some cases, and
// stays as it is: for those who open them often. It keeps tens of megabytes.
type Kernel struct {
	types   kernelTypes
	symbols *symbol.Kallsyms // nil: not read
}

// ReadKernel reads them.
func ReadKernel() (*Kernel, error) {
	types, err := loadKernelTypes()
	if err != nil {
		return nil, err
	}
	return &Kernel{types, symbol.NewKallsyms().Share()}, nil
}

// enum gives the names of an enum's values; empty where this kernel has no such enum.
func (k kernelTypes) enum(name string) map[uint32]string {
	names := map[uint32]string{}
	var enum *btf.Enum
	if err := k.spec.TypeByName(name, &enum); err != nil {
		return names
	}
	for _, value := range enum.Values {
		names[uint32(value.Value)] = value.Name
	}
	return names
}

// arguments counts the parameters of a kernel function; 0 where it is unknown.
func (k kernelTypes) arguments(function string) int {
	var f *btf.Func
	if err := k.spec.TypeByName(function, &f); err != nil {
		return 0
	}
	proto, ok := f.Type.(*btf.FuncProto)
	if !ok {
		return 0
	}
	return len(proto.Params)
}

// hasTracepoint: can tp_btf be attached to it?
func (k kernelTypes) hasTracepoint(name string) bool {
	var typedef *btf.Typedef
	return k.spec.TypeByName("btf_trace_"+name, &typedef) == nil
}
