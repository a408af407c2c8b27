/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
 *
 * What drops, resets and retransmits have in common: each is counted by owner and reason, exactly; then,
 * as far as the token bucket lets it, reported with its packet, connection and kernel stack.
 */
#pragma once

#include "conn.h"
#include "limit.h"

/* A struct packet_event but for its stack. */
struct packet_facts {
	PACKET_FIELDS
};

/* Set by the loader: take the kernel stack of reported events of a kind. */
volatile const __u32 stack_enabled[RECORD_KIND_MAX] = {};

/* key: owner, kind, direction, reason (or location); value: packets since the start. Deleted by user space
 * when it has not changed for long. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__type(key, struct count_key);
	__type(value, __u64);
} counts SEC(".maps");

static __always_inline void count_event(const struct packet_facts *event, __u32 kind, __u32 packets)
{
	struct count_key key = {
		.owner = event->owner,
		.reason = event->reason,
		.kind = kind,
		.direction = event->direction,
		.has_reason = event->has_reason,
	};
	if (!event->has_reason)
		key.location = event->location;
	__u64 *value = bpf_map_lookup_elem(&counts, &key);
	if (!value) {
		__u64 zero = 0;
		bpf_map_update_elem(&counts, &key, &zero, BPF_NOEXIST);
		value = bpf_map_lookup_elem(&counts, &key);
	}
	if (value)
		__sync_fetch_and_add(value, packets);
	else
		stat_add(STAT_COUNTS_FULL);
}

/* The part of an event that a socket tells. False: not in scope. A connection's state is looked up first:
 * where there is one, it is in scope and its owner may name a process. */
static __always_inline bool event_from_socket(struct packet_facts *event, struct sock *sk, struct conn *conn,
					      const bool typed)
{
	event->tcp_state = READ(typed, sk, __sk_common.skc_state);
	if (conn) {
		event->conn_id = conn->id;
		event->owner = conn->owner;
		__builtin_memcpy(event->comm, conn->comm, sizeof(event->comm));
		return true;
	}
	if (!state_is_full(event->tcp_state)) {
		event->owner.netns = socket_netns(sk, typed);
		return netns_in_scope(event->owner.netns) && !scope_cgroup_count;
	}
	return socket_owner(&event->owner, sk, typed);
}

/* Counts the event and reports a copy of it. It may stand for several packets. */
static __always_inline void event_send_packets(void *ctx, struct packet_facts *event, __u32 kind, __u32 packets)
{
	count_event(event, kind, packets);
	stat_kind(kind, STAT_SEEN);
	__u64 now = bpf_ktime_get_ns();
	if (!limit_pass(kind, now))
		return;
	struct packet_event *record = record_reserve(kind, sizeof(*record));
	if (!record)
		return;
	__builtin_memcpy(record, event, __builtin_offsetof(struct packet_event, stack));
	record_header(&record->header, kind, now);
	long bytes = 0;
	if (stack_enabled[kind])
		bytes = bpf_get_stack(ctx, record->stack, sizeof(record->stack), 0);
	record->stack_depth = bytes > 0 ? bytes / sizeof(__u64) : 0;
	record_submit(record, kind);
}

static __always_inline void event_send(void *ctx, struct packet_facts *event, __u32 kind)
{
	event_send_packets(ctx, event, kind, 1);
}
