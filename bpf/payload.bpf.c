//go:build ignore

/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
 *
 * Payload: the first bytes of what applications send and receive on TCP connections that speak HTTP.
 * One record per call that moved data, several where more than MAX_CAPTURE bytes of it are wanted, with the TCP
 * sequence number of its first byte: both ends of a connection see the same number for the same byte.
 *
 * Bytes are copied up to capture_bytes of each burst, that is until the direction changes or a call begins
 * like a message; what follows (the rest of a body) is recorded by length alone. Of HTTP/2, up to MAX_RECORDS of
 * MAX_CAPTURE of each call: many small frames are sent in one, and losing sight of one's header is losing all that
 * follow. A connection whose first bytes are not HTTP's stops costing more than the lookup of its state.
 *
 * Four taps make the same records, in the order of preference:
 *
 *   fexit        tcp_sendmsg_locked, tcp_recvmsg: the kernel's own description of the buffer
 *   tracepoint   sock_send_length, sock_recv_length (from 6.3): buffer from the system call's arguments
 *   kprobe       as fexit, for kernels without trampolines
 *   syscall      sys_exit: socket from the file descriptor, for kernels with none of these
 *
 * A record is made when the call has returned: the sequence number of its first byte is the socket's
 * position now, less what was moved. With fexit the socket is still locked by the sender. With the others
 * a second thread that writes to the same socket at the same moment can shift it; the reader sees a gap.
 *
 * A record's time is that of the return for what was received, and of the call for what was sent, where a
 * hook at its start tells it (all but sys_exit, and the tracepoint before 6.16): else the peer may have
 * answered before the request, by its time, was sent.
 */
#include "payload.h"

/* Of tcp_recvmsg: (sk, msg, len, nonblock, flags, addr_len) up to 5.18, then without nonblock; from 7.1
 * without addr_len too. Set by the loader. */
volatile const __u32 recvmsg_arguments = 5;

SEC("fentry/tcp_sendmsg_locked")
int BPF_PROG(tcp_sendmsg_start, struct sock *sk)
{
	__u64 clock = 0;
	send_started(sk, true, &clock, true);
	return 0;
}

SEC("fexit/tcp_sendmsg_locked")
int BPF_PROG(tcp_sendmsg_exit, struct sock *sk, struct msghdr *msg, size_t size, int result)
{
	payload_message(sk, msg, SEND, 0, result, true);
	return 0;
}

SEC("fexit/tcp_recvmsg")
int tcp_recvmsg_exit(__u64 *ctx)
{
	int flags, result;
	/* The barriers keep the compiler from choosing an offset at run time, which the verifier refuses. */
	if (recvmsg_arguments == 6) {
		/* Of an int only the lower half is written where trampolines are young (5.10). */
		flags = ctx[4] | ((__u32)ctx[3] ? MSG_DONTWAIT : 0);
		result = ctx[6];
		barrier_var(result);
	} else if (recvmsg_arguments == 5) {
		flags = ctx[3];
		result = ctx[5];
		barrier_var(result);
	} else {
		flags = ctx[3];
		result = ctx[4];
		barrier_var(result);
	}
	barrier_var(flags);
	payload_message((struct sock *)ctx[0], (struct msghdr *)ctx[1], RECEIVE, flags, result, true);
	return 0;
}

/* sendfile and splice, up to 6.4; later they come through tcp_sendmsg_locked. The bytes are in no process's
 * memory. */
static __always_inline void pages(struct sock *sk, long result, const bool typed)
{
	if (result <= 0)
		return;
	struct conn *conn = tap_conn(sk, typed);
	if (!conn)
		return;
	struct buffer buffer = {};
	payload(conn, sk, SEND, result, &buffer, typed);
}

struct page;

SEC("fexit/do_tcp_sendpages")
int BPF_PROG(sendpages_exit, struct sock *sk, struct page *page, int offset, size_t size, int flags, ssize_t result)
{
	pages(sk, result, true);
	return 0;
}

SEC("tp_btf/tcp_sendmsg_locked")
int BPF_PROG(tcp_sendmsg_locked, struct sock *sk)
{
	__u64 clock = 0;
	send_started(sk, false, &clock, true);
	return 0;
}

SEC("tp_btf/sock_send_length")
int BPF_PROG(sock_send_length, struct sock *sk, int result, int flags)
{
	payload_call(sk, SEND, 0, result);
	return 0;
}

SEC("tp_btf/sock_recv_length")
int BPF_PROG(sock_recv_length, struct sock *sk, int result, int flags)
{
	payload_call(sk, RECEIVE, flags, result);
	return 0;
}

/* kprobe: the arguments are gone when the function returns. */
struct pending_call {
	struct sock *sk;
	struct msghdr *msg;
	__u32 flags;
	__u32 pad;
};

