//go:build linux && (amd64 || arm64)

package probe

import (
	"os"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ebpfnet/ebpfnetreceiver/lab/report"
)

// since is the first kernel that takes a hook, as built by Debian. What is not listed works on all of the
// kernels that are tested, the first of which is 5.10. A program that keeps its state in the socket needs 5.11.
var since = map[string]struct{ amd64, arm64 int }{
	// Trampolines came to arm64 with 6.0, and ftrace's direct calls, which they need, with 6.4.
	"fexit/tcp_sendmsg_locked+tcp_recvmsg":     {version(5, 5), version(6, 4)},
	"tp_btf/sock_send_length+sock_recv_length": {version(6, 3), version(6, 3)},
	// The helper for sockets of files came with 5.11, and with it the storage; by address it does without.
	"iter/task_file": {version(5, 11), version(5, 11)},
}

// readsNoState: these programs load wherever connections keep their state.
var readsNoState = map[string]bool{"iter/bpf_sk_storage_map": true, "tp_btf/tcp_retransmit_synack": true}

// promised: must this kernel take the hook?
func promised(h report.Hook, kernel int) bool {
	first := since[h.Name].amd64
	if runtime.GOARCH == "arm64" {
		first = since[h.Name].arm64
	}
	if h.State == report.InSocket && !readsNoState[h.Name] {
		first = max(first, version(5, 11))
	}
	return kernel >= first
}

// verifierBudget is half of what the verifier walks before it gives up (BPF_COMPLEXITY_LIMIT_INSNS).
const verifierBudget = 500_000

func TestEachHookWorksWhereItMustAndElseSaysWhyNot(t *testing.T) {
	surveyed := survey(t)
	if path := os.Getenv(report.Environment); path != "" {
		require.NoError(t, report.Write(path, surveyed))
	}
	kernel := kernelVersion(t)
	works := map[string]bool{}
	for _, h := range surveyed.Hooks {
		name := h.Capability + ": " + h.Name + ", state by " + h.State
		t.Logf("%-90s %s", name, h.Reason)
		works[h.Capability+h.Name+h.State] = h.Reason == ""
		// A hardened kernel may refuse what its version promises; those of the lab are not hardened.
		if inLab() {
			assert.Equal(t, promised(h, kernel), h.Reason == "", "%s on %s: %q", name, surveyed.Release, h.Reason)
		}
	}
	for _, p := range surveyed.Programs {
		t.Logf("%-26s %-8s %7d instructions %5d states %4d bytes of stack", p.Name, p.State, p.Instructions, p.States, p.Stack)
		assert.Less(t, p.Instructions, verifierBudget, "%s: the verifier gives up at twice that", p.Name)
	}

	state := report.InSocket
	for _, c := range surveyed.Capabilities {
		if c.Name == "snapshot" && c.Hook == "iter/bpf_map_elem" {
			state = report.ByAddress
		}
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
			assert.False(t, inLab(), "%s is served on all kernels of the lab: %v", c.Name, refused)
		}
	}
	if inLab() {
		oldest := kernel < version(5, 11)
		assert.Equal(t, oldest, state == report.ByAddress, "where connections keep their state")
	}
}
