//go:build ignore

/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
 *
 * Waits of sockets: how long data lay in a socket before its owner read it, and how long a sender waited for
 * room. Kept in the connection's state, counted beside the stages of its owner.
 *
 *   read    from when data comes while nothing is unread (times.bpf.c) until a reader takes some
 *           (tcp_rcv_space_adjust, of whatever kind the reader is: splice too). Beyond the rate of stages some of it is
 *           known only by the packet that a reader copies (read_late)
 *   write   a call that sleeps: in sk_stream_wait_memory. One that does not: from when it found no room until the
 *           next call that sends something begins. Without trampolines: one that sleeps, between two segments of a
 *           call (tcp_sendmsg_locked, from 6.16); one that does not, if it could send nothing at all.
 */
#include "waits.h"

SEC("tp_btf/tcp_rcv_space_adjust")
int BPF_PROG(wait_read, struct sock *sk)
{
	struct stage_cpu *cpu = this_cpu();
	wait_was_read(ctx, sk, conn_lookup(sk, true), cpu, stage_taken(cpu, sk, ASKING_WAITS));
	return 0;
}

/* A send that began found no room. */
static __always_inline void blocked(struct conn *conn, __u64 now)
{
	if (!conn->blocked_ns)
		conn->blocked_ns = now;
	else if (!conn->blocked_again_ns)
		conn->blocked_again_ns = now;
}

SEC("fentry/sk_stream_wait_memory")
int BPF_PROG(wait_memory_start, struct sock *sk)
{
	struct conn *conn = socket_is_tcp(sk, true) ? wait_sender_begins(sk) : NULL;
	if (conn)
		blocked(conn, bpf_ktime_get_ns());
	return 0;
}

/* 0: there is room now, and the call that waited for it goes on. */
SEC("fexit/sk_stream_wait_memory")
int BPF_PROG(wait_memory_end, struct sock *sk, long *timeout, int result)
{
	struct conn *conn = !result && socket_is_tcp(sk, true) ? conn_lookup(sk, true) : NULL;
	if (!conn)
		return 0;
	__u64 since = conn->blocked_again_ns ? conn->blocked_again_ns : conn->blocked_ns;
	if (conn->blocked_again_ns)
		conn->blocked_again_ns = 0;
	else
		conn->blocked_ns = 0;
	if (since)
		waited(ctx, sk, conn, SLOW_WRITE, since, bpf_ktime_get_ns(), next_written(sk, 0));
	return 0;
}

SEC("fentry/tcp_sendmsg_locked")
int BPF_PROG(wait_send_start, struct sock *sk)
{
	__u64 clock = 0;
	wait_send_started(sk, &clock);
	return 0;
}

SEC("fexit/tcp_sendmsg_locked")
int BPF_PROG(wait_send_end, struct sock *sk, struct msghdr *msg, size_t size, int result)
{
	wait_send_ended(ctx, sk, result);
	return 0;
}

SEC("tp_btf/tcp_sendmsg_locked")
int BPF_PROG(wait_offered_traced, struct sock *sk, struct msghdr *msg, struct sk_buff *tail, int size_goal)
{
	__u64 clock = 0;
	wait_offered(ctx, sk, msg, tail, size_goal, &clock);
	return 0;
}

SEC("tp_btf/sock_send_length")
int BPF_PROG(wait_send_length, struct sock *sk, int result)
{
	wait_sent(ctx, sk, result);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
