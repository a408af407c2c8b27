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

/* For what else wants to know the time, that of its arrival will do, if that can be: it takes no clock. */
static __always_inline void segment_untimed(struct stage_cpu *cpu, struct sock *sk, struct sk_buff *skb, __u64 *clock)
{
	struct stage_key key = {};
	__u32 zero = 0;
	__u64 *offset = bpf_map_lookup_elem(&stage_clock, &zero);
	netfilter_share(cpu, skb, DIRECTION_RECEIVE);
	stage_untimed(&cpu->untimed.received);
	if (!offset || !*offset || !skb->tstamp)
		return;
	__u64 arrived = skb->tstamp - *offset;
	if (cpu->latest_ns - arrived < 2 * stage_window_ns)
		*clock = arrived;
	if (!stage_may_be_slow(cpu, SLOW_STAGE, arrived))
		return;
	stage_owner_of_socket(&key, sk);
	stage_slow_untimed(&key, sk, skb, DIRECTION_RECEIVE, STAGE_NIC_TO_TCP, arrived);
}

/* Segments of established connections, before TCP looks at them. False: it is beyond the rate. */
static __always_inline bool stage_segment(struct sock *sk, struct sk_buff *skb, __u64 *clock)
{
	struct stage_key key = {};
	struct stage_cpu *cpu = this_cpu();
	if (!cpu || !stage_socket_in_scope(sk, true))
		return true;
	if (!stage_timed_last(cpu, DIRECTION_RECEIVE, skb)) {
		segment_untimed(cpu, sk, skb, clock);
		return false;
	}
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
	return true;
}
