//go:build ignore

/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
 *
 * Adoption: connections that were open before the receiver. Every socket that a process holds is reached
 * through its file descriptors, in all network namespaces and without entering any. Run twice at the
 * start: adopt_listeners first, so that adopt_connections can tell who opened a connection.
 *
 * Not reached: sockets that no process holds (closed and still sending, or not yet accepted).
 */
#include "conn.h"
#include "file.h"

struct listener_key {
	__u32 netns;
	__u16 port;
	__u16 pad;
};

/* key: where something listens; value: unused; filled and read at the start only. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct listener_key);
	__type(value, __u8);
} listeners SEC(".maps");

/* The connect() that chose a local port marked its bucket so (__inet_hash_connect): the port was never
 * bound, so this end is the client. */
static __always_inline bool bound_by_connect(struct sock *sk)
{
	struct inet_connection_sock *icsk = (struct inet_connection_sock *)sk;
	struct inet_bind_bucket *bucket = BPF_CORE_READ(icsk, icsk_bind_hash);
	return bucket && BPF_CORE_READ(bucket, fastreuse) == -1;
}

static __always_inline __u8 adopted_role(struct sock *sk, __u32 netns)
{
	struct listener_key key = {.netns = netns, .port = BPF_CORE_READ(sk, __sk_common.skc_num)};
	if (bound_by_connect(sk))
		return ROLE_CLIENT;
	return bpf_map_lookup_elem(&listeners, &key) ? ROLE_SERVER : ROLE_UNKNOWN;
}

/* What listens with MPTCP, as all Go programs do by default, hands out plain TCP sockets for plain clients. */
static __always_inline bool listens(struct sock *sk)
{
	if (BPF_CORE_READ(sk, __sk_common.skc_state) != TCP_LISTEN)
		return false;
	return socket_is_tcp(sk, false) || BPF_CORE_READ(sk, sk_protocol) == IPPROTO_MPTCP;
}

SEC("iter/task_file")
int adopt_listeners(struct bpf_iter__task_file *ctx)
{
	struct file *file = ctx->file;
	if (!file)
		return 0;
	struct sock *sk = file_socket(file);
	if (!sk || !listens(sk))
		return 0;
	struct listener_key key = {.netns = socket_netns(sk, false), .port = BPF_CORE_READ(sk, __sk_common.skc_num)};
	__u8 listens = 1;
	if (netns_in_scope(key.netns))
		bpf_map_update_elem(&listeners, &key, &listens, BPF_ANY);
	return 0;
}

static __always_inline void adopt(struct sock *sk, struct task_struct *task, const bool typed)
{
	if (!sk || !socket_is_tcp(sk, false))
		return;
	__u8 state = BPF_CORE_READ(sk, __sk_common.skc_state);
	if (state == TCP_LISTEN || state == TCP_CLOSE || !state_is_full(state))
		return;
	struct owner_ref owner = {};
	if (!socket_owner(&owner, sk, false) || !socket_ports_in_scope(sk, false))
		return;
	struct conn *conn = conn_lookup(sk, typed);
	if (!conn) {
		conn = conn_adopt(sk, &owner, typed);
		if (!conn)
			return;
		conn->role = adopted_role(sk, owner.netns);
	}
	if (!(conn->flags & CONN_ADOPTED) || conn->flags & CONN_TGID_AMBIGUOUS)
		return;
	__u32 tgid = BPF_CORE_READ(task, tgid);
	if (conn->owner.tgid && conn->owner.tgid != tgid) {
		conn->owner.tgid = 0;
		conn->comm[0] = 0;
		conn->flags |= CONN_TGID_AMBIGUOUS;
		return;
	}
	conn->owner.tgid = tgid;
	BPF_CORE_READ_INTO(&conn->comm, task, comm);
}

SEC("iter/task_file")
int adopt_connections(struct bpf_iter__task_file *ctx)
{
	struct file *file = ctx->file;
	struct task_struct *task = ctx->task;
	if (file && task)
		adopt(file_socket(file), task, has_sock_from_file);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
