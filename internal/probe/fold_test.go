//go:build linux && (amd64 || arm64)

package probe

import (
	"math"
	"testing"

	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func number(register asm.Register, number int64) asm.Instruction {
	return asm.LoadImm(register, number, asm.DWord)
}

// something is a number that is not known.
func something(register asm.Register) asm.Instruction {
	return asm.LoadMem(register, asm.R10, -8, asm.DWord)
}

func keep(register asm.Register) asm.Instruction {
	return asm.StoreMem(asm.R10, -8, register, asm.DWord)
}

// by makes a jump go by its offset, as a compiler does.
func by(offset int16, jump asm.Instruction) asm.Instruction {
	jump.Offset, jump.Metadata = offset, asm.Metadata{}
	return jump
}

func ja(offset int16) asm.Instruction { return by(offset, asm.Ja.Label("")) }

func long(distance int64) asm.Instruction {
	jump := asm.LongJump("")
	jump.Constant, jump.Metadata = distance, asm.Metadata{}
	return jump
}

func addressOf(function string, register asm.Register) asm.Instruction {
	load := asm.LoadImm(register, -1, asm.DWord).WithReference(function)
	load.Src = asm.PseudoFunc
	return load
}

func TestNumbersAreCalculated(t *testing.T) {
	const least = -1 << 63
	for _, test := range []struct {
		op     asm.ALUOp
		a, b   int64
		wide   int64
		narrow uint32
	}{
		{asm.Mov, 5, -1, -1, 0xffffffff},
		{asm.Add, 0xffffffff, 1, 1 << 32, 0},
		{asm.Add, 1, -2, -1, 0xffffffff},
		{asm.Sub, 0, 1, -1, 0xffffffff},
		{asm.Mul, 1 << 31, 2, 1 << 32, 0},
		{asm.And, -1, -16, -16, 0xfffffff0},
		{asm.Or, 1 << 40, -16, -16, 0xfffffff0},
		{asm.Xor, -1, -1, 0, 0},
		{asm.Div, -1, 16, 1<<60 - 1, 1<<28 - 1},
		{asm.Div, -1, -1, 1, 1},
		{asm.Mod, 1<<32 + 7, 10, 3, 7},
		{asm.LSh, 1<<31 + 1, 1, 1<<32 + 2, 2},
		{asm.RSh, least + 1<<31, 31, 1<<32 + 1, 1},
		{asm.ArSh, least + 1<<31, 31, -1<<32 + 1, 0xffffffff},
	} {
		for _, instruction := range []asm.Instruction{test.op.Reg(asm.R0, asm.R1), test.op.Imm(asm.R0, int32(test.b))} {
			known := registers{asm.R0: {aNumber, uint64(test.a)}, asm.R1: {aNumber, uint64(test.b)}}
			assert.Equal(t, value{aNumber, uint64(test.wide)}, known.result(&instruction, nil), "%+v", test)
		}
		for _, instruction := range []asm.Instruction{test.op.Reg32(asm.R0, asm.R1), test.op.Imm32(asm.R0, int32(test.b))} {
			known := registers{asm.R0: {aNumber, uint64(test.a)}, asm.R1: {aNumber, uint64(test.b) ^ 1<<32}}
			assert.Equal(t, value{aNumber, uint64(test.narrow)}, known.result(&instruction, nil), "%+v", test)
		}
	}
}

func TestOtherResultsAreNotKnown(t *testing.T) {
	relocated := btf.WithCORERelocationMetadata(asm.Mov.Imm(asm.R0, 1), &btf.CORERelocation{})
	converted := asm.Mov.Reg(asm.R0, asm.R1) // of an address space
	converted.Offset = 1
	for name, instruction := range map[string]asm.Instruction{
		"of what is not known":    asm.Add.Reg(asm.R0, asm.R2),
		"divided by zero":         asm.Div.Imm(asm.R0, 0),
		"modulo zero":             asm.Mod.Imm32(asm.R0, 0),
		"shifted beyond":          asm.LSh.Reg(asm.R0, asm.R3),
		"with a sign":             asm.MovSX8.Reg(asm.R0, asm.R1),
		"divided with a sign":     asm.SDiv.Reg(asm.R0, asm.R1),
		"swapped":                 asm.HostTo(asm.BE, asm.R0, asm.Word),
		"negative":                asm.Neg.Imm(asm.R0, 0),
		"converted":               converted,
		"given by a relocation":   relocated,
		"the address of a map":    asm.LoadMapPtr(asm.R0, 0).WithReference("map"),
		"the address of a symbol": number(asm.R0, 0).WithReference("symbol"),
		"the address of a function": {
			OpCode: asm.LoadImmOp(asm.DWord), Dst: asm.R0, Src: asm.PseudoFunc, Constant: -1,
		},
	} {
		known := registers{asm.R0: {aNumber, 5}, asm.R1: {aNumber, 1}, asm.R3: {aNumber, 64}}
		assert.Zero(t, known.after(&instruction, nil)[asm.R0], name)
		assert.Equal(t, instruction, known.simplified(instruction, nil), name)
	}
}

// A number that does not fit is left to the instruction.
func TestResultsAreMoved(t *testing.T) {
	for of, want := range map[int64]asm.Instruction{
		7:                 asm.Mov.Imm32(asm.R0, 7),
		-7:                asm.Mov.Imm(asm.R0, -7),
		math.MaxUint32:    asm.Mov.Imm32(asm.R0, -1),
		math.MinInt32:     asm.Mov.Imm(asm.R0, math.MinInt32),
		math.MinInt32 - 1: asm.Mov.Reg(asm.R0, asm.R1),
		1 << 32:           asm.Mov.Reg(asm.R0, asm.R1),
	} {
		known := registers{asm.R1: {aNumber, uint64(of)}}
		assert.Equal(t, want, known.simplified(asm.Mov.Reg(asm.R0, asm.R1), nil), of)
	}
}

func TestNumbersTakeTheRegistersPlace(t *testing.T) {
	for _, test := range []struct {
		number   int64
		of, want asm.Instruction
	}{
		{5, asm.Add.Reg(asm.R0, asm.R1), asm.Add.Imm(asm.R0, 5)},
		{-5, asm.Sub.Reg(asm.R0, asm.R1), asm.Sub.Imm(asm.R0, -5)},
		{63, asm.LSh.Reg(asm.R0, asm.R1), asm.LSh.Imm(asm.R0, 63)},
		{1<<32 + 5, asm.Or.Reg32(asm.R0, asm.R1), asm.Or.Imm32(asm.R0, 5)},
		{0xffffffff, asm.And.Reg32(asm.R0, asm.R1), asm.And.Imm32(asm.R0, -1)},
		{5, by(3, asm.JLT.Reg(asm.R0, asm.R1, "")), by(3, asm.JLT.Imm(asm.R0, 5, ""))},
		{-1, by(3, asm.JSGT.Reg(asm.R0, asm.R1, "")), by(3, asm.JSGT.Imm(asm.R0, -1, ""))},
		{0xffffffff, by(3, asm.JEq.Reg32(asm.R0, asm.R1, "")), by(3, asm.JEq.Imm32(asm.R0, -1, ""))},
	} {
		known := registers{asm.R1: {aNumber, uint64(test.number)}}
		assert.Equal(t, test.want, known.simplified(test.of, nil))
	}
}

func TestNumbersThatNoInstructionHoldsStayInTheRegister(t *testing.T) {
	for _, test := range []struct {
		number int64
		of     asm.Instruction
	}{
		{0xffffffff, asm.And.Reg(asm.R0, asm.R1)},
		{0xffffffff, by(3, asm.JEq.Reg(asm.R0, asm.R1, ""))},
		{1 << 31, by(3, asm.JGT.Reg(asm.R0, asm.R1, ""))},
		// The kernel refuses these as immediates.
		{64, asm.LSh.Reg(asm.R0, asm.R1)},
		{32, asm.ArSh.Reg32(asm.R0, asm.R1)},
		{0, asm.Div.Reg(asm.R0, asm.R1)},
		{1 << 32, asm.Mod.Reg32(asm.R0, asm.R1)},
	} {
		known := registers{asm.R1: {aNumber, uint64(test.number)}}
		assert.Equal(t, test.of, known.simplified(test.of, nil))
	}
}

func TestKnownJumpsAreDecided(t *testing.T) {
	for _, test := range []struct {
		op           asm.JumpOp
		a, b         int64
		wide, narrow bool
	}{
		{asm.JEq, 1<<32 + 5, 5, false, true},
		{asm.JEq, 0xffffffff, -1, false, true},
		{asm.JNE, 1<<32 + 5, 5, true, false},
		{asm.JSet, 1 << 40, math.MinInt32, true, false},
		{asm.JSet, 6, 8, false, false},
		{asm.JGT, 0xffffffff, -2, false, true},
		{asm.JGE, 5, 5, true, true},
		{asm.JLT, 1 << 32, 1, false, true},
		{asm.JLE, 0xfffffffe, -2, true, true},
		{asm.JSGT, 0xffffffff, 0, true, false},
		{asm.JSGE, -1, 0, false, false},
		{asm.JSLT, 0xffffffff, 0, false, true},
		{asm.JSLE, -1, -1, true, true},
	} {
		for _, jump := range []struct {
			asm.Instruction
			taken bool
		}{
			{test.op.Imm(asm.R1, int32(test.b), ""), test.wide}, {test.op.Reg(asm.R1, asm.R2, ""), test.wide},
			{test.op.Imm32(asm.R1, int32(test.b), ""), test.narrow}, {test.op.Reg32(asm.R1, asm.R2, ""), test.narrow},
		} {
			want := asm.Instructions{asm.Mov.Imm32(asm.R0, 1), asm.Return()}
			if jump.taken {
				want[0].Constant = 2
			}
			assert.Equal(t, want, fold(asm.Instructions{
				number(asm.R1, test.a), number(asm.R2, test.b), by(2, jump.Instruction),
				asm.Mov.Imm(asm.R0, 1), asm.Return(), asm.Mov.Imm(asm.R0, 2), asm.Return(),
			}, nil), "%+v %v", test, jump)
		}
	}
}

func TestProgramsAreFolded(t *testing.T) {
	never := by(2, asm.JNE.Imm(asm.R1, 1, "")) // with the number 1
	call, byDistance := asm.FnMapUpdateElem.Call(), asm.Call.Label("f")
	byDistance.Constant = 1
	for name, test := range map[string]struct{ of, want asm.Instructions }{
		"a number that all ways agree on": {
			of: asm.Instructions{
				something(asm.R0), number(asm.R1, 1), by(1, asm.JEq.Imm(asm.R0, 0, "")), asm.Mov.Imm(asm.R1, 1),
				asm.Add.Reg(asm.R0, asm.R1), asm.Return(),
			},
			want: asm.Instructions{something(asm.R0), asm.Add.Imm(asm.R0, 1), asm.Return()},
		},
		"a number that they do not agree on": {
			of: asm.Instructions{
				something(asm.R0), asm.Mov.Imm32(asm.R1, 1), by(1, asm.JEq.Imm(asm.R0, 0, "")), asm.Mov.Imm32(asm.R1, 2),
				asm.Add.Reg(asm.R0, asm.R1), asm.Return(),
			},
		},
		"a number that they agree on where one of them is none": {
			of: asm.Instructions{
				something(asm.R0), number(asm.R1, 1), never, asm.Mov.Imm(asm.R2, 5), ja(1),
				asm.Mov.Imm(asm.R2, 6), asm.Add.Reg(asm.R0, asm.R2), asm.Return(),
			},
			want: asm.Instructions{something(asm.R0), asm.Add.Imm(asm.R0, 5), asm.Return()},
		},
		"a loop's number": {
			of: asm.Instructions{
				asm.Mov.Imm32(asm.R0, 0), asm.Add.Imm(asm.R0, 1), by(-2, asm.JLT.Imm(asm.R0, 10, "")), asm.Return(),
			},
		},
		"jumps over what is gone": {
			of: asm.Instructions{
				something(asm.R0), number(asm.R1, 1), by(9, asm.JEq.Imm(asm.R0, 7, "")), number(asm.R2, 2),
				something(asm.R0), by(2, asm.JEq.Imm(asm.R0, 8, "")), never, ja(-6), keep(asm.R0), number(asm.R3, 3),
				asm.Return(),
			},
			want: asm.Instructions{
				something(asm.R0), by(4, asm.JEq.Imm(asm.R0, 7, "")),
				something(asm.R0), by(1, asm.JEq.Imm(asm.R0, 8, "")), ja(-3), keep(asm.R0),
				asm.Return(),
			},
		},
		"jumps over two slots that stay": {
			of: asm.Instructions{
				something(asm.R0), by(3, asm.JEq.Imm(asm.R0, 7, "")), asm.Mov.Imm(asm.R3, 3), number(asm.R1, 1<<40),
				keep(asm.R1), by(-5, asm.JEq.Imm(asm.R0, 8, "")), asm.Return(),
			},
			want: asm.Instructions{
				something(asm.R0), by(2, asm.JEq.Imm(asm.R0, 7, "")), number(asm.R1, 1<<40),
				keep(asm.R1), by(-4, asm.JEq.Imm(asm.R0, 8, "")), asm.Return(),
			},
		},
		"a long jump": {
			of: asm.Instructions{
				something(asm.R0), by(1, asm.JEq.Imm(asm.R0, 7, "")), long(2), asm.Mov.Imm(asm.R1, 1), keep(asm.R0),
				asm.Return(),
			},
			want: asm.Instructions{
				something(asm.R0), by(1, asm.JEq.Imm(asm.R0, 7, "")), long(1), keep(asm.R0), asm.Return(),
			},
		},
		"a comparison between ways that do the same": {
			of: asm.Instructions{
				something(asm.R1), something(asm.R0), asm.RSh.Imm(asm.R1, 5), by(1, asm.JEq.Imm(asm.R1, 7, "")),
				asm.Mov.Imm(asm.R1, 1), asm.Return(),
			},
			want: asm.Instructions{something(asm.R1), something(asm.R0), asm.Return()},
		},
		"what only one way needs": {
			of: asm.Instructions{
				something(asm.R0), asm.Mov.Reg(asm.R2, asm.R10), by(1, asm.JEq.Imm(asm.R0, 7, "")), keep(asm.R2), asm.Return(),
			},
		},
		"what a loop needs when it begins anew": {
			of: asm.Instructions{
				asm.Mov.Reg(asm.R2, asm.R10), keep(asm.R2), something(asm.R2), something(asm.R0),
				by(-4, asm.JEq.Imm(asm.R0, 7, "")), asm.Return(),
			},
		},
		"what is written again": {
			of: asm.Instructions{
				asm.Mov.Reg(asm.R2, asm.R10), asm.Add.Imm(asm.R2, -8), something(asm.R2), keep(asm.R2), something(asm.R0),
				asm.Return(),
			},
			want: asm.Instructions{something(asm.R2), keep(asm.R2), something(asm.R0), asm.Return()},
		},
		"a call's arguments": {
			of: asm.Instructions{
				asm.Mov.Reg(asm.R5, asm.R10), asm.Mov.Reg(asm.R6, asm.R10), asm.Mov.Reg(asm.R0, asm.R10), call, asm.Return(),
			},
			want: asm.Instructions{asm.Mov.Reg(asm.R5, asm.R10), call, asm.Return()},
		},
		"what calls leave": {
			of: asm.Instructions{
				number(asm.R6, 6), number(asm.R1, 1), call,
				asm.Add.Reg(asm.R0, asm.R6), asm.Add.Reg(asm.R0, asm.R1), asm.Return(),
			},
			want: asm.Instructions{
				number(asm.R1, 1), call, asm.Add.Imm(asm.R0, 6), asm.Add.Reg(asm.R0, asm.R1), asm.Return(),
			},
		},
		"what calls do not take": {
			of:   asm.Instructions{number(asm.R1, 1), asm.FnKtimeGetNs.Call(), asm.Return()},
			want: asm.Instructions{asm.FnKtimeGetNs.Call(), asm.Return()},
		},
		"functions": {
			of: asm.Instructions{
				number(asm.R1, 1), never, asm.Call.Label("f"), ja(1), asm.Call.Label("g"), asm.Return(),
				asm.Mov.Imm32(asm.R0, 2).WithSymbol("g"), asm.Call.Label("h"), asm.Return(),
				by(1, asm.JEq.Imm(asm.R1, 1, "")).WithSymbol("f"), asm.Mov.Imm32(asm.R1, 3), keep(asm.R1), asm.Return(),
				asm.Mov.Imm32(asm.R0, 4).WithSymbol("h"), asm.Return(),
			},
			want: asm.Instructions{
				number(asm.R1, 1), asm.Call.Label("f"), asm.Return(),
				by(1, asm.JEq.Imm(asm.R1, 1, "")).WithSymbol("f"), asm.Mov.Imm32(asm.R1, 3), keep(asm.R1), asm.Return(),
			},
		},
		"a function whose address is used": {
			of: asm.Instructions{
				addressOf("f", asm.R2), call, addressOf("g", asm.R6), asm.Return(),
				asm.Mov.Imm32(asm.R0, 2).WithSymbol("g"), asm.Return(), asm.Mov.Imm32(asm.R0, 1).WithSymbol("f"), asm.Return(),
			},
			want: asm.Instructions{
				addressOf("f", asm.R2), call, asm.Return(), asm.Mov.Imm32(asm.R0, 1).WithSymbol("f"), asm.Return(),
			},
		},
		"a function's first instruction": {
			of: asm.Instructions{
				asm.Call.Label("f"), asm.Return(),
				asm.Mov.Reg(asm.R2, asm.R10).WithSymbol("f"), asm.Mov.Imm(asm.R3, 3), something(asm.R0), asm.Return(),
			},
			want: asm.Instructions{
				asm.Call.Label("f"), asm.Return(),
				asm.Mov.Reg(asm.R2, asm.R10).WithSymbol("f"), something(asm.R0), asm.Return(),
			},
		},
		"by label": {of: asm.Instructions{
			number(asm.R0, 0), asm.JEq.Imm(asm.R0, 0, "end"), something(asm.R0), asm.Return().WithSymbol("end"),
		}},
		"called by its distance": {of: asm.Instructions{number(asm.R1, 1), byDistance, asm.Return(), asm.Return().WithSymbol("f")}},
		"without an end":         {of: asm.Instructions{number(asm.R1, 1), asm.Mov.Imm(asm.R0, 0)}},
	} {
		t.Run(name, func(t *testing.T) {
			if test.want == nil {
				test.want = test.of
			}
			assert.Equal(t, test.want, fold(test.of, nil))
		})
	}
}

// A relocation changes an instruction only when the program is loaded.
func TestRelocatedInstructionsAreNotFolded(t *testing.T) {
	relocated := func(instruction asm.Instruction) asm.Instruction {
		return btf.WithCORERelocationMetadata(instruction, &btf.CORERelocation{})
	}
	exists := relocated(asm.Mov.Imm(asm.R1, 1))
	for name, test := range map[string]struct{ of, want asm.Instructions }{
		"compared": {of: asm.Instructions{
			something(asm.R0), exists, by(1, asm.JEq.Imm(asm.R1, 1, "")), something(asm.R0), asm.Return(),
		}},
		"of a known number": {
			of: asm.Instructions{number(asm.R0, 1), relocated(asm.Add.Imm(asm.R0, 8)), asm.Return()},
		},
		"loaded": {of: asm.Instructions{relocated(number(asm.R0, 1)), asm.Add.Imm(asm.R0, 1), asm.Return()}},
		"not used": {
			of:   asm.Instructions{exists, something(asm.R0), asm.Return()},
			want: asm.Instructions{something(asm.R0), asm.Return()},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if test.want == nil {
				test.want = test.of
			}
			assert.Equal(t, test.want, fold(test.of, nil))
		})
	}
}

