//go:build ignore

/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
 *
 * Drops: packets that the kernel freed without having delivered or sent them, with or without a socket.
 *
 * kfree_skb fires when a packet is freed for a reason other than having been consumed. Some of these are
 * no loss, such as unread data of a socket that is closed: which ones, and why, is decided by name in
 * internal/probe/noise.go, and given to this program as reason numbers and as the address ranges of the
 * functions that free. Kernels before 5.17 have no reasons: the freeing function is all that is known.
 */
#include "packet.h"

#define NOISE_REASON_WORDS 8

/* Numbers of reasons differ between versions. */
volatile const __u32 reason_not_specified = 0;
volatile const __u32 reason_no_socket = 0;
volatile const __u32 reason_invalid_syn = 0;
/* One bit per reason that is noise. */
volatile const __u64 noise_reasons[NOISE_REASON_WORDS] = {};
/* Functions whose frees are noise when they give no reason, some of them of certain packets only. */
volatile const __u32 noise_count = 0;
volatile const __u64 noise_start[MAX_NOISE] = {};
volatile const __u64 noise_end[MAX_NOISE] = {};
volatile const __u8 noise_kind[MAX_NOISE] = {}; /* enum noise */

/* The functions are not known: what has no reason may be anything, and is not reported. */
volatile const __u32 noise_unnamed = 0;

enum noise { NOT_NOISE, NOISE, NOISE_UNLESS_SYN, NOISE_IF_OTHERHOST };

#define TCP_FLAG_SYN 0x02
#define TCP_FLAG_ACK 0x10
#define IPPROTO_ICMP 1
#define IPPROTO_ICMPV6 58

static __always_inline enum noise noise_of(__u32 reason, bool has_reason, __u64 location)
{
	if (has_reason) {
		if (reason >= NOISE_REASON_WORDS * 64)
			return NOT_NOISE;
		return noise_reasons[(reason >> 6) & (NOISE_REASON_WORDS - 1)] >> (reason & 63) & 1;
	}
	if (noise_unnamed)
		return NOISE;
	for (__u32 i = 0; i < MAX_NOISE && i < noise_count; i++)
		if (location >= noise_start[i] && location < noise_end[i])
			return noise_kind[i];
	return NOT_NOISE;
}

/* What only the packet's headers tell. An ICMP message has no socket when a raw socket got a copy, or when
 * nobody waits for it; a SYN-ACK on a connection is one that was repeated: none of these is a loss. */
static __always_inline bool packet_is_noise(const struct packet_facts *event, struct sk_buff *skb, enum noise noise)
{
	__u8 syn = event->has_tcp ? event->tcp_flags & (TCP_FLAG_SYN | TCP_FLAG_ACK) : 0;
	if (noise == NOISE_UNLESS_SYN)
		return syn != TCP_FLAG_SYN;
	if (noise == NOISE_IF_OTHERHOST)
		return BPF_CORE_READ_BITFIELD_PROBED(skb, pkt_type) == PACKET_OTHERHOST;
	if (!event->has_reason)
		return false;
	if (event->reason == reason_invalid_syn)
		return syn == (TCP_FLAG_SYN | TCP_FLAG_ACK);
	return event->reason == reason_no_socket &&
	       (event->pair.protocol == IPPROTO_ICMP || event->pair.protocol == IPPROTO_ICMPV6);
}

/* Received packets carry the index of the device they came in on (__netif_receive_skb_core). One that is at
 * another device now has been forwarded and is on its way out. */
static __always_inline __u8 drop_direction(const struct packet_facts *event, struct sk_buff *skb, struct sock *rx_sk)
{
	if (rx_sk)
		return DIRECTION_RECEIVE;
	__u32 in = BPF_CORE_READ(skb, skb_iif);
	if (in)
		return event->ifindex && event->ifindex != in ? DIRECTION_TRANSMIT : DIRECTION_RECEIVE;
	return BPF_CORE_READ(skb, sk) ? DIRECTION_TRANSMIT : DIRECTION_UNKNOWN;
}

static __always_inline void socket_tuple(struct packet_facts *event, struct sock *sk)
{
	if (event->pair.protocol)
		return;
	if (event->direction == DIRECTION_RECEIVE) {
		struct address_pair pair;
		socket_pair(&pair, sk, false);
		__builtin_memcpy(event->pair.local, pair.remote, sizeof(pair.remote));
		__builtin_memcpy(event->pair.remote, pair.local, sizeof(pair.local));
		event->pair.local_port = pair.remote_port;
		event->pair.remote_port = pair.local_port;
		event->pair.protocol = IPPROTO_TCP;
	} else {
		socket_pair(&event->pair, sk, false);
	}
}

/* Local and netlink sockets pass packets too, which are nobody's traffic. */
static __always_inline bool is_traffic(struct sk_buff *skb, struct sock *sk)
{
	if (!sk)
		return BPF_CORE_READ(skb, protocol);
	__u16 family = BPF_CORE_READ(sk, __sk_common.skc_family);
	return family == AF_INET || family == AF_INET6;
}

static __always_inline void drop(void *ctx, struct sk_buff *skb, struct sock *sk, struct conn *conn, __u64 location,
				 __u32 reason, bool has_reason, struct sock *rx_sk, enum noise noise)
{
	struct packet_facts event = {};
	__u32 device_netns = packet_device(&event, skb);

	event.direction = drop_direction(&event, skb, rx_sk);
	event.location = location;
	event.reason = reason;
	event.has_reason = has_reason;
	if (sk) {
		if (!event_from_socket(&event, sk, conn, false))
			return;
	} else {
		event.owner.netns = device_netns;
		if (!netns_in_scope(device_netns) || scope_cgroup_count)
			return;
	}
	packet_headers(&event, skb);
	if (packet_is_noise(&event, skb, noise))
		return;
	if (sk && socket_is_tcp(sk, false))
		socket_tuple(&event, sk);
	if (!ports_in_scope(event.pair.local_port, event.pair.remote_port))
		return;
	event_send(ctx, &event, RECORD_DROP);
}

SEC("tp_btf/kfree_skb")
int kfree_skb(__u64 *ctx)
{
	struct sk_buff *skb = (struct sk_buff *)ctx[0];
	__u64 location = ctx[1];
	__u32 reason = 0;
	bool has_reason = false;
	struct sock *sk = NULL;
	struct conn *conn = NULL;

	if (bpf_core_field_exists(((struct trace_event_raw_kfree_skb___reason *)0)->reason)) {
		reason = ctx[2];
		has_reason = reason != reason_not_specified;
	}
	enum noise noise = noise_of(reason, has_reason, location);
	if (noise == NOISE)
		return 0;
	if (bpf_core_field_exists(((struct trace_event_raw_kfree_skb___rx_sk *)0)->rx_sk))
		sk = (struct sock *)ctx[3];
	struct sock *rx_sk = sk;
	if (!sk)
		sk = skb->sk;
	if (!is_traffic(skb, sk))
		return 0;
	if (sk && state_is_full(BPF_CORE_READ(sk, __sk_common.skc_state)))
		conn = conn_lookup(sk, true);
	drop(ctx, skb, sk, conn, location, reason, has_reason, rx_sk, noise);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
