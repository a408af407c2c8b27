/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
 *
 * Where stage times are counted, and for whom: the maps and the owner of a packet.
 *
 * Memory does not depend on the number of packets, CPUs or connections. One block holds the seven histograms of an
 * owner in one direction (7 * 1056 bytes and what was told of them); it is shared by CPUs, of which every fourth adds
 * to the same shard. So 256 owners * 2 directions * min(4, CPUs) * 7.3 KiB = 15 MB at most; owners beyond share the
 * overflow blocks.
 */
#pragma once

#include "histogram.h"
#include "socket.h"

/* Set by the loader: the number of shards, a power of two, less one. */
volatile const __u32 stage_shard_mask = 0;

/* key: owner, direction, shard; value: since the start. Deleted by user space when it has not changed for long.
 * The overflow blocks are made by the loader. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 2048);
	__type(key, struct stage_key);
	__type(value, struct stage_block);
} stage_blocks SEC(".maps");

/* Of which new blocks are copies: too large for the stack. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct stage_block);
} stage_zero SEC(".maps");

/* key: direction, stage, enum stage_loss (STAGE_LOSS_INDEX); value: how often, since the start. */
#define STAGE_LOSS_INDEX(direction, stage, loss)                                                                       \
	(((direction) * STAGES_PER_DIRECTION + (stage)) * STAGE_LOSS_KINDS + (loss))
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, STAGE_LOSS_INDEX(3, 0, 0));
	__type(key, __u32);
	__type(value, __u64);
} stage_losses SEC(".maps");

static __always_inline void stage_lost(__u32 direction, __u32 stage, enum stage_loss loss)
{
	__u32 index = STAGE_LOSS_INDEX(direction, stage, loss);
	__u64 *value = bpf_map_lookup_elem(&stage_losses, &index);
	if (value)
		__sync_fetch_and_add(value, 1);
}

/* The block of an owner. A function, so that its rarely taken part is there once. */
static __noinline struct stage_block *stage_block_make(struct stage_key *key)
{
	__u32 zero = 0;
	struct stage_block *empty = bpf_map_lookup_elem(&stage_zero, &zero);
	if (empty)
		bpf_map_update_elem(&stage_blocks, key, empty, BPF_NOEXIST);
	struct stage_block *block = bpf_map_lookup_elem(&stage_blocks, key);
	if (block)
		return block;
	key->cgroup_id = 0;
	key->netns = 0;
	key->overflow = 1;
	stage_lost(key->direction <= DIRECTION_RECEIVE ? key->direction : 0, 0, STAGE_FOLDED);
	return bpf_map_lookup_elem(&stage_blocks, key);
}

/* Where an owner's times are added. NULL only while the maps are being made. */
static __always_inline struct stage_block *stage_block(struct stage_key *key, __u32 direction)
{
	key->direction = direction;
	key->shard = bpf_get_smp_processor_id() & stage_shard_mask;
	struct stage_block *block = bpf_map_lookup_elem(&stage_blocks, key);
	return block ? block : stage_block_make(key);
}

/* Counts a time, or why not. A time before the stage began comes out as one that is too long. */
static __always_inline void stage_add(struct stage_block *block, const __u32 direction, const __u32 stage, __u64 ns)
{
	if (block && !histogram_add(&block->stages[stage], ns))
		stage_lost(direction, stage, STAGE_CLOCK);
}

/* The network namespace of a device that a packet is at. */
static __always_inline __u32 device_netns(struct net_device *device)
{
	if (!bpf_core_field_exists(((possible_net_t *)0)->net))
		return 0;
	return device->nd_net.net->ns.inum;
}

/* For the whole host nothing is loaded. */
static __always_inline bool device_in_scope(struct net_device *device)
{
	return !scope_netns_count || netns_in_scope(device_netns(device));
}

/* The same where a socket is known to be in scope. */
static __always_inline bool device_is_of(struct net_device *device, struct sock *sk)
{
	if (!scope_netns_count || !bpf_core_field_exists(((possible_net_t *)0)->net))
		return true;
	return device->nd_net.net == sk->__sk_common.skc_net.net;
}

/* The cgroup v2 of a full socket, followed by loads instead of helper calls where its type allows it. */
static __always_inline struct cgroup *socket_cgroup_typed(struct sock *sk)
{
	if (bpf_core_field_exists(((struct sock *)0)->sk_cgrp_data) &&
	    bpf_core_field_exists(((struct sock_cgroup_data *)0)->cgroup))
		return sk->sk_cgrp_data.cgroup;
	return NULL;
}