func TestFunctionsAndLinesAreKept(t *testing.T) {
	line := func(text string, instruction asm.Instruction) asm.Instruction {
		return instruction.WithSource(asm.Comment(text))
	}
	f := &btf.Func{Name: "f", Type: &btf.FuncProto{Return: &btf.Void{}}}
	first := line("a", btf.WithFuncMetadata(asm.Mov.Reg(asm.R1, asm.R2), f)).WithSymbol("f")
	folded := fold(asm.Instructions{
		first, line("b", number(asm.R2, 2)), something(asm.R0), line("c", asm.Add.Reg(asm.R0, asm.R2)),
		line("d", by(2, asm.JEq.Imm(asm.R2, 2, ""))), line("e", number(asm.R0, 1)), asm.Return(),
	}, nil)
	require.Len(t, folded, 4)
	assert.Equal(t, first, folded[0])
	for i, want := range []string{"a", "b", "c", "e"} {
		assert.Equal(t, asm.Comment(want), folded[i].Source())
	}
	assert.Equal(t, asm.Add.Imm(asm.R0, 2).OpCode, folded[2].OpCode)

	first = line("a", btf.WithFuncMetadata(asm.Mov.Imm32(asm.R0, 1), f)).WithSymbol("f")
	assert.Equal(t, asm.Instructions{first, asm.Return()}, fold(asm.Instructions{first, asm.Return()}, nil))
}
