//go:build linux && (amd64 || arm64)

package probe

import (
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ebpfnet/ebpfnetreceiver/lab/report"
)

// A release is a kernel's version.
type release struct{ major, minor int }

// The taps on payload that take state from the socket.
const (
	fexit   = "fexit/tcp_sendmsg_locked+tcp_recvmsg"
	lengths = "tp_btf/sock_send_length+sock_recv_length"
)

// since is the first kernel that takes a hook, as built by Debian. What is not listed works on all of the
// kernels that are tested, the first of which is 5.10.
var since = map[string]release{
	lengths:                   {6, 3},
	"tp_btf/sock_send_length": {6, 3},
	"tp_btf/sock_recv_length": {6, 3},
	// The types of modules.
	"fexit/sctp_sendmsg+sctp_recvmsg": {5, 11},
	"fexit/virtnet_send_command":      {5, 11},
	// The function.
	"fexit/virtnet_send_command_reply":  {6, 10},
	"kprobe/virtnet_send_command_reply": {6, 10},
	// bpf_sock_from_file; by address the programs do without.
	"iter/task_file": {5, 11},
}

// until is the first kernel that has a hook no more: there the function is part of its callers.
var until = map[string]release{
	"fexit/virtnet_send_command":  {6, 10},
	"kprobe/virtnet_send_command": {6, 10},
}

// promised: must this kernel take the hook?
func promised(h report.Hook) bool {
	if last, ends := until[h.Name]; ends && kernelSince(last.major, last.minor) {
		return false
	}
	first := since[h.Name]
	if kind, _, _ := strings.Cut(h.Name, "/"); runtime.GOARCH == "arm64" && (kind == "fentry" || kind == "fexit") {
		// Trampolines came to arm64 with 6.0, and ftrace's direct calls, which they need, with 6.4.
		first = release{6, 4}
	}
	return kernelSince(first.major, first.minor)
}

// usable: before 5.11 no state is kept in sockets. Some programs load nevertheless, as they read none.
func usable(h report.Hook) bool {
	return h.State == report.ByAddress || kernelSince(5, 11)
}

// verifierBudget is half of what the verifier walks before it gives up (BPF_COMPLEXITY_LIMIT_INSNS).
const verifierBudget = 500_000

func TestEachHookWorksWhereItMustAndElseSaysWhyNot(t *testing.T) {
	surveyed := survey(t)
	if path := os.Getenv(report.Environment); path != "" {
		require.NoError(t, report.Write(path, surveyed))
	}
	state := report.InSocket
	for _, c := range surveyed.Capabilities {
		if c.Name == "snapshot" && c.Hook == "iter/bpf_map_elem" {
			state = report.ByAddress
		}
	}
	works, served := map[string]bool{}, map[string]bool{}
	for _, h := range surveyed.Hooks {
		name := h.Capability + ": " + h.Name + ", state by " + h.State
		t.Logf("%-90s %s", name, h.Reason)
		works[h.Capability+h.Name+h.State] = h.Reason == ""
		if h.State == state && usable(h) && promised(h) {
			served[h.Capability] = true
		}
		// A hardened kernel may refuse what its version promises; those of the lab are not hardened.
		if inLab() && usable(h) {
			assert.Equal(t, promised(h), h.Reason == "", "%s on %s: %q", name, surveyed.Release, h.Reason)
		}
	}
	for _, p := range surveyed.Programs {
		t.Logf("%-26s %-8s %7d instructions %5d states %4d bytes of stack", p.Name, p.State, p.Instructions, p.States, p.Stack)
		assert.Less(t, p.Instructions, verifierBudget, "%s: the verifier gives up at twice that", p.Name)
	}

	for _, c := range surveyed.Capabilities {
		refused := map[string]string{}
		for _, r := range c.Refused {
			refused[r.Hook] = r.Reason
			assert.NotEmpty(t, r.Reason, "%s: %s", c.Name, r.Hook)
		}
		if c.Hook != "" {
			assert.True(t, works[c.Name+c.Hook+state], "%s is served by %s, which does not work alone", c.Name, c.Hook)
		} else {
			assert.NotEmpty(t, refused, "%s is not served, and nobody says why", c.Name)
			assert.False(t, inLab() && served[c.Name], "%s must be served: %v", c.Name, refused)
		}
	}
	if inLab() {
		tapped := works["payload"+fexit+report.InSocket] || works["payload"+lengths+report.InSocket]
		want := report.ByAddress
		if kernelSince(5, 11) && tapped {
			want = report.InSocket
		}
		assert.Equal(t, want, state, "where connections keep their state")
	}
}
