//go:build ignore

/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
 *
 * Resets: each RST that the kernel sends, with its reason (from 6.10), and each that it accepts.
 *
 * tcp_send_reset has the packet that is answered, so its addresses are turned round, or none when a
 * socket is aborted by its owner. Before 6.10 it does not fire for packets without a socket. tcp_receive_reset
 * fires for an RST in window.
 */
#include "packet.h"

static __always_inline void turn_round(struct address_pair *pair)
{
	struct address_pair turned = *pair;
	__builtin_memcpy(turned.local, pair->remote, sizeof(turned.local));
	__builtin_memcpy(turned.remote, pair->local, sizeof(turned.remote));
	turned.local_port = pair->remote_port;
	turned.remote_port = pair->local_port;
	*pair = turned;
}

SEC("tp_btf/tcp_send_reset")
int tcp_send_reset(__u64 *ctx)
{
	struct sock *sk = (struct sock *)ctx[0];
	struct sk_buff *skb = (struct sk_buff *)ctx[1];
	struct packet_facts event = {.direction = DIRECTION_TRANSMIT};
	struct conn *conn = NULL;

	if (bpf_core_field_exists(((struct trace_event_raw_tcp_send_reset___reason *)0)->reason)) {
		event.reason = ctx[2];
		event.has_reason = 1;
	}
	__u32 device_netns = skb ? packet_device(&event, skb) : 0;
	if (sk) {
		if (state_is_full(BPF_CORE_READ(sk, __sk_common.skc_state)))
			conn = conn_lookup(sk, true);
		if (!event_from_socket(&event, sk, conn, false))
			return 0;
	} else {
		event.owner.netns = device_netns;
		if (!netns_in_scope(device_netns) || scope_cgroup_count)
			return 0;
	}
	if (skb && packet_headers(&event, skb)) {
		turn_round(&event.pair);
		/* The header that was read is that of the packet answered. */
		event.has_tcp = 0;
	} else if (sk) {
		socket_pair(&event.pair, sk, false);
	}
	if (!ports_in_scope(event.pair.local_port, event.pair.remote_port))
		return 0;
	event_send(ctx, &event, RECORD_RESET);
	return 0;
}

SEC("tp_btf/tcp_receive_reset")
int BPF_PROG(tcp_receive_reset, struct sock *sk)
{
	struct packet_facts event = {.direction = DIRECTION_RECEIVE};
	struct conn *conn = conn_lookup(sk, true);
	if (!event_from_socket(&event, sk, conn, false))
		return 0;
	socket_pair(&event.pair, sk, false);
	if (!ports_in_scope(event.pair.local_port, event.pair.remote_port))
		return 0;
	turn_round(&event.pair);
	event_send(ctx, &event, RECORD_RESET);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
