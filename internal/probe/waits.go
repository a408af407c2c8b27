//go:build linux && (amd64 || arm64)

package probe

import "github.com/ebpfnet/ebpfnetreceiver/bpf"

// waits are two capabilities: how long data waits for its reader, which begins in the program of
// times.received; and how long senders wait for room.
func waits() []capability {
	constants := map[string]any{"stage_shard_mask": stageShardMask()}
	return []capability{
		{
			name:      "waits.read",
			load:      bpf.LoadWaits,
			hooks:     []hook{{name: "tp_btf/tcp_rcv_space_adjust", programs: []attachment{tracing("wait_read")}}},
			constants: constants,
		},
		{
			name: "waits.write",
			load: bpf.LoadWaits,
			hooks: []hook{
				{
					name: "fexit/sk_stream_wait_memory+tcp_sendmsg_locked",
					programs: []attachment{
						tracing("wait_memory_start"), tracing("wait_memory_end"),
						tracing("wait_send_start"), tracing("wait_send_end"),
					},
				},
				{name: "tp_btf/sock_send_length", programs: []attachment{tracing("wait_send_length")}},
			},
			constants: constants,
		},
	}
}
