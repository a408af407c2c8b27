//go:build linux && (amd64 || arm64)

package kerneltest

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ebpfnet/ebpfnetreceiver/internal/engine"
)

// hooks are the ways to serve a capability, in the loader's order of preference.
var hooks = map[string][]string{
	"payload": {
		"fexit/tcp_sendmsg_locked+tcp_recvmsg",
		"tp_btf/sock_send_length+sock_recv_length",
		"kprobe/tcp_sendmsg_locked+tcp_recvmsg",
		"raw_tp/sys_exit",
	},
	"datagrams": {
		"fexit/udp_sendmsg+udp_recvmsg",
		"tp_btf/sock_send_length+sock_recv_length",
		"kprobe/udp_sendmsg+udp_recvmsg",
	},
	"stages.socket": {
		"tp_btf/tcp_sendmsg_locked",
		"fentry/tcp_sendmsg_locked",
		"kprobe/tcp_sendmsg_locked",
	},
	"stages.netfilter": {
		"fexit/nf_hook_slow",
		"kprobe/nf_hook_slow",
	},
	"waits.write": {
		"fexit/sk_stream_wait_memory+tcp_sendmsg_locked",
		"tp_btf/tcp_sendmsg_locked+sock_send_length",
		"tp_btf/sock_send_length",
	},
}

// withEachHook runs a test once per hook of a capability, by switching off those that would be preferred.
func withEachHook(t *testing.T, capability string, test func(t *testing.T, avoid []string)) {
	t.Helper()
	require.Contains(t, hooks, capability)
	for i, hook := range hooks[capability] {
		t.Run(strings.ReplaceAll(hook, "/", "_"), func(t *testing.T) { test(t, hooks[capability][:i]) })
	}
}

// withEachHookAndNone does so once more with all of them switched off.
func withEachHookAndNone(t *testing.T, capability string, test func(t *testing.T, avoid []string)) {
	t.Helper()
	withEachHook(t, capability, test)
	t.Run("none", func(t *testing.T) { test(t, hooks[capability]) })
}

// requireHook skips the test where the kernel refused the hook that it is about, and says why. The lab's kernels may
// not, unless the hook is newer than they are.
func requireHook(t *testing.T, o *observer, capability string, avoid []string) {
	t.Helper()
	all := hooks[capability]
	hook, refused := o.hook(capability)
	if len(avoid) == len(all) {
		require.Empty(t, hook, "a hook that the tests do not know")
		require.NotEmpty(t, refused)
		return
	}
	want := all[len(avoid)]
	if hook == want {
		return
	}
	kind, at, _ := strings.Cut(want, "/")
	// Trampolines came to arm64 in 6.4; the tracepoints sock_send_length in 6.3, tcp_sendmsg_locked in 6.16.
	absent := (kind == "fexit" || kind == "fentry") && arm64 && olderThan(t, 6, 4) ||
		kind == "tp_btf" && strings.HasPrefix(at, "sock_send_length") && olderThan(t, 6, 3) ||
		kind == "tp_btf" && strings.HasPrefix(at, "tcp_sendmsg_locked") && olderThan(t, 6, 16)
	reason := "it has none"
	for _, r := range refused {
		if r.Hook == want {
			reason = r.Reason
		}
	}
	if !absent {
		require.NotEqual(t, "it has none", reason, "%s was not tried", want)
		require.NotEmpty(t, reason)
	}
	if inLab() {
		require.True(t, absent, "a stock kernel refused %s: %s", want, reason)
		require.Contains(t, append(slices.Clone(all[len(avoid)+1:]), ""), hook, "the next best, which the next of these tests is about")
	}
	t.Skipf("this kernel refuses %s: %s", want, reason)
}

// avoiding is the same settings without these hooks.
func avoiding(config engine.Config, avoid []string) engine.Config {
	config.Probe.AvoidHooks = append(slices.Clone(config.Probe.AvoidHooks), avoid...)
	return config
}

// withEachTap runs a test once per way to see payload.
func withEachTap(t *testing.T, test func(t *testing.T, avoid []string)) {
	t.Helper()
	withEachHook(t, "payload", test)
}

func requireTap(t *testing.T, o *observer, avoid []string) {
	t.Helper()
	requireHook(t, o, "payload", avoid)
}
