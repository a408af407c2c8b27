//go:build linux && (amd64 || arm64)

package probe

import "github.com/ebpfnet/ebpfnetreceiver/bpf"

// resets are two capabilities: a kernel that has one tracepoint without the other still serves the half.
func resets() []capability {
	return []capability{
		{
			name:  "resets.sent",
			load:  bpf.LoadResets,
			hooks: []hook{{name: "tp_btf/tcp_send_reset", programs: []attachment{tracing("tcp_send_reset")}}},
		},
		{
			name:  "resets.received",
			load:  bpf.LoadResets,
			hooks: []hook{{name: "tp_btf/tcp_receive_reset", programs: []attachment{tracing("tcp_receive_reset")}}},
		},
	}
}
