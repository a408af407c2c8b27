/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
 *
 * How long calls that send have waited for room, told by when they begin and end: see waits.bpf.c.
 */
#pragma once

#include "clock.h"
#include "stage_cpu.h"

/* Tells of a wait that was long. */
static __always_inline void wait_slow(void *ctx, struct sock *sk, struct conn *conn, const __u32 what, __u64 since,
				      __u64 now, __u32 sequence)
{
	struct slow_event *record = slow_begin(what, now - since, now);
	if (!record)
		return;
	slow_connection(record, conn, sk);
	record->direction = what == SLOW_READ ? DIRECTION_RECEIVE : DIRECTION_TRANSMIT;
	record->sequence = sequence;
	slow_submit(ctx, record);
}

static __always_inline void waited(void *ctx, struct sock *sk, struct conn *conn, const __u32 what, __u64 since,
				   __u64 now, __u32 sequence)
{
	const __u32 direction = what == SLOW_READ ? DIRECTION_RECEIVE : DIRECTION_TRANSMIT;
	struct stage_key key = {.cgroup_id = conn->owner.cgroup_id, .netns = conn->owner.netns};
	stage_add(stage_block(&key, direction), direction, STAGE_WAIT, now - since);
	wait_slow(ctx, sk, conn, what, since, now, sequence);
}

/* What came before a slow read was told of is not told of again by read_late. */
static __always_inline void read_told(struct conn *conn, __u64 since, __u64 now)
{
	if (!has_calls(conn) && (__s64)(now - since) >= (__s64)slow_threshold_ns[SLOW_READ])
		conn->queued_ns = now;
}

/* A reader takes what came when nothing was unread. */
static __always_inline void read_waited(void *ctx, struct sock *sk, struct conn *conn, struct stage_cpu *cpu)
{
	__u64 since = conn->queued_ns;
	__u32 unread = conn->unread;
	conn->unread = 0;
	if (unread == UNREAD_UNTIMED && !stage_may_be_slow(cpu, SLOW_READ, since))
		return;
	__u64 now = bpf_ktime_get_ns();
	if (unread != UNREAD_UNTIMED)
		waited(ctx, sk, conn, SLOW_READ, since, now, conn->arrived_sequence);
	else if ((__s64)(now - since) > 0)
		wait_slow(ctx, sk, conn, SLOW_READ, since, now, conn->arrived_sequence);
	read_told(conn, since, now);
}

/* Somebody has read. Noted for read_late, with one write in a tick at most. */
static __always_inline void read_noted(struct conn *conn, bool copied)
{
	if (!stage_allowance || !slow_threshold_ns[SLOW_READ])
		return;
	if (!copied && conn->spliced != 15)
		conn->spliced = 15;
	else if (copied && conn->spliced)
		conn->spliced--;
	__u32 ticks = bpf_jiffies64();
	if (has_calls(conn) || conn->read_ticks == ticks)
		return;
	conn->read_ticks = ticks;
	conn->arrived_ns = 0;
}

/* A reader copies a packet whose arrival may not have been noted, because it came beyond the rate and just after
 * another one (segment_arrived). It is what whoever reads has been waiting for if nobody has read since it came: what
 * lies behind it, or behind a hole, came while something else was unread. */
