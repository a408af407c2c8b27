//go:build ignore

/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
 *
 * Snapshot: at each collection one record per live connection, read from its tcp_sock. Walks the
 * connections' own storage, so it sees every network namespace and costs nothing between collections.
 */
#include "conn.h"

/* Set by the loader: somebody wants to know. */
volatile const __u32 count_queues = 0;

/* key: network namespace; value: what waits in its connections' sockets; added up during one snapshot, which the
 * reader begins with an empty map. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct queue_bytes);
} queues SEC(".maps");

/* As tcp_diag_get_info has it. */
static __always_inline void add_queues(__u32 netns, struct tcp_sock *tp, const bool typed)
{
	struct queue_bytes zero = {};
	struct queue_bytes *sum = bpf_map_lookup_elem(&queues, &netns);
	if (!sum) {
		bpf_map_update_elem(&queues, &netns, &zero, BPF_NOEXIST);
		sum = bpf_map_lookup_elem(&queues, &netns);
	}
	if (!sum)
		return;
	__s32 receive = READ(typed, tp, rcv_nxt) - READ(typed, tp, copied_seq);
	if (receive > 0)
		sum->receive += receive;
	sum->transmit += (__u32)(READ(typed, tp, write_seq) - READ(typed, tp, snd_una));
}

static __always_inline int snapshot(struct seq_file *seq, struct conn *conn, struct sock *sk, struct tcp_sock *tp,
				    const bool typed)
{
	if (conn->flags & CONN_UNREAD) /* it has ended */
		return 0;
	struct conn_record record = {};
	conn_fill(&record, RECORD_CONN_SNAPSHOT, bpf_ktime_get_ns(), conn, sk, tp, typed);
	if (!bpf_seq_write(seq, &record, sizeof(record)) && count_queues)
		add_queues(record.owner.netns, tp, typed);
	return 0;
}

SEC("iter/bpf_sk_storage_map")
int snapshot_storage(struct bpf_iter__bpf_sk_storage_map *ctx)
{
	struct sock *sk = ctx->sk;
	struct conn *conn = ctx->value;
	if (!sk || !conn)
		return 0;
	struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);
	if (!tp)
		return 0;
	return snapshot(ctx->meta->seq, conn, sk, tp, true);
}

SEC("iter/bpf_map_elem")
int snapshot_hash(struct bpf_iter__bpf_map_elem *ctx)
{
	__u64 *key = ctx->key;
	struct conn *conn = ctx->value;
	if (!key || !conn)
		return 0;
	struct sock *sk = (struct sock *)*key;
	return snapshot(ctx->meta->seq, conn, sk, (struct tcp_sock *)sk, false);
}

char LICENSE[] SEC("license") = "GPL";
