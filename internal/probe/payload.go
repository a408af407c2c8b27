//go:build linux && (amd64 || arm64)

package probe

import "github.com/ebpfnet/ebpfnetreceiver/bpf"

// payload taps what applications send and receive. All hooks make the same records; bpf/payload.bpf.c
// says how they differ in what they can see.
func payload(captureBytes, recvmsgArguments int) capability {
	return capability{
		name: "payload",
		load: bpf.LoadPayload,
		hooks: []hook{
			{
				name:     "fexit/tcp_sendmsg_locked+tcp_recvmsg",
				programs: []attachment{tracing("tcp_sendmsg_exit"), tracing("tcp_recvmsg_exit")},
			},
			{
				name:     "tp_btf/sock_send_length+sock_recv_length",
				programs: []attachment{tracing("sock_send_length"), tracing("sock_recv_length")},
			},
			{
				name: "kprobe/tcp_sendmsg_locked+tcp_recvmsg",
				programs: []attachment{
					kprobe("tcp_sendmsg_enter", "tcp_sendmsg_locked"),
					kretprobe("tcp_sendmsg_return", "tcp_sendmsg_locked"),
					kprobe("tcp_recvmsg_enter", "tcp_recvmsg"),
					kretprobe("tcp_recvmsg_return", "tcp_recvmsg"),
				},
				byAddress: true,
			},
			{
				name: "raw_tp/sys_exit",
				programs: []attachment{
					rawTracepoint("sys_exit_send", "sys_exit"),
					rawTracepoint("sys_exit_receive", "sys_exit"),
				},
				byAddress: true,
			},
		},
		constants: map[string]any{
			"capture_bytes":     uint32(captureBytes),
			"recvmsg_arguments": uint32(recvmsgArguments),
		},
	}
}
