/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
 *
 * What each owner and each of its peers send each other, counted in the kernel.
 */
#pragma once

#include "socket.h"

/* Set by the loader. */
volatile const __u32 count_flows = 0;
volatile const __u32 count_flows_by_socket =
	0; /* those of clients, of whose destination somebody asks what it became */

/* key: owner, peer, port, role, direction; value: what was exchanged since the start. Deleted by user space when
 * it has not changed for long. Sized by the loader. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, struct flow_key);
	__type(value, struct flow_count);
} flows SEC(".maps");

/* key: the same and the socket's own address; value: the same. Deleted by user space as soon as nothing came in
 * between two collections. Sized by the loader; what finds no room is counted in `flows`. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, struct socket_flow_key);
	__type(value, struct flow_count);
} socket_flows SEC(".maps");

static __always_inline bool flow_add(void *map, const void *key, __u32 bytes)
{
	struct flow_count *value = bpf_map_lookup_elem(map, key);
	if (!value) {
		struct flow_count zero = {};
		bpf_map_update_elem(map, key, &zero, BPF_NOEXIST);
		value = bpf_map_lookup_elem(map, key);
	}
	if (!value)
		return false;
	__sync_fetch_and_add(&value->bytes, bytes);
	__sync_fetch_and_add(&value->packets, 1);
	return true;
}

static __always_inline void flow_count(const struct socket_flow_key *key, __u32 bytes)
{
	if (count_flows_by_socket && key->flow.role == ROLE_CLIENT && flow_add(&socket_flows, key, bytes))
		return;
	if (!flow_add(&flows, &key->flow, bytes))
		stat_add(STAT_FLOWS_FULL);
}
