//go:build linux && (amd64 || arm64)

package probe

import "github.com/ebpfnet/ebpfnetreceiver/bpf"

// drops reports packets that the kernel gave up.
func drops(noise noise) capability {
	return capability{
		name:      "drops",
		load:      bpf.LoadDrops,
		hooks:     []hook{{name: "tp_btf/kfree_skb", programs: []attachment{tracing("kfree_skb")}}},
		constants: noise.constants(),
	}
}
