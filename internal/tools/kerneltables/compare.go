package main

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/ebpfnet/ebpfnetreceiver/lab/report"
)

// tolerance: an update of the kernel moves figures a little.
const tolerance = 1.2

// Small ones move by more.
const (
	fewStates = 8
	fewBytes  = 64
)

// compare tells what a kernel says that was not so when the table was kept.
func compare(kept, said report.Kernel) (differences []error) {
	differ := func(format string, args ...any) {
		differences = append(differences, fmt.Errorf(said.Name()+": "+format, args...))
	}
	chosen := map[string]report.Capability{}
	for _, c := range kept.Capabilities {
		chosen[c.Name] = c
	}
	for _, c := range said.Capabilities {
		before, known := chosen[c.Name]
		if !known || before.Hook != c.Hook {
			differ("%s is served by %q, was by %q", c.Name, c.Hook, before.Hook)
		} else if !slices.EqualFunc(before.Refused, c.Refused, sameRefusal) {
			differ("%s: refused is %q, was %q", c.Name, c.Refused, before.Refused)
		}
		delete(chosen, c.Name)
	}
	for name := range chosen {
		differ("there is no capability %s any more", name)
	}

	works := map[report.Hook]string{}
	for _, h := range kept.Hooks {
		works[withoutReason(h)] = h.Reason
	}
	for _, h := range said.Hooks {
		before, known := works[withoutReason(h)]
		if !known || !sameReason(before, h.Reason) {
			differ("%s with state by %s: known %t, was %q, is %q", h.Name, h.State, known, before, h.Reason)
		}
		delete(works, withoutReason(h))
	}
	for h := range works {
		differ("%s is not tried any more with state by %s", h.Name, h.State)
	}

	cost := map[report.Program]report.Program{}
	for _, p := range kept.Programs {
		cost[withoutFigures(p)] = p
	}
	for _, p := range said.Programs {
		before, known := cost[withoutFigures(p)]
		if !known {
			differ("program %s of %s is not in the table", p.Name, p.Hook)
		}
		for _, figure := range []struct {
			what              string
			before, said, few int
		}{
			{"instructions that the verifier walks", before.Instructions, p.Instructions, 0},
			{"states that it holds", before.States, p.States, fewStates},
			{"bytes of stack", before.Stack, p.Stack, fewBytes},
		} {
			if known && figure.said > figure.few && float64(figure.said) > float64(figure.before)*tolerance {
				differ("%s, state by %s: %d %s; %d were kept", p.Name, p.State, figure.said, figure.what, figure.before)
			}
		}
		delete(cost, withoutFigures(p))
	}
	for p := range cost {
		differ("there is no program %s of %s any more", p.Name, p.Hook)
	}
	return differences
}

// sameReason compares what kind of thing is wrong: that there is no such hook, the verifier, a limit. What follows is about
// the program that was tried first, which is any of a hook's. The empty reason is that of what works.
func sameReason(a, b string) bool {
	a, _, _ = strings.Cut(a, ":")
	b, _, _ = strings.Cut(b, ":")
	return a == b
}

func sameRefusal(a, b report.Refusal) bool { return a.Hook == b.Hook && sameReason(a.Reason, b.Reason) }

func withoutReason(h report.Hook) report.Hook {
	h.Reason = ""
	return h
}

func withoutFigures(p report.Program) report.Program {
	p.Instructions, p.States, p.Stack = 0, 0, 0
	return p
}

// byAge orders kernels by version, amd64 first.
func byAge(a, b report.Kernel) int {
	return cmp.Or(cmp.Compare(age(a), age(b)), cmp.Compare(a.Arch, b.Arch))
}

func age(k report.Kernel) int {
	major, minor, _ := strings.Cut(k.Line, ".")
	m, err := strconv.Atoi(major)
	if err != nil {
		return 1 << 30 // newest
	}
	n, _ := strconv.Atoi(minor)
	return m<<16 | n
}