/* key: thread, direction in the lowest bit of the upper half; value: the call it is in. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, __u64);
	__type(value, struct pending_call);
} pending_calls SEC(".maps");

static __always_inline __u64 pending_key(int direction)
{
	return (bpf_get_current_pid_tgid() & 0xffffffff) | (__u64)direction << 32;
}

static __always_inline void call_started(struct sock *sk, struct msghdr *msg, __u32 flags, int direction)
{
	if (!netns_in_scope(socket_netns(sk, false)))
		return;
	struct pending_call call = {.sk = sk, .msg = msg, .flags = flags};
	__u64 key = pending_key(direction);
	/* The kernel keeps track of so many returns at a time and forgets those beyond (kretprobe's maxactive). */
	if (bpf_map_update_elem(&pending_calls, &key, &call, BPF_NOEXIST)) {
		bpf_map_update_elem(&pending_calls, &key, &call, BPF_ANY);
		stat_kind(RECORD_PAYLOAD, STAT_SEEN);
		stat_kind(RECORD_PAYLOAD, STAT_LOST);
	}
}

static __always_inline void call_returned(int direction, long result)
{
	__u64 key = pending_key(direction);
	struct pending_call *call = bpf_map_lookup_elem(&pending_calls, &key);
	if (!call)
		return;
	payload_message(call->sk, call->msg, direction, call->flags, result, false);
	bpf_map_delete_elem(&pending_calls, &key);
}

SEC("kprobe/tcp_sendmsg_locked")
int tcp_sendmsg_enter(struct pt_regs *regs)
{
	struct sock *sk = (struct sock *)PT_REGS_PARM1_CORE(regs);
	__u64 clock = 0;
	call_started(sk, (struct msghdr *)PT_REGS_PARM2_CORE(regs), 0, SEND);
	send_started(sk, true, &clock, false);
	return 0;
}

SEC("kretprobe/tcp_sendmsg_locked")
int tcp_sendmsg_return(struct pt_regs *regs)
{
	call_returned(SEND, (int)PT_REGS_RC_CORE(regs));
	return 0;
}

SEC("kprobe/do_tcp_sendpages")
int sendpages_enter(struct pt_regs *regs)
{
	call_started((struct sock *)PT_REGS_PARM1_CORE(regs), NULL, 0, SEND);
	return 0;
}

SEC("kretprobe/do_tcp_sendpages")
int sendpages_return(struct pt_regs *regs)
{
	__u64 key = pending_key(SEND);
	struct pending_call *call = bpf_map_lookup_elem(&pending_calls, &key);
	if (!call)
		return 0;
	pages(call->sk, (long)PT_REGS_RC_CORE(regs), false);
	bpf_map_delete_elem(&pending_calls, &key);
	return 0;
}

SEC("kprobe/tcp_recvmsg")
int tcp_recvmsg_enter(struct pt_regs *regs)
{
	__u32 flags = recvmsg_arguments == 6 ? PT_REGS_PARM5_CORE(regs) : PT_REGS_PARM4_CORE(regs);
	if (recvmsg_arguments == 6 && (__u32)PT_REGS_PARM4_CORE(regs))
		flags |= MSG_DONTWAIT;
	call_started((struct sock *)PT_REGS_PARM1_CORE(regs), (struct msghdr *)PT_REGS_PARM2_CORE(regs), flags,
		     RECEIVE);
	return 0;
}

SEC("kretprobe/tcp_recvmsg")
int tcp_recvmsg_return(struct pt_regs *regs)
{
	call_returned(RECEIVE, (int)PT_REGS_RC_CORE(regs));
	return 0;
}

/* System call: the socket is behind the file descriptor, if it is still open. */
static __always_inline void system_call(struct syscall *call, int direction, long result)
{
	if (call->flags & (MSG_PEEK | MSG_ERRQUEUE))
		return;
	struct sock *sk = descriptor_socket(call->fd);
	struct conn *conn = sk ? tap_conn(sk, false) : NULL;
	if (!conn)
		return;
	struct buffer buffer = {};
	if (direction == RECEIVE && !descriptor_nonblocking(call->fd))
		buffer.waits = receive_waits(direction, call->flags);
	if (!(direction == RECEIVE && call->flags & MSG_TRUNC))
		buffer_from_syscall(&buffer, call, result);
	payload(conn, sk, direction, result, &buffer, false);
}

SEC("raw_tp/sys_exit")
int sys_exit_send(struct bpf_raw_tracepoint_args *ctx)
{
	struct syscall call;
	long result = ctx->args[1];
	if (result > 0 && syscall_decode(&call, (struct pt_regs *)ctx->args[0], SEND, false))
		system_call(&call, SEND, result);
	return 0;
}

SEC("raw_tp/sys_exit")
int sys_exit_receive(struct bpf_raw_tracepoint_args *ctx)
{
	struct syscall call;
	long result = ctx->args[1];
	if (result > 0 && syscall_decode(&call, (struct pt_regs *)ctx->args[0], RECEIVE, false))
		system_call(&call, RECEIVE, result);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
