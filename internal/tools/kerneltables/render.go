package main

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/ebpfnet/ebpfnetreceiver/lab/report"
)

const preamble = `# Kernels

<!-- Made by make kernel-tables from what the kernels say; make test-kernels compares. -->

What each kernel of the lab does with the probes: Debian's kernels as they come, everything switched on. A kernel
that is built or hardened differently may refuse more; what it refuses and why is in the log, the component's
status and ` + "`otelcol_ebpf_net_probe_status`" + `.
`

// render is the page of tables.
func render(kernels []report.Kernel) []byte {
	page := bytes.NewBufferString(preamble)
	fmt.Fprintf(page, "\n| kernel | release |\n|---|---|\n")
	for _, k := range kernels {
		fmt.Fprintf(page, "| %s | %s |\n", k.Name(), k.Release)
	}
	renderChosen(page, kernels)
	renderHooks(page, kernels)
	renderPrograms(page, kernels)
	return page.Bytes()
}

func renderChosen(page *bytes.Buffer, kernels []report.Kernel) {
	fmt.Fprintf(page, "\n## What serves each capability\n\n")
	t := table{columns: []string{"capability"}}
	for _, k := range kernels {
		t.columns = append(t.columns, k.Name())
		for _, c := range k.Capabilities {
			cell := "none"
			if c.Hook != "" {
				cell = short(c.Hook)
			}
			for _, refused := range c.Refused {
				cell += t.note(refused.Hook + ": " + refused.Reason)
			}
			t.set(cell, c.Name)
		}
	}
	t.write(page)
}

func renderHooks(page *bytes.Buffer, kernels []report.Kernel) {
	fmt.Fprintf(page, "\n## Each hook on its own\n\nWith the state of connections kept in the socket, or in a hash "+
		"by the socket's address: before 5.11, and\nunder hooks that know a socket only as an address.\n\n")
	t := table{columns: []string{"capability", "hook", "state"}}
	for _, k := range kernels {
		t.columns = append(t.columns, k.Name())
		for _, h := range k.Hooks {
			cell := "works"
			if h.Reason != "" {
				cell = "no" + t.note(h.Reason)
			}
			t.set(cell, h.Capability, "`"+h.Name+"`", h.State)
		}
	}
	t.write(page)
}

func renderPrograms(page *bytes.Buffer, kernels []report.Kernel) {
	fmt.Fprintf(page, "\n## What the verifier spends\n\nInstructions walked (it gives up at 1 000 000; half of that is "+
		"this project's limit) / states held at most at\none time / bytes of stack (of 512). With the longest scope "+
		"that can be configured.\n\n")
	t := table{columns: []string{"program", "hook", "state"}}
	for _, k := range kernels {
		t.columns = append(t.columns, k.Name())
		for _, p := range k.Programs {
			cell := fmt.Sprintf("%d / %d / %d", p.Instructions, p.States, p.Stack)
			t.set(cell, p.Name, "`"+short(p.Hook)+"`", p.State)
		}
	}
	t.write(page)
}

// short is the kind of a hook; of an iterator also what it walks.
func short(hook string) string {
	kind, _, _ := strings.Cut(hook, "/")
	if kind == "iter" {
		return hook
	}
	return kind
}
