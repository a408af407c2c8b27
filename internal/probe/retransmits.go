//go:build linux && (amd64 || arm64)

package probe

import "github.com/ebpfnet/ebpfnetreceiver/bpf"

// retransmits are two capabilities, as resets are.
func retransmits() []capability {
	return []capability{
		{
			name:  "retransmits",
			load:  bpf.LoadRetransmits,
			hooks: []hook{{name: "tp_btf/tcp_retransmit_skb", programs: []attachment{tracing("tcp_retransmit_skb")}}},
		},
		{
			name: "retransmits.syn_ack",
			load: bpf.LoadRetransmits,
			hooks: []hook{
				{name: "tp_btf/tcp_retransmit_synack", programs: []attachment{tracing("tcp_retransmit_synack")}},
			},
		},
	}
}
