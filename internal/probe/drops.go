//go:build linux && (amd64 || arm64)

package probe

import "github.com/ebpfnet/ebpfnetreceiver/bpf"

// drops reports packets that the kernel gave up.
func drops(noise noise) capability {
	refused := ""
	if noise.blind() {
		refused = "this kernel gives no reasons, and without its symbols a drop cannot be told from the end of a " +
			"healthy connection: add CAP_SYSLOG, or set kernel.kptr_restrict to 0 or 1 and kernel.perf_event_paranoid to 1"
	}
	return capability{
		name:      "drops",
		load:      bpf.LoadDrops,
		hooks:     []hook{{name: "tp_btf/kfree_skb", programs: []attachment{tracing("kfree_skb")}}},
		constants: noise.constants(),
		refused:   refused,
	}
}
