/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
 *
 * The stages of a segment that comes to TCP: see stages.bpf.c.
 */
#pragma once

#include "stage_cpu.h"

/* How long ago a packet arrived: huge where its stamp is in the future, 0 and counted where there is none. */
static __always_inline __u64 since_arrival(struct sk_buff *skb, __u64 now, const __u32 stage)
{
	__u32 zero = 0;
	__u64 stamp = skb->tstamp;
	__u64 *offset = bpf_map_lookup_elem(&stage_clock, &zero);
	if (!stamp || !offset) {
		stage_lost(DIRECTION_RECEIVE, stage, STAGE_NO_STAMP);
		return UNKNOWN;
	}
	return now + *offset - stamp;
}

/* Since the network stack's entry, if the packet has come from there to TCP in one go; else 0. Where an application
 * holds the socket, the packet waits in its backlog before TCP looks at it. */
static __always_inline __u64 since_received(struct stage_cpu *cpu, struct sock *sk, struct sk_buff *skb, __u64 now)
{
	if (cpu->received != skb || sk->sk_lock.owned)
		return 0;
	cpu->received = NULL;
	return now - cpu->received_ns;
}

/* It may have come late to TCP. A function, as most have not. */
static __noinline int segment_late(struct sock *sk, struct sk_buff *skb, __u64 arrived)
{
	struct stage_key key = {};
	__u64 now = bpf_ktime_get_ns();
	stage_owner_of_socket(&key, sk);
	if ((__s64)(now - arrived) > 0)
		stage_slow(&key, sk, skb, DIRECTION_RECEIVE, STAGE_NIC_TO_TCP, now - arrived, now);
	return 0;
}

/* For what else wants to know the time, that of its arrival will do, if that can be: it takes no clock. */
static __always_inline void segment_untimed(struct stage_cpu *cpu, struct sock *sk, struct sk_buff *skb, __u64 *clock)
{
	__u32 zero = 0;
	__u64 *offset = bpf_map_lookup_elem(&stage_clock, &zero);
	netfilter_share(cpu, skb, DIRECTION_RECEIVE);
	stage_untimed(&cpu->untimed.received);
	if (!offset || !*offset || !skb->tstamp)
		return;
	__u64 arrived = skb->tstamp - *offset;
	if (cpu->latest_ns - arrived < 2 * stage_window_ns)
		*clock = arrived;
	if (stage_may_be_slow(cpu, SLOW_STAGE, arrived))
		segment_late(sk, skb, arrived);
}

/* A function: beyond the rate most are not timed, and need no room on the stack. */
static __noinline int segment_timed(struct stage_cpu *cpu, struct sock *sk, struct sk_buff *skb, __u64 *clock)
{
	struct stage_key key = {};
	stage_owner_of_socket(&key, sk);
	__u64 now = clock_now(clock);
	struct stage_block *block = stage_block(&key, DIRECTION_RECEIVE);
	__u64 received = since_received(cpu, sk, skb, now);
	__u64 arrived = since_arrival(skb, now, STAGE_NIC_TO_TCP);
	/* From 5.18 on a segment that was sent on this host is stamped only when IP delivers it. */
	if (arrived != UNKNOWN) {
		arrived = arrived > received ? arrived : received;
		stage_add_packet(block, &key, DIRECTION_RECEIVE, STAGE_NIC_TO_TCP, sk, skb, arrived, now);
		if ((__s64)arrived > 0)
			stage_slow(&key, sk, skb, DIRECTION_RECEIVE, STAGE_NIC_TO_TCP, arrived, now);
	}
	__u64 netfilter = netfilter_share(cpu, skb, DIRECTION_RECEIVE);
	if (received && netfilter != UNKNOWN) {
		received -= netfilter;
		stage_add_packet(block, &key, DIRECTION_RECEIVE, STAGE_IP, sk, skb, received, now);
		if ((__s64)received > 0)
			stage_slow(&key, sk, skb, DIRECTION_RECEIVE, STAGE_IP, received, now);
	} else {
		stage_lost(DIRECTION_RECEIVE, STAGE_IP, STAGE_INTERRUPTED);
	}
	return 0;
}

/* Segments of established connections, before TCP looks at them. `conn`: of this socket, NULL where that is not known.
 * False: it is beyond the rate. */
