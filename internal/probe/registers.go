//go:build linux && (amd64 || arm64)

package probe

import (
	"math"
	"slices"

	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
)

// registers are what is known of each.
type registers [asm.R10 + 1]value

type value struct {
	is     kindOfValue
	number uint64
}

type kindOfValue int

const (
	unknown kindOfValue = iota
	aNumber
	anAddress // of constants: the number is the offset in their section
)

// isImmediate: can an instruction of 64 bits hold the number? It extends the sign of 32.
func (v value) isImmediate() bool { return v.number == uint64(int32(v.number)) }

// and is what both know.
func (r registers) and(other *registers) registers {
	for i := range r {
		if r[i] != other[i] {
			r[i] = value{}
		}
	}
	return r
}

// after is what is known after an instruction.
func (r registers) after(instruction *asm.Instruction, set constants) registers {
	result := r.result(instruction, set)
	_, writes := effects(instruction)
	for i := range r {
		if writes.has(asm.Register(i)) {
			r[i] = value{}
		}
	}
	if result.is != unknown {
		r[instruction.Dst] = result
	}
	return r
}

// result is what an instruction gives its destination.
func (r *registers) result(instruction *asm.Instruction, set constants) value {
	op := instruction.OpCode
	switch {
	case btf.CORERelocationMetadata(instruction) != nil:
		// The number it has now is not the one that it will have on this kernel.
	case op.IsDWordLoad():
		switch reference := instruction.Reference(); {
		case instruction.Src == asm.PseudoMapValue && reference == constantSection:
			return value{anAddress, uint64(instruction.Constant) >> 32}
		case instruction.Src == 0 && reference == "": // a kernel's symbol has one
			return value{aNumber, uint64(instruction.Constant)}
		}
	case op.Class() == asm.LdXClass && op.Mode() == asm.MemMode:
		if from := r[instruction.Src]; from.is == anAddress {
			loaded, ok := set.at(from.number+uint64(int64(instruction.Offset)), op.Size().Sizeof())
			if ok {
				return value{aNumber, loaded}
			}
		}
	case op == asm.Mov.Op(asm.RegSource) && instruction.Offset == 0:
		return r[instruction.Src] // addresses too
	case op.Class().IsALU() && instruction.Offset == 0: // with another it is not that operation
		dst, operand := r[instruction.Dst], r.operand(instruction)
		if operand.is == aNumber && (dst.is == aNumber || op.ALUOp() == asm.Mov) {
			if result, ok := calculated(op.ALUOp(), dst.number, operand.number, isWide(op)); ok {
				return value{aNumber, result}
			}
		}
	}
	return value{}
}

// operand is the second one of a calculation or comparison.
func (r *registers) operand(instruction *asm.Instruction) value {
	switch instruction.OpCode.Source() {
	case asm.RegSource:
		return r[instruction.Src]
	case asm.ImmSource:
		return value{aNumber, uint64(int32(instruction.Constant))}
	}
	return value{}
}

// simplified is an instruction that does the same: one whose result is known becomes that number, a jump that is known
// to be taken is always, one that is known not to be goes on to what follows, and a register whose number is known gives
// way to it.
func (r *registers) simplified(instruction asm.Instruction, set constants) asm.Instruction {
	op, operand := instruction.OpCode, r.operand(&instruction)
	switch {
	case op.Class().IsALU() || op.Class() == asm.LdXClass:
		result := r.result(&instruction, set)
		switch {
		case result.is == aNumber && result.number <= math.MaxUint32:
			return instead(&instruction, asm.Mov.Op32(asm.ImmSource), 0, result.number)
		case result.is == aNumber && result.isImmediate():
			return instead(&instruction, asm.Mov.Op(asm.ImmSource), 0, result.number)
		}
	case isJump(&instruction):
		dst := r[instruction.Dst]
		taken, ok := jumps(op.JumpOp(), dst.number, operand.number, isWide(op))
		if ok && dst.is == aNumber && operand.is == aNumber {
			jump := instead(&instruction, asm.Ja.Op(asm.ImmSource), instruction.Offset, 0)
			if jump.Dst = 0; !taken {
				jump.Offset = 0
			}
			return jump
		}
	}
	if op.Source() == asm.RegSource && operand.is == aNumber && takesImmediate(&instruction, operand) {
		return instead(&instruction, op.SetSource(asm.ImmSource), instruction.Offset, operand.number)
	}
	return instruction
}

// instead keeps an instruction's destination, symbol and line of the source.
func instead(instruction *asm.Instruction, op asm.OpCode, offset int16, immediate uint64) asm.Instruction {
	other := *instruction
	other.OpCode, other.Src, other.Offset, other.Constant = op, 0, offset, int64(int32(immediate))
	return other
}

func takesImmediate(instruction *asm.Instruction, operand value) bool {
	op := instruction.OpCode
	_, calculates := calculated(op.ALUOp(), 0, operand.number, isWide(op))
	_, compares := jumps(op.JumpOp(), 0, operand.number, isWide(op))
	return (calculates && instruction.Offset == 0 || compares) && (operand.isImmediate() || !isWide(op))
}