static __always_inline void read_late(void *ctx, struct sock *sk, struct sk_buff *skb, struct stage_cpu *cpu)
{
	__u32 zero = 0;
	__u64 *offset = bpf_map_lookup_elem(&stage_clock, &zero);
	if (!waits_enabled || !stage_allowance || !offset || !*offset || !skb->tstamp)
		return;
	__u64 since = skb->tstamp - *offset;
	if (!stage_may_be_slow(cpu, SLOW_READ, since))
		return;
	struct conn *conn = conn_lookup(sk, true);
	if (!conn || conn->unread || has_calls(conn) || !conn->queued_ns || (__s64)(since - conn->queued_ns) < 0)
		return;
	if (conn->arrived_ns) /* it had calls until now: when it was last read is not known */
		return;
	__u64 now = bpf_ktime_get_ns();
	if ((__s64)(now - since) < (__s64)slow_threshold_ns[SLOW_READ])
		return;
	/* The ticks between two moments are at most one less than they are apart, and fewer where a CPU that counts
	 * them is kept from running; and the packet before may have been read when this one was on its way to TCP. */
	__u32 ticks = (__u32)bpf_jiffies64() - conn->read_ticks;
	if ((ticks + 2ULL) * stage_window_ns < (now - since) / 4 * 3 * (stage_window_ticks + 1))
		return;
	struct tcp_skb_cb *cb = (struct tcp_skb_cb *)__builtin_preserve_access_index(&skb->cb[0]);
	__u32 sequence = cb->seq;
	if (sequence != BPF_CORE_READ((struct tcp_sock *)sk, copied_seq)) /* some of it has been read */
		return;
	wait_slow(ctx, sk, conn, SLOW_READ, since, now, sequence);
	read_told(conn, since, now);
}

/* The sequence number of the next byte that the application writes, or of the first of as many as it has just written;
 * 0: not known. What another thread writes at the same time may be in between. */
static __always_inline __u32 next_written(struct sock *sk, int written)
{
	struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);
	return tp ? tp->write_seq - written : 0;
}

static __always_inline void wait_send_started(struct sock *sk, __u64 *clock)
{
	struct conn *conn = conn_lookup(sk, true);
	if (conn && conn->blocked_ns)
		conn->resumed_ns = clock_now(clock);
}

static __always_inline void wait_send_ended(void *ctx, struct sock *sk, int result)
{
	struct conn *conn = conn_lookup(sk, true);
	if (!conn || !conn->blocked_ns)
		return;
	if (result > 0 && conn->resumed_ns > conn->blocked_ns) {
		waited(ctx, sk, conn, SLOW_WRITE, conn->blocked_ns, conn->resumed_ns, next_written(sk, result));
		conn->blocked_ns = conn->blocked_again_ns;
	}
	conn->blocked_again_ns = 0;
}

/* A call that sends, and may wait for room, is about to fill a segment, `tail` or a new one: what needs a new one waits
 * while the socket is full. It comes here again when there is room (6.16, as offered() of stage_transmit.h). */
static __always_inline void wait_offered(void *ctx, struct sock *sk, struct msghdr *msg, struct sk_buff *tail,
					 int size_goal, __u64 *clock)
{
	struct conn *conn = conn_lookup(sk, true);
	if (!conn)
		return;
	bool full = sk->sk_wmem_queued >= sk->sk_sndbuf;
	__u64 since = conn->asleep_ns;
	if (since && !full) {
		conn->asleep_ns = 0;
		waited(ctx, sk, conn, SLOW_WRITE, since, clock_now(clock), next_written(sk, 0));
	} else if (!since && full && !(msg->msg_flags & MSG_DONTWAIT) && (!tail || size_goal <= (int)tail->len)) {
		conn->asleep_ns = clock_now(clock);
	}
}

#define EAGAIN 11

/* A call that sends is over, of any kind of socket. */
static __always_inline void wait_sent(void *ctx, struct sock *sk, int result)
{
	if (!socket_is_tcp(sk, true))
		return;
	struct conn *conn = conn_lookup(sk, true);
	if (!conn)
		return;
	if (conn->asleep_ns) /* it gave up */
		conn->asleep_ns = 0;
	if (result == 0 || (result < 0 && result != -EAGAIN))
		return;
	__u64 since = conn->blocked_ns;
	if (result < 0) {
		if (!since)
			conn->blocked_ns = bpf_ktime_get_ns();
	} else if (since) {
		conn->blocked_ns = 0;
		waited(ctx, sk, conn, SLOW_WRITE, since, bpf_ktime_get_ns(), next_written(sk, result));
	}
}
