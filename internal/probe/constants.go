//go:build linux && (amd64 || arm64)

package probe

import (
	"encoding/binary"
	"math"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
)

// inlineConstants puts the constants that are set in the place of the instructions that would load them. The kernel
// takes out what constants make unreachable, but leaves the loads of those that it has decided by: to each of a packet's
// programs these are cache lines that hold nothing else it needs.
func inlineConstants(spec *ebpf.CollectionSpec) {
	sections := map[string][]*ebpf.VariableSpec{}
	for _, v := range spec.Variables {
		if v.Constant() {
			sections[v.SectionName] = append(sections[v.SectionName], v)
		}
	}
	for _, program := range spec.Programs {
		targets := jumpTargets(program.Instructions)
		addresses := map[asm.Register]asm.Instruction{} // what registers hold
		for iterator := program.Instructions.Iterate(); iterator.Next(); {
			instruction := iterator.Ins
			if targets[iterator.Offset] || instruction.Symbol() != "" {
				clear(addresses) // from elsewhere it is come to with other ones
			}
			if address, ok := addresses[instruction.Src]; ok && instruction.OpCode.Class() == asm.LdXClass &&
				instruction.OpCode.Mode() == asm.MemMode {
				if value, ok := constant(sections[address.Reference()], &address, instruction); ok {
					// The register's upper half becomes zero, as it would.
					*instruction = asm.Mov.Imm32(instruction.Dst, int32(value)).WithSource(instruction.Source())
				}
			}
			switch class := instruction.OpCode.Class(); {
			case instruction.IsLoadFromMap() && instruction.Src == asm.PseudoMapValue:
				addresses[instruction.Dst] = *instruction
			case class == asm.LdClass || class == asm.LdXClass || class.IsALU():
				delete(addresses, instruction.Dst)
			case class == asm.StXClass && instruction.OpCode.Mode() == asm.AtomicMode:
				delete(addresses, instruction.Src) // these may be given what was there
				delete(addresses, instruction.Dst)
				delete(addresses, asm.R0)
			case class.IsJump() && instruction.OpCode.JumpOp() == asm.Call:
				clear(addresses)
			}
		}
	}
}

// constant is the value, zero-extended as it would be loaded; false: it is not within one variable, or larger than an
// instruction holds.
func constant(section []*ebpf.VariableSpec, address, load *asm.Instruction) (value uint32, ok bool) {
	from := uint64(address.Constant)>>32 + uint64(int64(load.Offset))
	size := uint64(load.OpCode.Size().Sizeof())
	for _, v := range section {
		start := uint64(v.Offset)
		if from < start || from+size > start+uint64(len(v.Value)) {
			continue
		}
		bytes := v.Value[from-start:][:size]
		var long uint64
		switch size {
		case 1:
			long = uint64(bytes[0])
		case 2:
			long = uint64(binary.NativeEndian.Uint16(bytes))
		case 4:
			long = uint64(binary.NativeEndian.Uint32(bytes))
		case 8:
			long = binary.NativeEndian.Uint64(bytes)
		}
		return uint32(long), long <= math.MaxUint32
	}
	return 0, false
}

// jumpTargets are the offsets that anything jumps to.
func jumpTargets(instructions asm.Instructions) map[asm.RawInstructionOffset]bool {
	targets := map[asm.RawInstructionOffset]bool{}
	for iterator := instructions.Iterate(); iterator.Next(); {
		class := iterator.Ins.OpCode.Class()
		if !class.IsJump() {
			continue
		}
		distance := int64(iterator.Ins.Offset)
		switch iterator.Ins.OpCode.JumpOp() {
		case asm.Call, asm.Exit:
			continue
		case asm.Ja:
			if class == asm.Jump32Class {
				distance = iterator.Ins.Constant
			}
		}
		targets[asm.RawInstructionOffset(int64(iterator.Offset)+1+distance)] = true
	}
	return targets
}