// isWide: it takes all 64 bits of registers.
func isWide(op asm.OpCode) bool {
	return op.Class() == asm.ALU64Class || op.Class() == asm.JumpClass
}

// calculated is the result of an operation as the kernel defines it (___bpf_prog_run in kernel/bpf/core.c). False: it is
// none of these, or has a second operand with which the kernel refuses it as an immediate.
func calculated(op asm.ALUOp, a, b uint64, wide bool) (result uint64, ok bool) {
	bits := uint64(64)
	if !wide {
		a, b, bits = uint64(uint32(a)), uint64(uint32(b)), 32
	}
	ok = true
	switch op {
	case asm.Mov:
		result = b
	case asm.Add:
		result = a + b
	case asm.Sub:
		result = a - b
	case asm.Mul:
		result = a * b
	case asm.And:
		result = a & b
	case asm.Or:
		result = a | b
	case asm.Xor:
		result = a ^ b
	case asm.Div:
		if ok = b != 0; ok {
			result = a / b
		}
	case asm.Mod:
		if ok = b != 0; ok {
			result = a % b
		}
	case asm.LSh:
		result, ok = a<<b, b < bits
	case asm.RSh:
		result, ok = a>>b, b < bits
	case asm.ArSh:
		result, ok = uint64(int64(a)>>b), b < bits
		if !wide {
			result = uint64(int32(a) >> b)
		}
	default:
		ok = false
	}
	if !wide {
		result = uint64(uint32(result)) // the upper half becomes zero
	}
	return result, ok
}

// jumps tells whether a comparison holds. False: it is none.
func jumps(op asm.JumpOp, a, b uint64, wide bool) (taken, ok bool) {
	signedA, signedB := int64(a), int64(b)
	if !wide {
		a, b = uint64(uint32(a)), uint64(uint32(b))
		signedA, signedB = int64(int32(a)), int64(int32(b))
	}
	switch op {
	case asm.JEq:
		return a == b, true
	case asm.JNE:
		return a != b, true
	case asm.JSet:
		return a&b != 0, true
	case asm.JGT:
		return a > b, true
	case asm.JGE:
		return a >= b, true
	case asm.JLT:
		return a < b, true
	case asm.JLE:
		return a <= b, true
	case asm.JSGT:
		return signedA > signedB, true
	case asm.JSGE:
		return signedA >= signedB, true
	case asm.JSLT:
		return signedA < signedB, true
	case asm.JSLE:
		return signedA <= signedB, true
	}
	return false, false
}

// registerSet has a bit for each.
type registerSet uint16

func setOf(registers ...asm.Register) (set registerSet) {
	for _, register := range registers {
		set |= 1 << register
	}
	return set
}

func (s registerSet) has(register asm.Register) bool { return s&setOf(register) != 0 }

// withoutArguments are those of the kernel's functions for programs that take none, and are called for every packet.
var withoutArguments = []asm.BuiltinFunc{asm.FnGetSmpProcessorId, asm.FnJiffies64, asm.FnKtimeGetNs}

// effects are the registers that an instruction may read, and those that may hold something else afterwards. What it
// writes only in some cases counts as read too: what was there may be there still.
func effects(instruction *asm.Instruction) (reads, writes registerSet) {
	op := instruction.OpCode
	dst, src := setOf(instruction.Dst), setOf(instruction.Src)
	arguments := setOf(asm.R1, asm.R2, asm.R3, asm.R4, asm.R5)
	switch class := op.Class(); {
	case class.IsALU() || isJump(instruction):
		if op.Source() != asm.RegSource {
			src = 0
		}
		switch {
		case op.JumpOp() == asm.Ja:
			return 0, 0
		case isJump(instruction):
			return dst | src, 0
		case op.ALUOp() == asm.Mov || op.ALUOp() == asm.MovSX8 || op.ALUOp() == asm.MovSX16 || op.ALUOp() == asm.MovSX32:
			return src, dst
		}
		return dst | src, dst
	case op.JumpOp() == asm.Exit:
		return setOf(asm.R0), 0
	case op.JumpOp() == asm.Call:
		if instruction.IsBuiltinCall() && slices.Contains(withoutArguments, asm.BuiltinFunc(instruction.Constant)) {
			return 0, arguments | setOf(asm.R0)
		}
		return arguments, arguments | setOf(asm.R0)
	case op.IsDWordLoad():
		return 0, dst
	case class == asm.LdClass: // of a packet's bytes, which is a call
		return src | setOf(asm.R6), arguments | setOf(asm.R0)
	case class == asm.LdXClass:
		return src, dst
	case class == asm.StClass:
		return dst, 0
	case op.Mode() == asm.AtomicMode: // may give a register what was in memory, or take R0 to compare that with
		all := dst | src | setOf(asm.R0)
		return all, all
	}
	return dst | src, 0 // a register is stored
}
