/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
 *
 * Exemplars: of the times of stages that are counted, the longest are told one by one with their connections, of which
 * user space knows the calls.
 */
#pragma once

#include "slow.h"
#include "stages.h"

/* Set by the loader: how long a time that was told of keeps shorter ones from being told; 0: none is told. */
volatile const __u64 stage_told_ns = 0;

/* The same for one that was not told of, because its connection carries no calls. */
#define STAGE_UNTOLD_NS 1000000

/* What a packet waited for less than this in a queueing discipline is not told. */
#define STAGE_TOLD_QDISC_NS 1000000

/* The beginning of a TCP header. */
struct segment_header {
	__be16 source;
	__be16 destination;
	__be32 sequence;
	__be32 acknowledgment;
	__u8 words; /* its length, in the high half */
};

struct stage_time {
	__u64 now;
	__u64 ns;
	__u32 stage;
	__u32 sequence;
	__u64 conn_id;
};

/* Is it the longest of late? */
static __always_inline bool stage_tells(struct stage_block *block, const __u32 stage, __u64 ns, __u64 now)
{
	return stage_told_ns && block && (ns > block->told[stage].ns || now > block->told[stage].until_ns);
}

static __noinline void stage_submit(const struct stage_key *key, const struct stage_time *time)
{
	stat_kind(RECORD_STAGE, STAT_SEEN);
	if (!limit_pass(RECORD_STAGE, time->now))
		return;
	struct stage_record *record = record_reserve(RECORD_STAGE, sizeof(*record));
	if (!record)
		return;
	record_header(&record->header, RECORD_STAGE, time->now);
	record->key = *key;
	record->conn_id = time->conn_id;
	record->duration_ns = time->ns;
	record->sequence = time->sequence;
	record->stage = time->stage;
	__builtin_memset(record->pad, 0, sizeof(record->pad));
	record_submit(record, RECORD_STAGE);
}

/* Reads the TCP header of a packet that this socket sends, and tells how many bytes it carries: none where the header
 * that is there is another one's, as inside a tunnel. */
static __always_inline __u32 segment_payload(struct segment_header *header, struct sk_buff *skb, struct sock *sk)
{
	unsigned char *at = skb->head + skb->transport_header;
	if (bpf_probe_read_kernel(header, sizeof(*header), at) || header->source != bpf_htons(sk->__sk_common.skc_num))
		return 0;
	__u32 headers = (__u32)(at - skb->data) + (header->words >> 4) * 4;
	return skb->len > headers ? skb->len - headers : 0;
}

/* The place of a packet's first byte in its connection's stream. False: it carries none. */
static __noinline bool stage_sequence(__u32 direction, struct sock *sk, struct sk_buff *skb, struct stage_time *time)
{
	if (direction == DIRECTION_RECEIVE) {
		struct tcp_skb_cb *cb = (struct tcp_skb_cb *)__builtin_preserve_access_index(&skb->cb[0]);
		time->sequence = BPF_CORE_READ(cb, seq);
		return BPF_CORE_READ(cb, end_seq) != time->sequence;
	}
	struct segment_header header;
	if (!segment_payload(&header, skb, sk))
		return false;
	time->sequence = bpf_ntohl(header.sequence);
	return true;
}

/* Finds the connection and the place in its stream. False: it carries no calls, or the packet none of their bytes. */
static __noinline bool stage_place(struct stage_told *told, __u32 direction, struct sock *sk, struct sk_buff *skb,
				   struct stage_time *time)
{
	if (!stage_sequence(direction, sk, skb, time))
		return false;
	struct conn *conn = conn_lookup(sk, true);
	bool calls = conn && conn->l7 != L7_OTHER && conn->l7 != L7_DNS;
	told->ns = time->ns;
	told->until_ns = time->now + (calls ? stage_told_ns : STAGE_UNTOLD_NS);
	if (!calls)
		return false;
	time->conn_id = conn->id;
	return true;
}

/* Counts a packet's time, and tells of it where it is among the longest. */
static __always_inline void stage_add_packet(struct stage_block *block, const struct stage_key *key,
					     const __u32 direction, const __u32 stage, struct sock *sk,
					     struct sk_buff *skb, __u64 ns, __u64 now)
{
	stage_add(block, direction, stage, ns);
	if ((__s64)ns < 0 || !stage_tells(block, stage, ns, now))
		return;
	struct stage_time time = {.now = now, .ns = ns, .stage = stage};
	if (stage_place(&block->told[stage], direction, sk, skb, &time))
		stage_submit(key, &time);
}