static __always_inline bool stage_segment(struct stage_cpu *cpu, struct sock *sk, struct sk_buff *skb,
					  struct conn *conn, __u64 *clock)
{
	if (!conn && !stage_socket_in_scope(sk, true))
		return true;
	if (!stage_timed_last(cpu, DIRECTION_RECEIVE, skb)) {
		segment_untimed(cpu, sk, skb, clock);
		return false;
	}
	segment_timed(cpu, sk, skb, clock);
	return true;
}

/* A reader begins to take bytes of a packet. Those of TCP know their socket. A function, as most are not timed. */
static __noinline int stage_copied(struct stage_cpu *cpu, struct sk_buff *skb)
{
	struct stage_key key = {};
	struct sock *sk = skb->sk;
	if (!socket_is_full(sk) || !socket_is_tcp(sk, true) || !stage_socket_in_scope(sk, true) || !stage_allowed(cpu))
		return 0;
	cpu->copied[ASKING_STAGES] = TIMED(skb);
	cpu->copied[ASKING_WAITS] = TIMED(skb);
	stage_owner_of_socket(&key, sk);
	__u64 now = bpf_ktime_get_ns();
	__u64 since = since_arrival(skb, now, STAGE_TCP_TO_APP);
	if (since == UNKNOWN)
		return 0;
	struct stage_block *block = stage_block(&key, DIRECTION_RECEIVE);
	stage_add_packet(block, &key, DIRECTION_RECEIVE, STAGE_TCP_TO_APP, sk, skb, since, now);
	return 0;
}

/* What a reader of TCP has just done. */
enum taken {
	TAKEN_UNCOPIED, /* it has spliced, or took nothing */
	TAKEN_COPIED,
	TAKEN_TIMED, /* copied, and counted */
	TAKEN_LOST,  /* copied, and counted or not: its thread has lost the CPU meanwhile. Or it begins to splice. */
};

/* Of what somebody takes he who copies has a part, or all, of the first packet in the queue; who splices may have, too.
 */
static __noinline int stage_took_first(struct sock *sk)
{
	struct conn *conn = conn_lookup(sk, true);
	struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);
	struct sk_buff *first = sk->sk_receive_queue.next;
	if (!tp || (conn && conn->spliced > 1) ||
	    (void *)first == __builtin_preserve_access_index((void *)&sk->sk_receive_queue))
		return false;
	struct tcp_skb_cb *cb = (struct tcp_skb_cb *)__builtin_preserve_access_index(&first->cb[0]);
	__u32 sequence = cb->seq;
	return tp->copied_seq - sequence - 1 < cb->end_seq - sequence;
}

/* What is copied from is in its queue until this is over: at first place, unless it is only peeked at. */
static __always_inline enum taken stage_taken(struct stage_cpu *cpu, struct sock *sk, const enum asking asking)
{
	__u64 copy = (__u64)cpu->copied[asking];
	struct sk_buff *copied = (void *)(copy & ~1ULL);
	if (!copied || (copied != sk->sk_receive_queue.next && BPF_CORE_READ(copied, sk) != sk))
		return stage_allowance && stage_took_first(sk) ? TAKEN_LOST : TAKEN_UNCOPIED;
	cpu->copied[asking] = NULL;
	return copy & 1 ? TAKEN_TIMED : TAKEN_COPIED;
}

/* `conn`: of this socket, NULL where it has none. */
static __always_inline void stage_was_read(struct stage_cpu *cpu, struct sock *sk, struct conn *conn, enum taken taken)
{
	if (!stage_allowance || (!conn && !stage_socket_in_scope(sk, true)))
		return;
	bool copied = taken == TAKEN_COPIED || taken == TAKEN_TIMED;
	if (conn && !copied && conn->spliced != 15) {
		if (!conn->spliced)
			look_again(sk);
		conn->spliced = 15;
	} else if (conn && copied && conn->spliced) {
		conn->spliced--;
	}
	if (taken == TAKEN_COPIED)
		stage_untimed(&cpu->untimed.read);
	else if (taken == TAKEN_LOST)
		stage_lost(DIRECTION_RECEIVE, STAGE_TCP_TO_APP, STAGE_INTERRUPTED);
}
