package main

import (
	"os"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ebpfnet/ebpfnetreceiver/lab/report"
)

const docs = "../../../docs/"

func TestThePageShowsTheFiguresBesideIt(t *testing.T) {
	kept, err := report.Read(docs + "kernels.json")
	require.NoError(t, err)
	page, err := os.ReadFile(docs + "kernels.md")
	require.NoError(t, err)
	assert.Equal(t, string(render(kept)), string(page), "run make kernel-tables")
}

func kernel(hook, reason string, instructions int) report.Kernel {
	return report.Kernel{
		Line: "6.1", Arch: "amd64",
		Capabilities: []report.Capability{{Name: "payload", Hook: hook}},
		Hooks:        []report.Hook{{Capability: "payload", Name: "fexit/f", State: report.InSocket, Reason: reason}},
		Programs:     []report.Program{{Capability: "payload", Name: "f_exit", Instructions: instructions}},
	}
}

func TestWhatCountsAsADifference(t *testing.T) {
	kept := kernel("fexit/f", "", 1000)
	for name, c := range map[string]struct {
		said        report.Kernel
		differences int
	}{
		"nothing":                     {kernel("fexit/f", "", 1000), 0},
		"a little more work":          {kernel("fexit/f", "", 1200), 0},
		"less work":                   {kernel("fexit/f", "", 10), 0},
		"a fifth more work":           {kernel("fexit/f", "", 1201), 1},
		"another hook in use":         {kernel("kprobe/f", "", 1000), 1},
		"a hook that works no longer": {kernel("fexit/f", "gone", 1000), 1},
		"nothing that is known":       {report.Kernel{Line: "6.1", Arch: "amd64"}, 3},
	} {
		assert.Len(t, compare(kept, c.said), c.differences, name)
	}

	kept = kernel("kprobe/f", "no such hook: program a", 1000)
	kept.Capabilities[0].Refused = []report.Refusal{{Hook: "fexit/f", Reason: "no such hook: program a"}}
	kept.Programs[0].States, kept.Programs[0].Stack = 100, 100
	for name, c := range map[string]struct {
		change      func(*report.Kernel)
		differences int
	}{
		"another program is named": {func(k *report.Kernel) { k.Hooks[0].Reason = "no such hook: program b" }, 0},
		"another reason":           {func(k *report.Kernel) { k.Hooks[0].Reason = "verifier: no" }, 1},
		"another refusal":          {func(k *report.Kernel) { k.Capabilities[0].Refused[0].Reason = "verifier: no" }, 1},
		"no refusal":               {func(k *report.Kernel) { k.Capabilities[0].Refused = nil }, 1},
		"a little more stack":      {func(k *report.Kernel) { k.Programs[0].Stack = 120 }, 0},
		"a fifth more stack":       {func(k *report.Kernel) { k.Programs[0].Stack = 128 }, 1},
		"a fifth more states":      {func(k *report.Kernel) { k.Programs[0].States = 121 }, 1},
	} {
		said := kept
		said.Hooks, said.Programs = slices.Clone(kept.Hooks), slices.Clone(kept.Programs)
		said.Capabilities = slices.Clone(kept.Capabilities)
		said.Capabilities[0].Refused = slices.Clone(kept.Capabilities[0].Refused)
		c.change(&said)
		assert.Len(t, compare(kept, said), c.differences, name)
	}
}

func TestKernelsAreMergedByNameAndOrderedByAge(t *testing.T) {
	of := func(line, arch, release string) report.Kernel {
		return report.Kernel{Line: line, Arch: arch, Release: release}
	}
	merged := merge(
		[]report.Kernel{of("6.1", "amd64", "old"), of("newest", "amd64", "old")},
		[]report.Kernel{of("6.12", "arm64", "new"), of("6.1", "amd64", "new"), of("5.10", "amd64", "new"), of("6.12", "amd64", "new")},
	)
	var got []string
	for _, k := range merged {
		got = append(got, k.Name()+" "+k.Release)
	}
	assert.Equal(t, []string{"5.10 amd64 new", "6.1 amd64 new", "6.12 amd64 new", "6.12 arm64 new", "newest amd64 old"}, got)
}
