//go:build linux && (amd64 || arm64)

package probe

import (
	"fmt"
	"slices"

	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
)

// fold gives a program that does the same as another one, without the instructions whose outcome is known beforehand. It
// takes them out, for the kernel refuses a program that has some that can never be reached (check_cfg in
// kernel/bpf/verifier.c) before it would take them out itself.
func fold(instructions asm.Instructions, set constants) asm.Instructions {
	for again := true; again; {
		p, ok := newFlow(instructions)
		if !ok {
			return instructions
		}
		var needed []bool
		needed, again = p.needed(p.simplify(set))
		instructions = p.only(needed)
	}
	return instructions
}

// flow is a program with where its jumps, its calls of functions and its addresses of functions lead to, all by index.
type flow struct {
	instructions asm.Instructions
	leadsTo      []int
}

// newFlow follows instructions as the ELF reader gives them, where jumps go by their offset and functions by their symbol.
// False: they do otherwise, as what is written by hand may, and are not understood.
func newFlow(instructions asm.Instructions) (*flow, bool) {
	p := &flow{slices.Clone(instructions), make([]int, len(instructions))}
	offsets, functions := make([]asm.RawInstructionOffset, len(instructions)), map[string]int{}
	ends := false
	for i := p.instructions.Iterate(); i.Next(); {
		offsets[i.Index] = i.Offset
		if symbol := i.Ins.Symbol(); symbol != "" {
			functions[symbol] = i.Index
		}
		ends = i.Ins.OpCode.JumpOp() == asm.Exit || i.Ins.OpCode.JumpOp() == asm.Ja
	}
	if !ends {
		return nil, false
	}
	for i := p.instructions.Iterate(); i.Next(); {
		ok := true
		switch {
		case i.Ins.IsFunctionReference():
			p.leadsTo[i.Index], ok = functions[i.Ins.Reference()]
			ok = ok && i.Ins.Constant == -1
		case isJump(i.Ins):
			to := asm.RawInstructionOffset(int64(i.Offset) + 1 + distance(i.Ins))
			p.leadsTo[i.Index], ok = slices.BinarySearch(offsets, to)
			byRegister := i.Ins.OpCode.JumpOp() == asm.Ja && i.Ins.OpCode.Source() == asm.RegSource
			ok = ok && i.Ins.Reference() == "" && !byRegister
		}
		if !ok {
			return nil, false
		}
	}
	return p, true
}

// isJump: within a function.
func isJump(instruction *asm.Instruction) bool {
	op := instruction.OpCode.JumpOp()
	return instruction.OpCode.Class().IsJump() && op != asm.Call && op != asm.Exit
}

// isLong: its distance is in the other field.
func isLong(jump *asm.Instruction) bool {
	return jump.OpCode.Class() == asm.Jump32Class && jump.OpCode.JumpOp() == asm.Ja
}

// distance is how far it is from the instruction that follows a jump to where it goes.
func distance(jump *asm.Instruction) int64 {
	if isLong(jump) {
		return jump.Constant
	}
	return int64(jump.Offset)
}

// next are those that may follow an instruction in its function; it may be what has become of the one at the index.
func (p *flow) next(index int, instruction *asm.Instruction) []int {
	switch op := instruction.OpCode.JumpOp(); {
	case op == asm.Exit:
		return nil
	case !isJump(instruction) || distance(instruction) == 0:
		return []int{index + 1}
	case op == asm.Ja:
		return []int{p.leadsTo[index]}
	}
	return []int{index + 1, p.leadsTo[index]}
}

// simplify replaces each instruction by the simplest one that does the same with what is known there, and tells which are
// reached. Known is what registers hold on every way to an instruction. As jumps become known not to be taken, ways turn
// out to be none: so a way counts only once it is found, and then leaves less to be known.
func (p *flow) simplify(set constants) (reached []bool) {
	reached = make([]bool, len(p.instructions))
	known := make([]registers, len(p.instructions)) // before an instruction
	again := make([]bool, len(p.instructions))
	reach := func(index int, with registers) {
		if reached[index] {
			if with = with.and(&known[index]); with == known[index] {
				return
			}
		}
		reached[index], known[index], again[index] = true, with, true
	}
	reach(0, registers{})
	for slices.Contains(again, true) {
		for index := range again {
			if !again[index] {
				continue
			}
			again[index] = false
			instruction := known[index].simplified(p.instructions[index], set)
			if instruction.IsFunctionReference() {
				reach(p.leadsTo[index], registers{})
			}
			after := known[index].after(&instruction, set)
			for _, next := range p.next(index, &instruction) {
				reach(next, after)
			}
		}
	}
	for index := range p.instructions {
		if reached[index] {
			p.instructions[index] = known[index].simplified(p.instructions[index], set)
		}
	}
	return reached
}

// needed are the instructions that are reached and have an effect. Again: without the others, fewer may be.
func (p *flow) needed(reached []bool) (needed []bool, again bool) {
	needed = make([]bool, len(reached))
	live := make([]registerSet, len(reached)) // before an instruction: what is read from there on before it is written
	for changed := true; changed; {
		changed = false
		for index := len(reached) - 1; index >= 0; index-- {
			if !reached[index] {
				continue
			}
			instruction := &p.instructions[index]
			var now registerSet
			for _, next := range p.next(index, instruction) {
				now |= live[next]
			}
			calculates := instruction.OpCode.Class().IsALU() || instruction.OpCode.IsDWordLoad()
			if !calculates || now.has(instruction.Dst) || begins(instruction) {
				needed[index] = true
				reads, writes := effects(instruction)
				now = now&^writes | reads
			}
			changed = changed || now != live[index]
			live[index] = now
		}
	}
	// A jump to where it would go on anyhow has none. The last is looked at first, as others may go only beyond it.
	for index := len(needed) - 1; index >= 0; index-- {
		instruction := &p.instructions[index]
		_, compares := jumps(instruction.OpCode.JumpOp(), 0, 0, true)
		if needed[index] && !begins(instruction) && (compares || instruction.OpCode.JumpOp() == asm.Ja) {
			next := p.next(index, instruction)
			to := next[len(next)-1]
			needed[index] = to <= index || slices.Contains(needed[index+1:to], true)
		}
		if reached[index] && !needed[index] {
			again = again || compares || instruction.IsLoadOfFunctionPointer() // what it compares, or the function
		}
	}
	return needed, again
}

// begins: is it a function's first? The kernel wants to know of this one what function and which line it is.
func begins(instruction *asm.Instruction) bool {
	return instruction.Symbol() != "" || btf.FuncMetadata(instruction) != nil
}

// only is a program of those instructions. A line of the source of which the first ones are gone begins with the next.
func (p *flow) only(needed []bool) (instructions asm.Instructions) {
	offsets := make([]int64, len(needed)) // of an instruction, or of what comes in its place
	var offset int64
	for index := range needed {
		if offsets[index] = offset; needed[index] {
			offset += int64(p.instructions[index].Width())
		}
	}
	var line fmt.Stringer
	for index, instruction := range p.instructions {
		if source := instruction.Source(); source != nil {
			line = source
		}
		if !needed[index] {
			continue
		}
		if isJump(&instruction) {
			next := p.next(index, &instruction)
			if away := offsets[next[len(next)-1]] - offsets[index] - 1; isLong(&instruction) {
				instruction.Constant = away
			} else {
				instruction.Offset = int16(away) // not further than before
			}
		}
		if line != nil {
			instruction, line = instruction.WithSource(line), nil
		}
		instructions = append(instructions, instruction)
	}
	return instructions
}
