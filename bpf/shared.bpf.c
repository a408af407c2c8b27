//go:build ignore

/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
 *
 * One program for each hook that several capabilities have in common, to be run instead of one of each: to come into a
 * program costs as much as a part of them does, and what one has found out the next need not ask again. The parts
 * are the handlers of the capabilities' own sources. The loader switches on those of the capabilities that the
 * kernel accepted; if it does not accept them together, each keeps its own program.
 */
#include "datagrams.h"
#include "payload.h"
#include "stage_receive.h"
#include "stage_transmit.h"
#include "times.h"
#include "waits.h"

/* Set by the loader: the capabilities whose part is in a program. */
volatile const __u32 with_payload = 0;
volatile const __u32 with_datagrams = 0;
volatile const __u32 with_times_received = 0;
volatile const __u32 with_times_sent = 0;
volatile const __u32 with_stages_receive = 0;
volatile const __u32 with_stages_transmit = 0;
volatile const __u32 with_stages_socket = 0;
volatile const __u32 with_waits_read = 0;
volatile const __u32 with_waits_write = 0;

/* How long a connection is not looked at again (looked_at), in LOOKED_UNITs. */
static __always_inline __u32 looked_enough(void)
{
	__u64 reads = noted_enough_ns(SLOW_READ), windows = noted_enough_ns(SLOW_WINDOW);
	__u64 enough = reads < windows ? reads : windows;
	return LOOKED_UNIT(enough < 1ULL << 40 ? enough : 1ULL << 40);
}

/* A segment that is not timed, not late, and comes soon after one whose connection was looked at. True: it is counted.
 */
static __always_inline bool segment_known(struct stage_cpu *cpu, struct sock *sk, struct sk_buff *skb)
{
	__u64 stamp = skb->tstamp;
	__u32 when;
	if (!stage_spent(cpu) || !is_looked(sk, &when) || LOOKED_UNIT(stamp) - when >= looked_enough() ||
	    cpu->turn[DIRECTION_RECEIVE] == TIMED(skb) || cpu->latest_stamp - stamp >= stage_late(SLOW_STAGE))
		return false;
	cpu->turn[DIRECTION_RECEIVE] = NULL;
	netfilter_share(cpu, skb, DIRECTION_RECEIVE);
	stage_untimed(&cpu->untimed.received);
	return true;
}

static __noinline int segment_came(struct stage_cpu *cpu, struct sock *sk, struct sk_buff *skb)
{
	__u64 clock = 0;
	struct conn *conn = conn_lookup(sk, true);
	reader_looks(sk, true);
	bool timed = !with_stages_receive || stage_segment(cpu, sk, skb, conn, &clock);
	if (!with_times_received || !conn || !segment_arrived(sk, skb, conn, &clock, timed) || !stage_allowance ||
	    !skb->tstamp)
		return 0;
	__u64 since = conn->queued_ns < conn->heard_ns ? conn->queued_ns : conn->heard_ns;
	looked_now(sk, LOOKED_UNIT(skb->tstamp - (clock - since)), reader_is_done(cpu, sk, conn));
	return 0;
}

SEC("tp_btf/tcp_probe")
int BPF_PROG(on_tcp_probe, struct sock *sk, struct sk_buff *skb)
{
	struct stage_cpu *cpu = this_cpu();
	if (!with_stages_receive || !with_times_received || unlikely(!segment_known(cpu, sk, skb)))
		segment_came(cpu, sk, skb);
	return 0;
}

static __noinline int was_read(void *ctx, struct sock *sk, struct stage_cpu *cpu)
{
	struct conn *conn = conn_lookup(sk, true);
	enum taken taken = stage_taken(cpu, sk, ASKING_STAGES);
	bool spliced = conn && conn->spliced;
	if (with_stages_receive)
		stage_was_read(cpu, sk, conn, taken);
	if (with_stages_receive && conn && conn->unread == UNREAD_UNTIMED && noted_was_read(sk, conn, taken, spliced))
		conn->unread = 0;
	if (with_waits_read)
		wait_was_read(ctx, sk, conn, cpu, taken);
	if (with_stages_receive && with_waits_read && conn && reader_is_done(cpu, sk, conn))
		reader_knows(sk);
	else
		reader_looks(sk, true);
	return 0;
}

SEC("tp_btf/tcp_rcv_space_adjust")
int BPF_PROG(on_space_adjust, struct sock *sk)
{
	struct stage_cpu *cpu = this_cpu();
	if (!with_stages_receive || !with_waits_read || unlikely(!read_untimed(cpu, sk)))
		was_read(ctx, sk, cpu);
	return 0;
}

SEC("tp_btf/net_dev_start_xmit")
int BPF_PROG(on_start_xmit, struct sk_buff *skb, struct net_device *device)
{
	__u64 clock = 0;
	if (with_stages_transmit)
		stage_to_driver(skb, device, &clock);
	if (with_times_sent)
		segment_departed(skb, &clock);
	return 0;
}

static __noinline int was_offered(unsigned long long *ctx)
{
	struct sock *sk = (void *)ctx[0];
	struct msghdr *msg = (void *)ctx[1];
	__u64 clock = 0;
	if (with_waits_write)
		wait_offered(ctx, sk, msg, (void *)ctx[2], ctx[3], &clock);
	if (with_payload)
		send_started(sk, false, &clock, true);
	if (with_stages_socket)
		offered(sk, true, true, !(msg->msg_flags & MSG_DONTWAIT), &clock);
	return 0;
}

SEC("tp_btf/tcp_sendmsg_locked")
int BPF_PROG(on_sendmsg, struct sock *sk)
{
	if (with_payload || !with_stages_socket || !with_waits_write || send_is_full(sk) || !offered_untimed(sk))
		was_offered(ctx);
	return 0;
}

SEC("fentry/tcp_sendmsg_locked")
int BPF_PROG(on_sendmsg_entry, struct sock *sk)
{
	__u64 clock = 0;
	if (with_waits_write)
		wait_send_started(sk, &clock);
	if (with_payload)
		send_started(sk, true, &clock, true);
	if (with_stages_socket)
		offered(sk, true, false, false, &clock);
	return 0;
}

SEC("fexit/tcp_sendmsg_locked")
int BPF_PROG(on_sendmsg_exit, struct sock *sk, struct msghdr *msg, size_t size, int result)
{
	if (with_waits_write)
		wait_send_ended(ctx, sk, result);
	if (with_payload)
		payload_message(sk, msg, SEND, 0, result, true);
	return 0;
}

/* A function, for its variables and those of the payload's part do not fit on one stack. */
static __noinline int datagram_moved(struct sock *sk, int direction, int flags, int result)
{
	return direction == SEND ? datagram_call(sk, SEND, 0, result) : datagram_call(sk, RECEIVE, flags, result);
}

SEC("tp_btf/sock_send_length")
int BPF_PROG(on_send_length, struct sock *sk, int result)
{
	if (!socket_is_tcp(sk, true)) {
		if (with_datagrams && datagram_wanted(sk))
			datagram_moved(sk, SEND, 0, result);
		return 0;
	}
	if (with_waits_write)
		wait_sent(ctx, sk, result);
	if (with_payload)
		payload_call(sk, SEND, 0, result);
	return 0;
}

SEC("tp_btf/sock_recv_length")
int BPF_PROG(on_recv_length, struct sock *sk, int result, int flags)
{
	if (!socket_is_tcp(sk, true)) {
		if (with_datagrams && datagram_wanted(sk))
			datagram_moved(sk, RECEIVE, flags, result);
		return 0;
	}
	if (with_payload)
		payload_call(sk, RECEIVE, flags, result);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
