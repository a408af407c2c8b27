/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
 *
 * What a socket tells about itself: addresses, network namespace, cgroup; and whether it is in scope.
 *
 * Some programs hold a socket as a typed pointer, which they may follow at the price of a load, others
 * only as an address, which takes a helper call per field. READ() does either; `typed` is a constant
 * wherever it is used, so that one of the two forms is compiled.
 */
#pragma once

#include "maps.h"

#define READ(typed, pointer, field) ((typed) ? (pointer)->field : BPF_CORE_READ(pointer, field))

/* Full sockets have the fields of struct sock; request and TIME_WAIT sockets only those of sock_common
 * (sk_fullsock, include/net/sock.h). */
static __always_inline bool state_is_full(__u8 state)
{
	return state != TCP_TIME_WAIT && state != TCP_NEW_SYN_RECV;
}

static __always_inline __u32 socket_netns(struct sock *sk, const bool typed)
{
	if (!bpf_core_field_exists(((possible_net_t *)0)->net)) /* a kernel without namespaces */
		return 0;
	if (typed)
		return sk->__sk_common.skc_net.net->ns.inum;
	return BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum);
}

/* The cgroup v2 of a full socket; NULL where the kernel keeps something else there (sock_cgroup_data). */
static __always_inline struct cgroup *socket_cgroup(struct sock *sk)
{
	if (!bpf_core_field_exists(((struct sock *)0)->sk_cgrp_data)) /* a kernel without them */
		return NULL;
	if (bpf_core_field_exists(((struct sock_cgroup_data *)0)->cgroup))
		return BPF_CORE_READ(sk, sk_cgrp_data.cgroup);
	struct sock_cgroup_data___val *data = (void *)__builtin_preserve_access_index(&sk->sk_cgrp_data);
	__u64 val = BPF_CORE_READ(data, val);
	return val & 1 ? NULL : (struct cgroup *)(val & ~3ULL);
}

/* Functions of their own: in a loop the compiler would move the offset out of it, before the question whether
 * there is such a field, and the verifier refuses a program that reaches an offset that does not exist. */
static __noinline __u64 cgroup_ancestor_by_pointer(struct cgroup *cgroup, __u32 level)
{
	struct cgroup *ancestor = NULL;
	void *slot = (void *)cgroup + bpf_core_field_offset(struct cgroup, ancestors) + level * sizeof(void *);
	bpf_probe_read_kernel(&ancestor, sizeof(ancestor), slot);
	return BPF_CORE_READ(ancestor, kn, id);
}

static __noinline __u64 cgroup_ancestor_by_number(struct cgroup *cgroup, __u32 level)
{
	__u64 id = 0;
	void *slot =
		(void *)cgroup + bpf_core_field_offset(struct cgroup___ancestor_ids, ancestor_ids) + level * sizeof(id);
	bpf_probe_read_kernel(&id, sizeof(id), slot);
	return id;
}

static __always_inline __u64 cgroup_ancestor_id(struct cgroup *cgroup, __u32 level)
{
	if (bpf_core_field_exists(((struct cgroup *)0)->ancestors))
		return cgroup_ancestor_by_pointer(cgroup, level);
	return cgroup_ancestor_by_number(cgroup, level);
}

static __always_inline bool netns_in_scope(__u32 netns)
{
	if (!scope_netns_count)
		return true;
	if (scope_netns_count == 1)
		return scope_netns[0] == netns;
	for (__u32 i = 0; i < MAX_SCOPE && i < scope_netns_count; i++)
		if (scope_netns[i] == netns)
			return true;
	return false;
}

static __always_inline bool cgroup_in_scope(struct cgroup *cgroup)
{
	if (!scope_cgroup_count)
		return true;
	if (!cgroup)
		return false;
	__u32 level = BPF_CORE_READ(cgroup, level);
	for (__u32 i = 0; i < MAX_SCOPE && i < scope_cgroup_count; i++)
		if (scope_cgroup_level[i] <= level &&
		    cgroup_ancestor_id(cgroup, scope_cgroup_level[i]) == scope_cgroup_id[i])
			return true;
	return false;
}

