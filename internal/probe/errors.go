package probe

import "errors"

var (
	// ErrUnsupported: there is no live source on this system; a recording can be replayed on any.
	ErrUnsupported = errors.New("ebpf_net needs Linux on amd64 or arm64; set replay.path to read a recording instead")
	// ErrPrivilege: the process may not load BPF programs.
	ErrPrivilege = errors.New("missing privilege")
	// ErrNoBTF: the kernel does not describe its types.
	ErrNoBTF = errors.New("the kernel has no BTF")
)
