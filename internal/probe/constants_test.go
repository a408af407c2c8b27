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
	for name, test := range map[string]struct {
		of   []asm.Instruction
		at   int // of the instruction that loads
		want asm.Instruction
	}{
		"into the register of the address": {
			of: []asm.Instruction{address(asm.R1, 0), asm.LoadMem(asm.R1, asm.R1, 0, asm.Word)},
			at: 1, want: asm.Mov.Imm32(asm.R1, -2),
		},
		"into another": {
			of: []asm.Instruction{address(asm.R1, 16), asm.Mov.Imm(asm.R3, 1), asm.LoadMem(asm.R2, asm.R1, 8, asm.DWord)},
			at: 2, want: asm.Mov.Imm32(asm.R2, 6),
		},
		"a part of it": {
			of: []asm.Instruction{address(asm.R1, 16), asm.LoadMem(asm.R2, asm.R1, 0, asm.Byte)},
			at: 1, want: asm.Mov.Imm32(asm.R2, int32(binary.NativeEndian.AppendUint64(nil, 5)[0])),
		},
		"twice": {
			of: []asm.Instruction{
				address(asm.R1, 16), asm.LoadMem(asm.R2, asm.R1, 0, asm.DWord), asm.LoadMem(asm.R3, asm.R1, 8, asm.DWord),
			},
			at: 2, want: asm.Mov.Imm32(asm.R3, 6),
		},
	} {
		t.Run(name, func(t *testing.T) {
			spec := constantsAt(test.of...)
			inlineConstants(spec)
			assert.Equal(t, test.want, spec.Programs["p"].Instructions[test.at])
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
		"address overwritten":            {address(asm.R1, 0), asm.Mov.Reg(asm.R1, asm.R10), load},
		"address loaded":                 {address(asm.R1, 0), asm.LoadMem(asm.R1, asm.R10, -8, asm.DWord), load},
		"behind a call":                  {address(asm.R1, 0), asm.FnKtimeGetNs.Call(), load},
		"sign-extended":                  {address(asm.R1, 0), asm.LoadMemSX(asm.R2, asm.R1, 0, asm.Word)},
		// It may come from there with another address.
		"jumped to": {
			asm.Instruction{OpCode: asm.OpCode(asm.JumpClass).SetJumpOp(asm.JEq), Dst: asm.R3, Offset: 2},
			address(asm.R1, 0), load,
		},
		"a function's beginning": {address(asm.R1, 0), load.WithSymbol("function")},
	} {
		t.Run(name, func(t *testing.T) {
			spec := constantsAt(of...)
			inlineConstants(spec)
			assert.Equal(t, of[len(of)-1], spec.Programs["p"].Instructions[len(of)-1])
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
