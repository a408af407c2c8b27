package symbol

import (
	"strconv"
	"strings"

	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

// UnknownFrame stands for a frame that has no name. Its address is left out: it would give away where the
// kernel lies in memory (KASLR) to whoever reads the logs, and tells nothing after the next boot.
const UnknownFrame = "[unknown]"

// AppendStack appends a kernel stack as attribute code.stacktrace wants it, innermost frame first, one
// per line: "symbol+0xoffset [module]". Frames are return addresses; each is looked up by the byte before it, as
// sprint_backtrace in kernel/kallsyms.c does, because a call that does not return may be the last
// instruction of its function. The stack ends at its first zero.
func AppendStack(dst []byte, stack []uint64, symbol func(address uint64) (wire.Symbol, bool)) []byte {
	stack = stack[ownFrames(stack, symbol):]
	for i, address := range stack {
		if address == 0 {
			break
		}
		if i > 0 {
			dst = append(dst, '\n')
		}
		s, ok := symbol(address - 1)
		if !ok {
			dst = append(dst, UnknownFrame...)
			continue
		}
		s.Offset++
		dst = AppendSymbol(dst, s)
	}
	return dst
}

// ownFrames counts the frames on top that are not what happened but how it was seen: the BPF program, which
// often has no name, and what the tracepoint calls it through (include/trace/bpf_probe.h).
func ownFrames(stack []uint64, symbol func(address uint64) (wire.Symbol, bool)) int {
	own := 0
	for i, address := range stack[:min(len(stack), 4)] {
		if s, ok := symbol(address - 1); ok && (strings.HasPrefix(s.Name, "bpf_trace_run") ||
			strings.HasPrefix(s.Name, "__bpf_trace_") || strings.HasPrefix(s.Name, "__traceiter_")) {
			own = i + 1
		}
	}
	return own
}

// AppendSymbol appends "symbol+0xoffset [module]", without brackets for the kernel itself.
func AppendSymbol(dst []byte, s wire.Symbol) []byte {
	dst = append(dst, s.Name...)
	dst = append(dst, "+0x"...)
	dst = strconv.AppendUint(dst, s.Offset, 16)
	if s.Module != "" {
		dst = append(dst, " ["...)
		dst = append(dst, s.Module...)
		dst = append(dst, ']')
	}
	return dst
}

// Stack is AppendStack as a string.
func Stack(stack []uint64, symbol func(address uint64) (wire.Symbol, bool)) string {
	return string(AppendStack(make([]byte, 0, 32*len(stack)), stack, symbol))
}
