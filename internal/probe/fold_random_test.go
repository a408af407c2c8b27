//go:build linux && (amd64 || arm64)

package probe

import (
	"encoding/binary"
	"math"
	"math/rand"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Programs made at random do the same when they are folded, and no instruction is left that can never be reached.
func TestFoldedProgramsDoTheSame(t *testing.T) {
	variable := &ebpf.VariableSpec{SectionName: constantSection, Value: make([]byte, 16)}
	ended, before, after := 0, 0, 0
	for seed := range int64(2000) {
		random := rand.New(rand.NewSource(seed))
		random.Read(variable.Value[:6])
		of := append(randomFunction(random, "main"), randomFunction(random, "function")...)
		folded := fold(of, constants{variable})
		require.Equal(t, folded, fold(folded, constants{variable}), "seed %d:\n%v", seed, of)
		did, does := &machine{constants: variable.Value}, &machine{constants: variable.Value}
		if result, ok := did.run(of, 0, [6]uint64{}); ok { // else it has a loop without an end
			got, ok := does.run(folded, 0, [6]uint64{})
			require.True(t, ok, "seed %d:\n%v\nfolded:\n%v", seed, of, folded)
			did.steps, does.steps = 0, 0
			require.Equal(t, result, got, "seed %d:\n%v\nfolded:\n%v", seed, of, folded)
			require.Equal(t, did, does, "seed %d:\n%v\nfolded:\n%v", seed, of, folded)
			ended++
		}
		p, ok := newFlow(folded)
		require.True(t, ok)
		reached := make([]bool, len(folded))
		p.reach(0, reached)
		require.NotContains(t, reached, false, "seed %d:\n%v\nfolded:\n%v", seed, of, folded)
		before, after = before+len(of), after+len(folded)
	}
	t.Logf("%d of all end; of %d instructions %d are left", ended, before, after)
	assert.Greater(t, ended, 1000)
	assert.Less(t, after, before*3/4)
}

func (p *flow) reach(index int, reached []bool) {
	if reached[index] {
		return
	}
	reached[index] = true
	if p.instructions[index].IsFunctionReference() {
		p.reach(p.leadsTo[index], reached)
	}
	for _, next := range p.next(index, &p.instructions[index]) {
		p.reach(next, reached)
	}
}

func randomFunction(random *rand.Rand, name string) asm.Instructions {
	register := func() asm.Register {
		return []asm.Register{asm.R0, asm.R1, asm.R2, asm.R6, asm.R7}[random.Intn(5)]
	}
	number := func() int64 {
		return []int64{0, 1, 2, 5, 31, 33, -1, -5, math.MinInt32, math.MaxInt32, math.MaxUint32, 1 << 32}[random.Intn(12)]
	}
	instructions := asm.Instructions{asm.Mov.Imm(register(), int32(number())).WithSymbol(name)}
	for range 5 + random.Intn(25) {
		dst, src, slot, value := register(), register(), int16(-8*(1+random.Intn(4))), int32(number())
		var some asm.Instructions
		switch random.Intn(16) {
		case 0:
			some = asm.Instructions{asm.LoadMem(dst, asm.R10, slot, asm.DWord)}
		case 1:
			some = asm.Instructions{asm.StoreMem(asm.R10, slot, src, asm.DWord)}
		case 2:
			some = asm.Instructions{asm.LoadImm(dst, number(), asm.DWord)}
		case 3:
			size := []asm.Size{asm.Byte, asm.Half, asm.Word, asm.DWord}[random.Intn(4)]
			some = asm.Instructions{address(src, uint32(random.Intn(2)*4)), asm.LoadMem(dst, src, int16(random.Intn(2)*4), size)}
		case 4:
			function := []asm.BuiltinFunc{asm.FnKtimeGetNs, asm.FnMapUpdateElem}[random.Intn(2)]
			if some = (asm.Instructions{function.Call()}); name == "main" && random.Intn(2) == 0 {
				some[0] = asm.Call.Label("function")
			}
		case 5:
			atomic := []asm.AtomicOp{asm.Xchg, asm.CmpXchg}[random.Intn(2)]
			some = asm.Instructions{atomic.Mem(asm.R10, src, asm.DWord, slot)}
		case 6, 7, 8:
			some = asm.Instructions{asm.Mov.Imm(dst, value)}
		case 9, 10, 11:
			op, form := operations[random.Intn(len(operations))], random.Intn(4)
			switch op { // to what there is, and the kernel does not refuse
			case asm.Div, asm.Mod:
				value |= 2
			case asm.LSh, asm.RSh, asm.ArSh:
				value &= 31
			case asm.Neg:
				form &= 2
			case asm.MovSX8:
				form |= 1
			}
			some = asm.Instructions{
				[]asm.Instruction{op.Imm32(dst, value), op.Reg32(dst, src), op.Imm(dst, value), op.Reg(dst, src)}[form],
			}
		default:
			op := comparisons[random.Intn(len(comparisons))]
			some = asm.Instructions{[]asm.Instruction{
				op.Imm(dst, value, ""), op.Reg(dst, src, ""), op.Imm32(dst, value, ""), op.Reg32(dst, src, ""), ja(0), long(0),
			}[random.Intn(6)]}
		}
		instructions = append(instructions, some...)
	}
	instructions = append(instructions, asm.Return())
	offsets := make([]int16, len(instructions))
	for i := instructions.Iterate(); i.Next(); {
		offsets[i.Index] = int16(i.Offset)
	}
	for i := range instructions {
		if jump := &instructions[i]; isJump(jump) {
			to := i + 1 + random.Intn(len(instructions)-i-1)
			if random.Intn(8) == 0 {
				to = random.Intn(len(instructions))
			}
			if distance := offsets[to] - offsets[i] - 1; isLong(jump) {
				jump.Constant = int64(distance)
			} else {
				*jump = by(distance, *jump)
			}
		}
	}
	return instructions
}

var (
	operations = []asm.ALUOp{
		asm.Mov, asm.Add, asm.Sub, asm.Mul, asm.And, asm.Or, asm.Xor, asm.Div, asm.Mod, asm.LSh, asm.RSh, asm.ArSh,
		asm.Neg, asm.MovSX8,
	}
	comparisons = []asm.JumpOp{
		asm.JEq, asm.JNE, asm.JSet, asm.JGT, asm.JGE, asm.JLT, asm.JLE, asm.JSGT, asm.JSGE, asm.JSLT, asm.JSLE,
	}
)

// machine runs programs as slowly as one likes to read.
type machine struct {
	constants []byte
	stack     [4]uint64
	told      []uint64 // what calls were given
	steps     int
}

// leftover is what is in registers that were not given anything since a call.
func (m *machine) leftover(register asm.Register) uint64 {
	return uint64(len(m.told)+1) * (uint64(register) + 0x123456789)
}

func (m *machine) run(of asm.Instructions, index int, arguments [6]uint64) (result uint64, ok bool) {
	var r [11]uint64
	for i := range r {
		r[i] = m.leftover(asm.Register(i))
	}
	copy(r[1:6], arguments[1:])
	indexes, functions := map[int64]int{}, map[string]int{}
	for i := of.Iterate(); i.Next(); {
		indexes[int64(i.Offset)], functions[i.Ins.Symbol()] = i.Index, i.Index
	}
	offsets := map[int]int64{}
	for offset, index := range indexes {
		offsets[index] = offset
	}
	const constantsAt = 1 << 40
	for ; ; index++ {
		if m.steps++; m.steps > 1000 {
			return 0, false
		}
		instruction := of[index]
		op, dst := instruction.OpCode, &r[instruction.Dst]
		slot := &m.stack[(-instruction.Offset/8+3)&3] // of what there is of the stack
		operand := uint64(instruction.Constant)
		if op.Source() == asm.RegSource {
			operand = r[instruction.Src]
		}
		switch class := op.Class(); {
		case instruction.IsLoadFromMap():
			*dst = constantsAt + uint64(instruction.Constant)>>32
		case op.IsDWordLoad():
			*dst = operand
		case class == asm.LdXClass && instruction.Src == asm.R10:
			*dst = *slot
		case class == asm.LdXClass:
			from, size := r[instruction.Src]+uint64(instruction.Offset)-constantsAt, uint64(op.Size().Sizeof())
			if *dst = from; from <= uint64(len(m.constants))-size { // else it is what may be there
				bytes := make([]byte, 8)
				copy(bytes, m.constants[from:][:size])
				*dst = binary.LittleEndian.Uint64(bytes)
			}
		case op.AtomicOp() == asm.Xchg:
			*slot, r[instruction.Src] = r[instruction.Src], *slot
		case op.AtomicOp() == asm.CmpXchg:
			was := *slot
			if was == r[0] {
				*slot = r[instruction.Src]
			}
			r[0] = was
		case class == asm.StXClass:
			*slot = r[instruction.Src]
		case class == asm.ALU64Class:
			*dst = calculate[uint64, int64](op.ALUOp(), *dst, operand, 64)
		case class == asm.ALUClass:
			*dst = uint64(calculate[uint32, int32](op.ALUOp(), uint32(*dst), uint32(operand), 32))
		case op.JumpOp() == asm.Exit:
			return r[0], true
		case op.JumpOp() == asm.Call:
			given := [6]uint64(r[:6])
			for i := range 6 {
				r[i] = m.leftover(asm.Register(i))
			}
			if instruction.IsFunctionCall() || asm.BuiltinFunc(instruction.Constant) == asm.FnMapUpdateElem {
				m.told = append(m.told, given[1:]...)
			}
			if instruction.IsFunctionCall() {
				if r[0], ok = m.run(of, functions[instruction.Reference()], given); !ok {
					return 0, false
				}
			}
		case op.JumpOp() == asm.Ja,
			class == asm.JumpClass && compare[uint64, int64](op.JumpOp(), *dst, operand),
			class == asm.Jump32Class && compare[uint32, int32](op.JumpOp(), uint32(*dst), uint32(operand)):
			index = indexes[offsets[index]+1+distance(&instruction)] - 1
		}
	}
}

func calculate[U uint32 | uint64, S int32 | int64](op asm.ALUOp, a, b, bits U) U {
	switch op {
	case asm.Mov:
		return b
	case asm.MovSX8:
		return U(S(int8(b)))
	case asm.Neg:
		return -a
	case asm.Add:
		return a + b
	case asm.Sub:
		return a - b
	case asm.Mul:
		return a * b
	case asm.And:
		return a & b
	case asm.Or:
		return a | b
	case asm.Xor:
		return a ^ b
	case asm.LSh:
		return a << (b % bits)
	case asm.RSh:
		return a >> (b % bits)
	case asm.ArSh:
		return U(S(a) >> (b % bits))
	}
	switch {
	case op == asm.Div && b == 0:
		return 0
	case op == asm.Mod && b == 0:
		return a
	case op == asm.Div:
		return a / b
	}
	return a % b
}

func compare[U uint32 | uint64, S int32 | int64](op asm.JumpOp, a, b U) bool {
	return map[asm.JumpOp]bool{
		asm.JEq: a == b, asm.JNE: a != b, asm.JSet: a&b != 0, asm.JGT: a > b, asm.JGE: a >= b, asm.JLT: a < b, asm.JLE: a <= b,
		asm.JSGT: S(a) > S(b), asm.JSGE: S(a) >= S(b), asm.JSLT: S(a) < S(b), asm.JSLE: S(a) <= S(b),
	}[op]
}
