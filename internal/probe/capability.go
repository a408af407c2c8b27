//go:build linux && (amd64 || arm64)

package probe

import (
	"slices"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

// A capability is one thing that the kernel half can do, served by the first of its hooks that the kernel
// accepts.
type capability struct {
	name      string
	load      func() (*ebpf.CollectionSpec, error)
	hooks     []hook
	constants map[string]any // values for the object's constants, beside those that all objects share
	refused   string         // why it would do more harm than good here; empty: it would not
}

// A hook is a way to serve a capability: programs that are loaded and attached together.
type hook struct {
	name     string // kind/target, as users know it: tp_btf/kfree_skb
	programs []attachment
	// byAddress: the programs know a socket only as an address, so the state of connections cannot live in
	// the sockets.
	byAddress bool
	constants map[string]any // values that this hook needs the object's constants to have
}

func (h hook) has(program string) bool {
	return slices.ContainsFunc(h.programs, func(a attachment) bool { return a.program == program })
}

// An attachment is one program of an object and how it comes to run.
type attachment struct {
	program string
	attach  func(*ebpf.Program) (link.Link, error)
}

// tracing attaches programs whose target is in their section: tp_btf, fentry, fexit.
func tracing(program string) attachment {
	return attachment{program, func(p *ebpf.Program) (link.Link, error) {
		return link.AttachTracing(link.TracingOptions{Program: p})
	}}
}

func rawTracepoint(program, name string) attachment {
	return attachment{program, func(p *ebpf.Program) (link.Link, error) {
		return link.AttachRawTracepoint(link.RawTracepointOptions{Name: name, Program: p})
	}}
}

func kprobe(program, symbol string) attachment {
	return attachment{program, func(p *ebpf.Program) (link.Link, error) { return link.Kprobe(symbol, p, nil) }}
}

// concurrentReturns is how many calls of a function may be under way at a time, sleeping ones included, for
// all of their returns to be seen: the most that a kernel takes (KRETPROBE_MAXACTIVE_MAX).
const concurrentReturns = 4096

// kretprobe falls back to the kernel's own number, as low as that of its CPUs, where tracefs is not mounted.
// What is then missed is counted as lost.
func kretprobe(program, symbol string) attachment {
	return attachment{program, func(p *ebpf.Program) (link.Link, error) {
		//nolint:staticcheck // deprecated for portability: where it is not taken there is the fallback
		l, err := link.Kretprobe(symbol, p, &link.KprobeOptions{RetprobeMaxActive: concurrentReturns})
		if err != nil {
			return link.Kretprobe(symbol, p, nil)
		}
		return l, nil
	}}
}

// onDemand programs are iterators: opened when there is something to read.
func onDemand(program string) attachment { return attachment{program: program} }
