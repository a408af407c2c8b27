//go:build linux && (amd64 || arm64)

package probe

import (
	"slices"

	"github.com/ebpfnet/ebpfnetreceiver/bpf"
)

// waits are two capabilities: how long data waits for its reader, which begins in the program of
// times.received; and how long senders wait for room. traced: this kernel has the tracepoint tcp_sendmsg_locked.
func waits(traced bool) []capability {
	constants := map[string]any{"stage_shard_mask": stageShardMask()}
	writes := []hook{
		{
			name: "fexit/sk_stream_wait_memory+tcp_sendmsg_locked",
			programs: []attachment{
				tracing("wait_memory_start"), tracing("wait_memory_end"),
				tracing("wait_send_start"), tracing("wait_send_end"),
			},
		},
		{name: "tp_btf/sock_send_length", programs: []attachment{tracing("wait_send_length")}},
	}
	if traced { // from 6.16
		writes = slices.Insert(writes, 1, hook{
			name:     "tp_btf/tcp_sendmsg_locked+sock_send_length",
			programs: []attachment{tracing("wait_offered_traced"), tracing("wait_send_length")},
		})
	}
	return []capability{
		{
			name:      "waits.read",
			load:      bpf.LoadWaits,
			hooks:     []hook{{name: "tp_btf/tcp_rcv_space_adjust", programs: []attachment{tracing("wait_read")}}},
			constants: constants,
		},
		{
			name:      "waits.write",
			load:      bpf.LoadWaits,
			hooks:     writes,
			constants: constants,
		},
	}
}
