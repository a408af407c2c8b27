/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
 *
 * What is noted in a connection's state when a segment comes or goes: see times.bpf.c.
 */
#pragma once

#include "clock.h"
#include "window.h"

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

/* Beyond the rate of stages nothing is looked at of a packet that comes this soon after one that was looked at, and
 * after a reader's wait began: what TCP and a reader change is in cache lines that two CPUs take from each other, the
 * one where packets come and the reader's. If a wait begins with it, its stamp tells its reader (read_late). */
static __always_inline bool looked_at(struct conn *conn, __u64 now)
{
	return conn->queued_ns && now - conn->queued_ns < noted_enough_ns(SLOW_READ) &&
	       now - conn->heard_ns < noted_enough_ns(SLOW_WINDOW) && !conn->spliced && !conn->window_ns[0] &&
	       !conn->window_ns[1];
}

/* What is looked at of a segment that comes. A function, as beyond the rate little is. */
static __noinline int segment_look(struct sock *sk, struct sk_buff *skb, struct conn *conn, __u64 *clock, bool timed)
{
	struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);
	if (!tp)
		return 0;
	if (waits_enabled) {
		__u64 now = clock_now(clock);
		window_of_peer(sk, skb, tp, conn, now);
		window_of_this_end(sk, tp, conn, false, now);
		conn->heard_ns = now;
	}
	__u32 next = tp->rcv_nxt;
	if (next != tp->copied_seq)
		return 0;
	struct tcp_skb_cb *cb = (struct tcp_skb_cb *)__builtin_preserve_access_index(&skb->cb[0]);
	__u32 end = cb->end_seq;
	/* Of what is sent again a part may have come before. */
	if ((__s32)(next - cb->seq) < 0 || (__s32)(end - next) <= 0)
		return 0;
	__u64 now = clock_now(clock);
	if (waits_enabled) {
		conn->unread = timed ? UNREAD : UNREAD_UNTIMED;
		conn->left = 0;
	}
	conn->arrived_sequence = next;
	if (has_calls(conn)) {
		barrier();
		conn->arrived_end = end;
		conn->arrived_ns = arrival(skb, now);
	}
	conn->queued_ns = now;
	return 0;
}

/* A segment comes to TCP. A reader's wait that begins with it is not counted if it is beyond the rate of stages, not
 * `timed`: the clock is then near enough, but for calls. True: what comes soon need not be looked at. */
static __always_inline bool segment_arrived(struct sock *sk, struct sk_buff *skb, struct conn *conn, __u64 *clock,
					    bool timed)
{
	if (!conn)
		return false;
	bool calls = has_calls(conn);
	if (!calls && !waits_enabled)
		return false;
	/* Two packets may come in one go, of which the first was timed: time does not run backwards. */
	if (!timed && (calls || *clock < conn->heard_ns))
		*clock = 0;
	if (timed || !*clock || conn->unread || !looked_at(conn, *clock))
		segment_look(sk, skb, conn, clock, timed);
	return !calls && looked_at(conn, *clock);
}

/* A packet is given to a device. */
static __always_inline void segment_departed(struct sk_buff *skb, __u64 *clock)
{
	struct sock *sk = skb->sk;
	if (!sk || !state_is_full(sk->__sk_common.skc_state) || !socket_is_tcp(sk, true))
		return;
	struct conn *conn = conn_lookup(sk, true);
	if (!conn || conn->l7 == L7_OTHER)
		return;
	unsigned char *transport = skb->head + skb->transport_header;
	struct tcp_header header;
	if (bpf_probe_read_kernel(&header, sizeof(header), transport))
		return;
	/* Inside a tunnel the header is another one's. */
	if (header.ports.source != bpf_htons(sk->__sk_common.skc_num))
		return;
	__u32 headers = transport - skb->data + (header.data_offset >> 4) * 4;
	__u32 length = skb->len;
	if (length <= headers)
		return;
	__u32 end = bpf_ntohl(header.sequence) + length - headers;
	if (conn->departed_sequence && (__s32)(end - conn->departed_sequence) <= 0)
		return;
	conn->departed_ns = 0; /* for a send that looks meanwhile */
	barrier();
	conn->departed_sequence = end;
	barrier();
	conn->departed_ns = clock_now(clock);
}
