//go:build ignore

/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
 *
 * When the bytes of a call came and went, beyond what the application's own calls tell. Kept in the
 * connection's state and given to payload.bpf.c's records; no map of packets.
 *
 *   tcp_probe           a packet reaches TCP (tcp_rcv_established). Only one that comes when everything before
 *                       it was read is noted: it is the one that whoever reads next has been waiting for.
 *                       Later ones may be merged with it, and then nothing says when they came. Where the stages
 *                       are on, it carries when it came from its device.
 *   net_dev_start_xmit  a packet is given to the first device on its way. Bytes sent again are not noted anew.
 */
#include "clock.h"
#include "packet.h"

/* Set by the loader: somebody wants to know how long data waits for its reader (waits.bpf.c). */
volatile const __u32 waits_enabled = 0;

/* When a packet came from its device, in CLOCK_MONOTONIC; 0: it carries no stamp, or one that cannot be. */
static __always_inline __u64 arrival(struct sk_buff *skb, __u64 now)
{
	__u32 zero = 0;
	__u64 stamp = skb->tstamp;
	__u64 *offset = bpf_map_lookup_elem(&stage_clock, &zero);
	if (!stamp || !offset || !*offset || stamp < *offset || stamp - *offset > now)
		return 0;
	return stamp - *offset;
}

SEC("tp_btf/tcp_probe")
int BPF_PROG(tcp_probe, struct sock *sk, struct sk_buff *skb)
{
	struct conn *conn = conn_lookup(sk, true);
	/* Payload of other protocols is of no interest. */
	if (!conn || (conn->l7 == L7_OTHER && !waits_enabled))
		return 0;
	struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);
	if (!tp)
		return 0;
	__u32 next = tp->rcv_nxt;
	if (next != tp->copied_seq)
		return 0;
	struct tcp_skb_cb *cb = (struct tcp_skb_cb *)__builtin_preserve_access_index(&skb->cb[0]);
	__u32 end = BPF_CORE_READ(cb, end_seq);
	if (BPF_CORE_READ(cb, seq) != next || end == next)
		return 0;
	__u64 now = bpf_ktime_get_ns();
	if (waits_enabled) {
		conn->unread_sequence = next;
		conn->unread_ns = now;
	}
	conn->arrived_sequence = next;
	barrier();
	conn->arrived_end = end;
	conn->arrived_ns = arrival(skb, now);
	conn->queued_ns = now;
	return 0;
}

SEC("tp_btf/net_dev_start_xmit")
int BPF_PROG(net_dev_start_xmit, struct sk_buff *skb)
{
	struct sock *sk = skb->sk;
	if (!sk || !state_is_full(BPF_CORE_READ(sk, __sk_common.skc_state)) || !socket_is_tcp(sk, false))
		return 0;
	struct conn *conn = conn_lookup(sk, true);
	if (!conn || conn->l7 == L7_OTHER)
		return 0;
	unsigned char *transport = BPF_CORE_READ(skb, head) + BPF_CORE_READ(skb, transport_header);
	struct tcp_header header;
	if (bpf_probe_read_kernel(&header, sizeof(header), transport))
		return 0;
	/* Inside a tunnel the header is another one's. */
	if (header.ports.source != BPF_CORE_READ((struct inet_sock *)sk, inet_sport))
		return 0;
	__u32 headers = transport - BPF_CORE_READ(skb, data) + (header.data_offset >> 4) * 4;
	__u32 length = BPF_CORE_READ(skb, len);
	if (length <= headers)
		return 0;
	__u32 end = bpf_ntohl(header.sequence) + length - headers;
	if (conn->departed_sequence && (__s32)(end - conn->departed_sequence) <= 0)
		return 0;
	conn->departed_ns = 0; /* for a send that looks meanwhile */
	barrier();
	conn->departed_sequence = end;
	barrier();
	conn->departed_ns = bpf_ktime_get_ns();
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
