//go:build linux && (amd64 || arm64)

package probe

import (
	"encoding/binary"

	"github.com/cilium/ebpf"
)

// inlineConstants puts the constants that are set into the programs, and takes out what these then have no use for. The
// kernel too takes out what constants make unreachable, but it leaves the loads of those that it has decided by, and the
// jumps that are never taken to what is also reached from elsewhere: to each of a packet's programs these are cache lines
// that hold nothing else it needs.
func inlineConstants(spec *ebpf.CollectionSpec) {
	var set constants
	for _, v := range spec.Variables {
		if v.SectionName == constantSection {
			set = append(set, v)
		}
	}
	for _, program := range spec.Programs {
		program.Instructions = fold(program.Instructions, set)
	}
}

const constantSection = ".rodata"

// constants are the variables of that section.
type constants []*ebpf.VariableSpec

// at is the number that a load from there gives, zero-extended as it is; false: it is not within one variable.
func (c constants) at(offset uint64, size int) (loaded uint64, ok bool) {
	for _, v := range c {
		start := uint64(v.Offset)
		if offset < start || offset+uint64(size) > start+uint64(len(v.Value)) {
			continue
		}
		bytes := v.Value[offset-start:][:size]
		switch size {
		case 1:
			return uint64(bytes[0]), true
		case 2:
			return uint64(binary.NativeEndian.Uint16(bytes)), true
		case 4:
			return uint64(binary.NativeEndian.Uint32(bytes)), true
		case 8:
			return binary.NativeEndian.Uint64(bytes), true
		}
	}
	return 0, false
}
