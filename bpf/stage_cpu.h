/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
 *
 * What is under way on each CPU, where a stage begins and ends in the same stack of calls: see stages.bpf.c.
 */
#pragma once

#include "clock.h"
#include "exemplars.h"

/* A packet that is at the driver. It may be freed there, so whose it is has been read before. */
struct at_driver {
	struct sk_buff *skb;
	struct net_device *device;
	__u64 since_ns;
	__u64 qdisc_ns; /* ~0: not known */
	__u64 conn_id;	/* of a packet whose time in the queueing discipline is to be told of; else 0 */
	__u32 sequence; /* and its first byte */
	struct stage_key key;
};

/* A packet that is in netfilter's hooks, or was in some. It may be freed there. */
struct in_netfilter {
	struct sk_buff *skb;
	__u64 since_ns; /* 0: it is not in one now */
	__u64 total_ns; /* in all hooks of this direction so far; ~0: not known */
	struct stage_key key;
};

/* What is under way on a CPU: the last packet at each of these places. */
struct stage_cpu {
	struct sk_buff *received; /* given to the network stack */
	__u64 received_ns;
	struct sk_buff *queued; /* handed to its device */
	__u64 queued_ns;
	struct at_driver driver;
	struct in_netfilter netfilter[3]; /* by direction */
	/* The call that a kretprobe, which has no arguments, is the return of. */
	struct sk_buff *called_skb;
	__u64 called_task;
	__u32 called_direction;
	/* The address of a neighbor has become known, and what has waited for it is sent. */
	__u32 resolving;
	__u64 resolving_task;
	__u64 resolving_ns;
};

/* key: 0; value: of this CPU. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct stage_cpu);
} stage_cpus SEC(".maps");

#define UNKNOWN (~0ULL)

static __always_inline struct stage_cpu *this_cpu(void)
{
	__u32 zero = 0;
	return bpf_map_lookup_elem(&stage_cpus, &zero);
}

/* Tells of a packet that took long: with its connection, where it has a socket. What a reader or a sender waits for
 * is told by waits.bpf.c. */
static __always_inline void stage_slow(const struct stage_key *key, struct sock *sk, __u32 direction, __u32 stage,
				       __u64 ns, __u64 now)
{
	struct slow_event *record = slow_begin(SLOW_STAGE, ns, now);
	if (!record)
		return;
	record->direction = direction;
	record->stage = stage;
	record->owner.netns = key->netns;
	record->owner.cgroup_id = key->cgroup_id;
	if (socket_is_full(sk) && socket_is_tcp(sk, true)) {
		struct conn *conn = conn_lookup(sk, true);
		if (conn)
			slow_connection(record, conn, sk);
	}
	record->stack_depth = 0;
	record_submit(record, RECORD_SLOW);
}

/* What netfilter had of a packet's way so far, which is a stage of its own; ~0 where that is not known. The slot is
 * then free. Without the programs of netfilter it is nothing. */
static __always_inline __u64 netfilter_share(struct stage_cpu *cpu, struct sk_buff *skb, const __u32 direction)
{
	struct in_netfilter *netfilter = &cpu->netfilter[direction];
	if (netfilter->skb != skb)
		return 0;
	netfilter->skb = NULL;
	return netfilter->total_ns;
}