/* Whose it is is asked for later: not each is timed. */
static __always_inline bool stage_socket_in_scope(struct sock *sk, const bool typed)
{
	if (scope_netns_count && !netns_in_scope(socket_netns(sk, typed)))
		return false;
	return socket_ports_in_scope(sk, typed) && (!scope_cgroup_count || cgroup_in_scope(socket_cgroup(sk)));
}

/* The owner of a full socket that is in scope. */
static __always_inline void stage_owner_of_socket(struct stage_key *key, struct sock *sk)
{
	key->netns = socket_netns(sk, true);
	struct cgroup *typed = socket_cgroup_typed(sk);
	if (typed) {
		key->cgroup_id = typed->kn->id;
		return;
	}
	struct cgroup *cgroup = socket_cgroup(sk);
	if (cgroup)
		key->cgroup_id = BPF_CORE_READ(cgroup, kn, id);
}

static __always_inline bool socket_is_full(struct sock *sk)
{
	return sk && state_is_full(sk->__sk_common.skc_state);
}

/* For a packet at a device in scope. */
static __always_inline bool stage_packet_in_scope(struct sk_buff *skb)
{
	struct sock *sk = skb->sk;
	if (socket_is_full(sk))
		return stage_socket_in_scope(sk, true);
	return !scope_cgroup_count && !scope_include_count;
}

/* The owner of such a packet: that of its socket, else nobody but the device's namespace. */
static __always_inline void stage_owner_of_packet(struct stage_key *key, struct sk_buff *skb, struct net_device *device)
{
	struct sock *sk = skb->sk;
	if (socket_is_full(sk))
		stage_owner_of_socket(key, sk);
	else
		key->netns = device_netns(device);
}

/* What a TCP socket is asked about later. */
struct stage_socket {
	__u64 identity;	  /* of the connection, where the address of a socket may be that of another by now */
	__u64 offered_ns; /* when the application offered a byte that is not sent yet; 0: none is waited for */
	__u64 burst_ns;	  /* TCP's send time of the last segment: those that it sends at once share it */
	__u64 next_ns;	  /* the same of the newest byte that TCP has taken since, which is followed next */
	__u64 last_ns;	  /* and of the newest that was offered: it may be refused */
	__u32 offered_sequence;
	__u32 next_sequence;
	__u32 last_sequence;
	__u32 pad;
};

/* key: the socket; lives as long as it. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct stage_socket);
} stage_sockets SEC(".maps");

/* key: the socket's address, where state cannot live in it. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 262144);
	__type(key, __u64);
	__type(value, struct stage_socket);
} stage_sockets_by_address SEC(".maps");

/* Ports and peer: a socket at the same address with these is the same connection, or begins where it ended. */
static __always_inline __u64 stage_identity(struct sock *sk, const bool typed)
{
	__u64 port = READ(typed, sk, __sk_common.skc_num);
	return port << 48 | (__u64)READ(typed, sk, __sk_common.skc_dport) << 32 |
	       READ(typed, sk, __sk_common.skc_daddr);
}

/* That there is one says that the socket is in scope, where it lives in the socket, and the scope is not one of ports:
 * a socket may have others later. Else NULL. */
static __always_inline struct stage_socket *stage_socket_known(struct sock *sk, const bool typed)
{
	if (scope_include_count || scope_exclude_count)
		return NULL;
	return use_sk_storage && typed ? bpf_sk_storage_get(&stage_sockets, sk, NULL, 0) : NULL;
}

/* Of a socket that is in scope. */
static __always_inline struct stage_socket *stage_socket(struct sock *sk, const bool typed)
{
	if (use_sk_storage)
		return typed ? bpf_sk_storage_get(&stage_sockets, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE) : NULL;
	__u64 key = (__u64)sk;
	__u64 identity = stage_identity(sk, typed);
	struct stage_socket *state = bpf_map_lookup_elem(&stage_sockets_by_address, &key);
	if (state && state->identity == identity)
		return state;
	struct stage_socket fresh = {.identity = identity};
	bpf_map_update_elem(&stage_sockets_by_address, &key, &fresh, BPF_ANY);
	return bpf_map_lookup_elem(&stage_sockets_by_address, &key);
}
