/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
 *
 * Windows that are closed: the peer's, so that this end may not send; or this end's, because its reader does not
 * read. tcp_sock holds the state. It changes with a packet that comes, or with the answer to one, and is looked at
 * when the next packet comes (times.bpf.c) and when somebody reads (waits.bpf.c): it is closed since the packet
 * before. While a window is closed its connection is quiet but for the sender's probes (from 200 ms on).
 */
#pragma once

#include "packet.h"
#include "slow.h"

/* `at`: when it was found closed, or opened. */
static __always_inline void window_tell(struct sock *sk, struct conn *conn, const __u32 direction, __u32 state,
					__u64 since, __u64 at, __u64 now, __u32 sequence)
{
	if ((__s64)(at - since) < 0) /* somebody has set the clock that packets are stamped with */
		return;
	struct slow_event *record = slow_begin(SLOW_WINDOW, at - since, now);
	if (!record)
		return;
	record->header.time_ns = at;
	slow_connection(record, conn, sk);
	record->direction = direction;
	record->stage = state;
	record->sequence = sequence;
	record_submit(record, RECORD_SLOW);
}

/* Since when it has been closed. */
static __always_inline __u64 window_closed(struct conn *conn, const __u32 direction, __u64 now)
{
	if (!conn->window_ns[WINDOW_OF(direction)]) {
		conn->window_ns[WINDOW_OF(direction)] = conn->heard_ns ? conn->heard_ns : now;
		conn->window_told &= ~(1 << direction);
		if (direction == DIRECTION_RECEIVE)
			conn->freed_us = 0;
	}
	return conn->window_ns[WINDOW_OF(direction)];
}

/* Told once, by a probe. */
static __always_inline void window_still_closed(struct sock *sk, struct conn *conn, const __u32 direction, __u64 since,
						__u64 now, __u32 sequence)
{
	if (conn->window_told & 1 << direction || !slow_threshold_ns[SLOW_WINDOW] ||
	    (__s64)(now - since) < (__s64)slow_threshold_ns[SLOW_WINDOW])
		return;
	conn->window_told |= 1 << direction;
	window_tell(sk, conn, direction, WINDOW_CLOSED, since, now, now, sequence);
}

/* A packet has come, which TCP has not looked at. Where the peer's window is closed, it says whether that opens. */
static __always_inline void window_of_peer(struct sock *sk, struct sk_buff *skb, struct tcp_sock *tp, struct conn *conn,
					   __u64 now)
{
	struct tcp_header header;
	if (tp->snd_wnd) {
		if (conn->window_ns[WINDOW_OF(DIRECTION_TRANSMIT)]) /* it opened with a packet that was not seen */
			conn->window_ns[WINDOW_OF(DIRECTION_TRANSMIT)] = 0;
		return;
	}
	if (bpf_probe_read_kernel(&header, sizeof(header), skb->head + skb->transport_header))
		return;
	__u64 since = window_closed(conn, DIRECTION_TRANSMIT, now);
	if (!header.window) {
		window_still_closed(sk, conn, DIRECTION_TRANSMIT, since, now, tp->snd_nxt);
		return;
	}
	conn->window_ns[WINDOW_OF(DIRECTION_TRANSMIT)] = 0;
	window_tell(sk, conn, DIRECTION_TRANSMIT, WINDOW_OPENED, since, now, now, tp->snd_nxt);
}

/* A packet has come, or `reading`: somebody has taken something, so that the window may be opened when the call ends.
 */
static __always_inline void window_of_this_end(struct sock *sk, struct tcp_sock *tp, struct conn *conn, bool reading,
					       __u64 now)
{
	if (!tp->rcv_wnd) {
		__u64 since = window_closed(conn, DIRECTION_RECEIVE, now);
		if (reading)
			conn->freed_us = now > since ? 1 + (now - since) / 1000 : 1;
		else
			window_still_closed(sk, conn, DIRECTION_RECEIVE, since, now, tp->copied_seq);
		return;
	}
	__u64 since = conn->window_ns[WINDOW_OF(DIRECTION_RECEIVE)];
	if (!since)
		return;
	conn->window_ns[WINDOW_OF(DIRECTION_RECEIVE)] = 0;
	if (conn->freed_us)
		window_tell(sk, conn, DIRECTION_RECEIVE, WINDOW_OPENED, since, since + conn->freed_us * 1000, now,
			    tp->copied_seq);
}

/* Somebody has taken something. */
static __noinline int window_of_reader(struct sock *sk, struct conn *conn)
{
	struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);
	if (tp)
		window_of_this_end(sk, tp, conn, true, bpf_ktime_get_ns());
	return 0;
}
