package main

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"

	"github.com/ebpfnet/ebpfnetreceiver/lab/report"
)

// tolerance: an update of the kernel moves figures a little.
const tolerance = 1.2

// compare tells what a kernel says that was not so when the table was kept.
func compare(kept, said report.Kernel) (differences []error) {
	differ := func(format string, args ...any) {
		differences = append(differences, fmt.Errorf(said.Name()+": "+format, args...))
	}
	chosen := map[string]string{}
	for _, c := range kept.Capabilities {
		chosen[c.Name] = c.Hook
	}
	for _, c := range said.Capabilities {
		if before, known := chosen[c.Name]; !known || before != c.Hook {
			differ("%s is served by %q, was by %q", c.Name, c.Hook, before)
		}
		delete(chosen, c.Name)
	}
	for name := range chosen {
		differ("there is no capability %s any more", name)
	}

	works := map[report.Hook]bool{}
	for _, h := range kept.Hooks {
		works[withoutReason(h)] = h.Reason == ""
	}
	for _, h := range said.Hooks {
		before, known := works[withoutReason(h)]
		if !known || before != (h.Reason == "") {
			differ("%s with state by %s: known %t, worked %t, now %q", h.Name, h.State, known, before, h.Reason)
		}
		delete(works, withoutReason(h))
	}
	for h := range works {
		differ("%s is not tried any more with state by %s", h.Name, h.State)
	}

	cost := map[report.Program]int{}
	for _, p := range kept.Programs {
		cost[withoutFigures(p)] = p.Instructions
	}
	for _, p := range said.Programs {
		before, known := cost[withoutFigures(p)]
		switch {
		case !known:
			differ("program %s of %s is not in the table", p.Name, p.Hook)
		case float64(p.Instructions) > float64(before)*tolerance:
			differ("the verifier walks %d instructions for %s, state by %s; %d were kept", p.Instructions, p.Name, p.State, before)
		}
		delete(cost, withoutFigures(p))
	}
	for p := range cost {
		differ("there is no program %s of %s any more", p.Name, p.Hook)
	}
	return differences
}

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