static __always_inline bool has_port(volatile const __u16 *ports, __u32 count, __u16 local, __u16 remote)
{
	for (__u32 i = 0; i < MAX_PORTS && i < count; i++)
		if (ports[i] == local || ports[i] == remote)
			return true;
	return false;
}

static __always_inline bool ports_in_scope(__u16 local, __u16 remote)
{
	if (scope_include_count && !has_port(scope_include, scope_include_count, local, remote))
		return false;
	return !scope_exclude_count || !has_port(scope_exclude, scope_exclude_count, local, remote);
}

static __always_inline void address_from_v4(__u8 address[16], __be32 v4)
{
	__u32 *words = (__u32 *)address;
	words[0] = 0;
	words[1] = 0;
	words[2] = bpf_htonl(0xffff);
	words[3] = v4;
}

static __always_inline void socket_pair(struct address_pair *pair, struct sock *sk, const bool typed)
{
	if (READ(typed, sk, __sk_common.skc_family) == AF_INET6 &&
	    bpf_core_field_exists(((struct sock_common *)0)->skc_v6_daddr)) {
		BPF_CORE_READ_INTO((struct in6_addr *)pair->local, sk, __sk_common.skc_v6_rcv_saddr);
		BPF_CORE_READ_INTO((struct in6_addr *)pair->remote, sk, __sk_common.skc_v6_daddr);
	} else {
		address_from_v4(pair->local, READ(typed, sk, __sk_common.skc_rcv_saddr));
		address_from_v4(pair->remote, READ(typed, sk, __sk_common.skc_daddr));
	}
	/* skc_num is given back before the change to TCP_CLOSE (tcp_set_state), inet_sport stays. Request
	 * sockets have only the former. */
	pair->local_port = READ(typed, sk, __sk_common.skc_num);
	if (!pair->local_port && state_is_full(READ(typed, sk, __sk_common.skc_state)))
		pair->local_port = bpf_ntohs(BPF_CORE_READ((struct inet_sock *)sk, inet_sport));
	pair->remote_port = bpf_ntohs(READ(typed, sk, __sk_common.skc_dport));
	pair->protocol = IPPROTO_TCP;
	pair->pad[0] = pair->pad[1] = pair->pad[2] = 0;
}

/* The peer's FIN has arrived (tcp_fin). It takes a sequence number, and the kernel counts it as one byte that
 * was received. */
static __always_inline __u32 socket_fin_received(struct sock *sk, const bool typed)
{
	return READ(typed, sk, __sk_common.skc_flags) >> SOCK_DONE & 1;
}

/* The owner of a full socket, without its process; false: not in scope. The network namespace comes first:
 * out of scope costs one comparison. Ports are compared where both are known. */
static __always_inline bool socket_owner(struct owner_ref *owner, struct sock *sk, const bool typed)
{
	owner->netns = socket_netns(sk, typed);
	if (!netns_in_scope(owner->netns))
		return false;
	struct cgroup *cgroup = socket_cgroup(sk);
	if (!cgroup_in_scope(cgroup))
		return false;
	owner->cgroup_id = cgroup ? BPF_CORE_READ(cgroup, kn, id) : 0;
	owner->tgid = 0;
	return true;
}

static __always_inline bool socket_ports_in_scope(struct sock *sk, const bool typed)
{
	if (!scope_include_count && !scope_exclude_count)
		return true;
	return ports_in_scope(bpf_ntohs(BPF_CORE_READ((struct inet_sock *)sk, inet_sport)),
			      bpf_ntohs(READ(typed, sk, __sk_common.skc_dport)));
}

static __always_inline bool socket_is_tcp(struct sock *sk, const bool typed)
{
	__u16 family = READ(typed, sk, __sk_common.skc_family);
	return (family == AF_INET || family == AF_INET6) && READ(typed, sk, sk_protocol) == IPPROTO_TCP;
}
