//go:build ignore

/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
 *
 * Snapshot: at each collection one record per live connection, read from its tcp_sock. Walks the
 * connections' own storage, so it sees every network namespace and costs nothing between collections.
 */
#include "conn.h"

static __always_inline int snapshot(struct seq_file *seq, struct conn *conn, struct sock *sk, struct tcp_sock *tp,
				    const bool typed)
{
	struct conn_record record = {};
	conn_fill(&record, RECORD_CONN_SNAPSHOT, bpf_ktime_get_ns(), conn, sk, tp, typed);
	bpf_seq_write(seq, &record, sizeof(record));
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
