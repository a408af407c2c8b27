//go:build !linux

package owner

import "github.com/ebpfnet/ebpfnetreceiver/internal/wire"

// Proc knows nothing: only Linux has cgroups.
type Proc struct{}

// NewProc gives a Proc that knows nothing.
func NewProc(ProcOptions) *Proc { return &Proc{} }

// CgroupPath implements the method of wire.Facts.
func (*Proc) CgroupPath(uint64) (string, bool) { return "", false }

// Process implements the method of wire.Facts.
func (*Proc) Process(uint32) (wire.Process, bool) { return wire.Process{}, false }

// CgroupMount is empty.
func (*Proc) CgroupMount() string { return "" }

// Warnings says so.
func (*Proc) Warnings() []string { return []string{"owners are only known on Linux"} }

// Close does nothing.
func (*Proc) Close() error { return nil }
