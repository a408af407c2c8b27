//go:build linux && (amd64 || arm64)

package probe

import "github.com/ebpfnet/ebpfnetreceiver/bpf"

// payload taps what applications send and receive. All hooks make the same records; bpf/payload.bpf.c
// says how they differ in what they can see.
func payload(captureBytes, ringBytes int, types kernelTypes) capability {
	fexit := []attachment{tracing("tcp_sendmsg_start"), tracing("tcp_sendmsg_exit"), tracing("tcp_recvmsg_exit")}
	tracepoints := []attachment{tracing("sock_send_length"), tracing("sock_recv_length")}
	if types.hasTracepoint("tcp_sendmsg_locked") { // from 6.16
		tracepoints = append(tracepoints, tracing("tcp_sendmsg_locked"))
	}
	kprobes := []attachment{
		kprobe("tcp_sendmsg_enter", "tcp_sendmsg_locked"),
		kretprobe("tcp_sendmsg_return", "tcp_sendmsg_locked"),
		kprobe("tcp_recvmsg_enter", "tcp_recvmsg"),
		kretprobe("tcp_recvmsg_return", "tcp_recvmsg"),
	}
	if types.arguments("do_tcp_sendpages") > 0 { // up to 6.4
		fexit = append(fexit, tracing("sendpages_exit"))
		kprobes = append(kprobes,
			kprobe("sendpages_enter", "do_tcp_sendpages"), kretprobe("sendpages_return", "do_tcp_sendpages"))
	}
	return capability{
		name: "payload",
		load: bpf.LoadPayload,
		hooks: []hook{
			{name: "fexit/tcp_sendmsg_locked+tcp_recvmsg", programs: fexit},
			{name: "tp_btf/sock_send_length+sock_recv_length", programs: tracepoints},
			{name: "kprobe/tcp_sendmsg_locked+tcp_recvmsg", programs: kprobes, byAddress: true},
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
			"payload_room":      uint64(ringBytes) * 3 / 4,
			"recvmsg_arguments": uint32(types.arguments("tcp_recvmsg")),
		},
	}
}
