package main

import (
	"strings"
	"testing"
)

func TestConsoleFaultsAreTheKernelsOwn(t *testing.T) {
	const warning = "[ 1.0] WARNING: CPU: 0 PID: 1 at net/core/dev.c:1 f+0x1/0x2\n" +
		"[ 1.0] Modules linked in: cls_bpf veth\n[ 1.0] Call Trace:\n[ 1.0]  STACK\n[ 1.0] ---[ end trace 0 ]---\n"
	for _, c := range []struct {
		name, log     string
		faults, notes int
	}{
		{"a quiet boot", "[ 0.5] Unstable clock detected\r\n[ 2.0] reboot: Power down\r\n", 0, 0},
		{"a panic", "[ 1.0] Kernel panic - not syncing: sysrq triggered crash\n", 1, 0},
		{"a lockup", "[ 1.0] watchdog: BUG: soft lockup - CPU#0 stuck for 61s!\n", 1, 0},
		{"a stall", "[ 1.0] rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:\n", 1, 0},
		{"a warning elsewhere", warning, 0, 1},
		{"a warning through BPF", strings.Replace(warning, "STACK", "bpf_prog_run+0x1/0x2", 1), 1, 0},
		{"a warning in BPF, broken off", "[ 1.0] WARNING: CPU: 0 PID: 1 at kernel/bpf/verifier.c:1\n", 1, 0},
		{"a warning elsewhere, then BPF in peace", warning + "[ 2.0] bpf: fine\n", 0, 1},
		{"init's words", "lab-init: module tls: no such file\n", 0, 1},
	} {
		faults, notes := inspectConsole(c.log)
		if len(faults) != c.faults || len(notes) != c.notes {
			t.Errorf("%s: faults %q, notes %q", c.name, faults, notes)
		}
	}
}
