//go:build linux && (amd64 || arm64)

package probe

import (
	"encoding/binary"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ebpfnet/ebpfnetreceiver/bpf"
)

// address loads the address of what is at an offset of the constants.
func address(register asm.Register, offset uint32) asm.Instruction {
	return asm.LoadMapValue(register, 0, offset).WithReference(".rodata")
}

// constantsAt makes a section of a variable of 4 bytes, one of 8 that an instruction cannot hold, and an array.
func constantsAt(instructions ...asm.Instruction) *ebpf.CollectionSpec {
	value := func(values ...uint64) (bytes []byte) {
		for _, v := range values {
			bytes = binary.NativeEndian.AppendUint64(bytes, v)
		}
		return bytes
	}
	return &ebpf.CollectionSpec{
		Programs: map[string]*ebpf.ProgramSpec{"p": {Instructions: append(instructions, asm.Return())}},
		Variables: map[string]*ebpf.VariableSpec{
			"small": {SectionName: ".rodata", Offset: 0, Value: binary.NativeEndian.AppendUint32(nil, 0xfffffffe)},
			"large": {SectionName: ".rodata", Offset: 8, Value: value(1 << 32)},
			"array": {SectionName: ".rodata", Offset: 16, Value: value(5, 6)},
		},
	}
}

func TestConstantsAreInTheInstructions(t *testing.T) {
	use := asm.StoreMem(asm.RFP, -8, asm.R2, asm.DWord)
	for name, test := range map[string]struct{ of, want []asm.Instruction }{
		"into the register of the address": {
			of:   []asm.Instruction{address(asm.R0, 0), asm.LoadMem(asm.R0, asm.R0, 0, asm.Word)},
			want: []asm.Instruction{asm.Mov.Imm32(asm.R0, -2)},
		},
		"into another": {
			of: []asm.Instruction{
				address(asm.R1, 16), asm.LoadMem(asm.R0, asm.R10, -8, asm.DWord), asm.LoadMem(asm.R2, asm.R1, 8, asm.DWord), use,
			},
			want: []asm.Instruction{asm.LoadMem(asm.R0, asm.R10, -8, asm.DWord), asm.Mov.Imm32(asm.R2, 6), use},
		},
		"a part of it": {
			of:   []asm.Instruction{address(asm.R1, 16), asm.LoadMem(asm.R0, asm.R1, 0, asm.Byte)},
			want: []asm.Instruction{asm.Mov.Imm32(asm.R0, int32(binary.NativeEndian.AppendUint64(nil, 5)[0]))},
		},
		"twice": {
			of: []asm.Instruction{
				address(asm.R1, 16), asm.LoadMem(asm.R2, asm.R1, 0, asm.DWord), use, asm.LoadMem(asm.R0, asm.R1, 8, asm.DWord),
			},
			want: []asm.Instruction{asm.Mov.Imm32(asm.R2, 5), use, asm.Mov.Imm32(asm.R0, 6)},
		},
		"by a copy of the address": {
			of: []asm.Instruction{
				address(asm.R6, 16), asm.Mov.Reg(asm.R7, asm.R6), asm.FnKtimeGetNs.Call(),
				asm.LoadMem(asm.R0, asm.R7, 8, asm.DWord),
			},
			want: []asm.Instruction{asm.FnKtimeGetNs.Call(), asm.Mov.Imm32(asm.R0, 6)},
		},
	} {
		t.Run(name, func(t *testing.T) {
			spec := constantsAt(test.of...)
			inlineConstants(spec)
			assert.Equal(t, asm.Instructions(append(test.want, asm.Return())), spec.Programs["p"].Instructions)
		})
	}
}

func TestOtherLoadsStay(t *testing.T) {
	load := asm.LoadMem(asm.R2, asm.R1, 0, asm.Word)
	for name, of := range map[string][]asm.Instruction{
		"more than an instruction holds": {address(asm.R1, 8), asm.LoadMem(asm.R2, asm.R1, 0, asm.DWord)},
		"beyond a variable":              {address(asm.R1, 4), load},
		"of two variables":               {address(asm.R1, 0), asm.LoadMem(asm.R2, asm.R1, 0, asm.DWord)},
		"of a map that is not constant":  {asm.LoadMapValue(asm.R1, 0, 0).WithReference(".bss"), load},
		"of a map's pointer":             {asm.LoadMapPtr(asm.R1, 0).WithReference(".rodata"), load},
		"address changed":                {address(asm.R1, 0), asm.Add.Imm(asm.R1, 4), load},
		"half an address":                {address(asm.R3, 0), asm.Mov.Reg32(asm.R1, asm.R3), load},
		"address overwritten":            {address(asm.R1, 0), asm.Mov.Reg(asm.R1, asm.R10), load},
		"address loaded":                 {address(asm.R1, 0), asm.LoadMem(asm.R1, asm.R10, -8, asm.DWord), load},
		"address exchanged":              {address(asm.R1, 0), asm.Xchg.Mem(asm.R10, asm.R1, asm.DWord, -8), load},
		"behind a call":                  {address(asm.R1, 0), asm.FnKtimeGetNs.Call(), load},
		"sign-extended":                  {address(asm.R1, 0), asm.LoadMemSX(asm.R2, asm.R1, 0, asm.Word)},
		// It may come from there with another address.
		"jumped to": {
			asm.Instruction{OpCode: asm.OpCode(asm.JumpClass).SetJumpOp(asm.JEq), Dst: asm.R3, Offset: 2},
			address(asm.R1, 0), load,
		},
		"a function's beginning": {address(asm.R1, 0), asm.Call.Label("f"), asm.Return(), load.WithSymbol("f")},
	} {
		t.Run(name, func(t *testing.T) {
			spec := constantsAt(of...)
			inlineConstants(spec)
			instructions := spec.Programs["p"].Instructions
			assert.Equal(t, of[len(of)-1], instructions[len(instructions)-2])
		})
	}
}

// What is left is of arrays that are gone through, and of numbers that an instruction cannot hold.
func TestMostConstantsOfStagesAreInTheInstructions(t *testing.T) {
	left := func(inline bool) (loads int) {
		spec, err := bpf.LoadStages()
		require.NoError(t, err)
		if inline {
			inlineConstants(spec)
		}
		for _, program := range spec.Programs {
			var address *asm.Instruction
			for i := range program.Instructions {
				instruction := &program.Instructions[i]
				if address != nil && instruction.OpCode.Class() == asm.LdXClass && instruction.Src == address.Dst {
					loads++
				}
				if address = nil; instruction.IsLoadFromMap() && instruction.Reference() == ".rodata" {
					address = instruction
				}
			}
		}
		return loads
	}
	before, after := left(false), left(true)
	require.Positive(t, before)
	assert.Less(t, after, before/4, "of %d loads", before)
}
