/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
 *
 * How long data has waited for its reader, and calls that send for room: see waits.bpf.c.
 */
#pragma once

#include "clock.h"
#include "stage_receive.h"
#include "window.h"

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

/* A reader takes what came when nothing was unread. */
static __noinline int read_waited(void *ctx, struct sock *sk, struct conn *conn, struct stage_cpu *cpu)
{
	__u64 since = conn->queued_ns;
	__u32 unread = conn->unread;
	conn->unread = 0;
	if (unread == UNREAD_UNTIMED) {
		stage_untimed(&cpu->untimed.waited);
		if (!stage_may_be_slow(cpu, SLOW_READ, since))
			return 0;
	}
	__u64 now = bpf_ktime_get_ns();
	if (unread != UNREAD_UNTIMED)
		waited(ctx, sk, conn, SLOW_READ, since, now, conn->arrived_sequence);
	else if ((__s64)(now - since) > 0)
		wait_slow(ctx, sk, conn, SLOW_READ, since, now, conn->arrived_sequence);
	return 0;
}

static __noinline int read_was_late(void *ctx, struct sock *sk, struct conn *conn, __u64 since)
{
	struct sk_buff *skb = sk->sk_receive_queue.next;
	struct tcp_skb_cb *cb = (struct tcp_skb_cb *)__builtin_preserve_access_index(&skb->cb[0]);
	__u64 now = bpf_ktime_get_ns();
	if ((__s64)(now - since) > 0)
		wait_slow(ctx, sk, conn, SLOW_READ, since, now, cb->seq);
	return 0;
}

/* A reader copies what came when nothing was unread, and was not looked at then (looked_at): the first packet in its
 * queue tells when that was. Where TCP has merged others with it, its stamp is theirs: of a hole that it has filled it
 * may be older than what came last before it. */
static __always_inline void read_late(void *ctx, struct sock *sk, struct conn *conn, struct stage_cpu *cpu)
{
	__u32 zero = 0;
	__u64 *offset = bpf_map_lookup_elem(&stage_clock, &zero);
	struct sk_buff *skb = sk->sk_receive_queue.next;
	__u64 stamp = skb->tstamp;
	if (!offset || !*offset || !stamp)
		return;
	__u64 since = stamp - *offset;
	if (stage_may_be_slow(cpu, SLOW_READ, since) && (__s64)(since - conn->queued_ns) >= 0)
		read_was_late(ctx, sk, conn, since);
}

/* Is what comes on this connection seen by tcp_probe (tcp_rcv_established)? Not once its own end is closed. */
static __always_inline bool probed(struct sock *sk)
{
	__u8 state = sk->__sk_common.skc_state;
	return state == TCP_ESTABLISHED || state == TCP_CLOSE_WAIT;
}

/* What was noted as unread may have been read without that being noted (read_untimed), by who copied: then what is read
 * now is behind it. Where nothing of it was copied that cannot be seen: but whoever has spliced before has had all that
 * he read noted. `spliced`: he had. */
static __always_inline bool noted_was_read(struct sock *sk, struct conn *conn, enum taken taken, bool spliced)
{
	if (taken == TAKEN_UNCOPIED)
		return !spliced;
	struct sk_buff *first = sk->sk_receive_queue.next;
	if ((void *)first == __builtin_preserve_access_index((void *)&sk->sk_receive_queue))
		return !probed(sk);
	struct tcp_skb_cb *cb = (struct tcp_skb_cb *)__builtin_preserve_access_index(&first->cb[0]);
	return (__s32)(cb->seq - conn->arrived_sequence) > 0;
}

/* A reader has taken something, or looked. */
static __always_inline void wait_was_read(void *ctx, struct sock *sk, struct conn *conn, struct stage_cpu *cpu,
					  enum taken taken)
{
	struct tcp_sock *tp = conn ? bpf_skc_to_tcp_sock(sk) : NULL;
	if (!tp)
		return;
	if (!tp->rcv_wnd || conn->window_ns[WINDOW_OF(DIRECTION_RECEIVE)]) {
		if (!conn->window_ns[WINDOW_OF(DIRECTION_RECEIVE)])
			look_again(sk);
		window_of_reader(sk, conn);
	}
	bool first = !conn->left;
	bool left = tp->rcv_nxt != tp->copied_seq;
	if (left == first)
		conn->left = left;
	if (conn->unread) {
		read_waited(ctx, sk, conn, cpu);
	} else if (stage_allowance && first && taken != TAKEN_UNCOPIED && conn->queued_ns && probed(sk)) {
		stage_untimed(&cpu->untimed.waited);
		read_late(ctx, sk, conn, cpu);
	}
}

/* The sequence number of the next byte that the application writes, or of the first of as many as it has just written;
 * 0: not known. What another thread writes at the same time may be in between. */
static __always_inline __u32 next_written(struct sock *sk, int written)
{
	struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);
	return tp ? tp->write_seq - written : 0;
}

/* Which senders may be waiting for room: those that have waited, and who have the same place. Of a call of others
 * nothing is looked up. What is set is not taken back: it costs a sender that waits what it would cost without. */
#define SENDERS (1 << 11)
struct senders {
	__u8 waited[SENDERS];
};

/* key: 0 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct senders);
} wait_senders SEC(".maps");

/* The verifier knows no arithmetic with a socket's address, but differences. */
static __always_inline __u8 *wait_place(struct senders *senders, struct sock *sk)
{
	__u64 distance = (void *)sk - (void *)senders;
	return &senders->waited[distance * 0x9e3779b97f4a7c15 >> 53]; /* 2^64 divided by the golden ratio */
}

static __noinline bool sender_has_waited(struct sock *sk)
{
	__u32 zero = 0;
	struct senders *senders = bpf_map_lookup_elem(&wait_senders, &zero);
	return senders && *wait_place(senders, sk);
}

static __always_inline bool has_waited(struct stage_cpu *cpu, struct sock *sk)
{
	return unlikely(cpu->senders) && sender_has_waited(sk);
}

/* Where the next read takes all that there is, and is not late, nothing but counting is left to do for it, nor for what
 * is sent next. */
static __always_inline bool reader_is_done(struct stage_cpu *cpu, struct sock *sk, struct conn *conn)
{
	return !has_waited(cpu, sk) && conn->unread != UNREAD && !conn->spliced && !conn->left && !conn->followed &&
	       !conn->window_ns[WINDOW_OF(DIRECTION_RECEIVE)] && conn->queued_ns;
}

/* A reader takes all that there is, which was not timed and did not wait for long: most beyond the rate. True: it is
 * counted, as stage_was_read() and wait_was_read() would. */
static __always_inline bool read_untimed(struct stage_cpu *cpu, struct sock *sk)
{
	struct sk_buff *first = sk->sk_receive_queue.next;
	/* Its window has been closed for no longer than data have been there. */
	const __u64 reads = stage_late(SLOW_READ), windows = stage_late(SLOW_WINDOW),
		    late = reads < windows ? reads : windows;
	__u32 when;
	if (!stage_spent(cpu) || cpu->copied[ASKING_STAGES] != first || !is_plain(sk, &when) || !probed(sk) ||
	    LOOKED_UNIT(cpu->latest_stamp) - when >= LOOKED_UNIT(late))
		return false;
	struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);
	if (!tp || tp->rcv_nxt != tp->copied_seq)
		return false;
	cpu->copied[ASKING_STAGES] = NULL;
	stage_untimed(&cpu->untimed.read_all);
	return true;
}

/* The connection of a sender, if it may be waiting for room. */
static __always_inline struct conn *wait_sender(struct sock *sk)
{
	return has_waited(this_cpu(), sk) ? conn_lookup(sk, true) : NULL;
}

/* And of one that is about to wait. */
static __always_inline struct conn *wait_sender_begins(struct sock *sk)
{
	__u32 zero = 0;
	struct senders *senders = bpf_map_lookup_elem(&wait_senders, &zero);
	if (!senders)
		return NULL;
	__u8 *place = wait_place(senders, sk);
	if (!*place)
		*place = 1;
	struct stage_cpu *cpu = this_cpu();
	if (!cpu->senders) {
		for (__u32 number = 0; number <= stage_cpu_mask && number < MAX_CPUS; number++)
			stage_cpu_of(number)->senders = 1;
	}
	reader_looks(sk, true);
	return conn_lookup(sk, true);
}

static __always_inline void wait_send_started(struct sock *sk, __u64 *clock)
{
	struct conn *conn = wait_sender(sk);
	if (conn && conn->blocked_ns)
		conn->resumed_ns = clock_now(clock);
}

static __always_inline void wait_send_ended(void *ctx, struct sock *sk, int result)
{
	struct conn *conn = wait_sender(sk);
	if (!conn || !conn->blocked_ns)
		return;
	if (result > 0 && conn->resumed_ns > conn->blocked_ns) {
		waited(ctx, sk, conn, SLOW_WRITE, conn->blocked_ns, conn->resumed_ns, next_written(sk, result));
		conn->blocked_ns = conn->blocked_again_ns;
	}
	conn->blocked_again_ns = 0;
}

/* A call finds no room, and `sleeps` or does not; or goes on, if it was asleep. */
static __noinline int wait_at_segment(void *ctx, struct sock *sk, bool full, bool sleeps, __u64 *clock)
{
	struct conn *conn = full ? wait_sender_begins(sk) : conn_lookup(sk, true);
	if (!conn)
		return 0;
	__u64 since = conn->asleep_ns;
	if (since && !full) {
		conn->asleep_ns = 0;
		waited(ctx, sk, conn, SLOW_WRITE, since, clock_now(clock), next_written(sk, 0));
	} else if (!since && sleeps) {
		conn->asleep_ns = clock_now(clock);
	}
	return 0;
}

/* What needs a new segment waits for room. */
static __always_inline bool send_is_full(struct sock *sk)
{
	return unlikely(sk->sk_wmem_queued >= sk->sk_sndbuf);
}

/* A call that sends, and may wait for room, is about to fill a segment, `tail` or a new one: what needs a new one waits
 * while the socket is full. It comes here again when there is room (6.16, as offered() of stage_transmit.h). */
static __always_inline void wait_offered(void *ctx, struct sock *sk, struct msghdr *msg, struct sk_buff *tail,
					 int size_goal, __u64 *clock)
{
	if (send_is_full(sk))
		wait_at_segment(ctx, sk, true,
				!(msg->msg_flags & MSG_DONTWAIT) && (!tail || size_goal <= (int)tail->len), clock);
	else if (unlikely(has_waited(this_cpu(), sk)))
		wait_at_segment(ctx, sk, false, false, clock);
}

#define EAGAIN 11

/* Of a sender that waits, or may have. */
static __noinline int wait_over(void *ctx, struct sock *sk, int result)
{
	if (!socket_is_tcp(sk, true))
		return 0;
	struct conn *conn = result == -EAGAIN ? wait_sender_begins(sk) : conn_lookup(sk, true);
	if (!conn)
		return 0;
	if (conn->asleep_ns) /* it gave up */
		conn->asleep_ns = 0;
	if (result == 0 || (result < 0 && result != -EAGAIN))
		return 0;
	__u64 since = conn->blocked_ns;
	if (result < 0) {
		if (!since)
			conn->blocked_ns = bpf_ktime_get_ns();
	} else if (since) {
		conn->blocked_ns = 0;
		waited(ctx, sk, conn, SLOW_WRITE, since, bpf_ktime_get_ns(), next_written(sk, result));
	}
	return 0;
}

/* A call that sends is over, of any kind of socket. */
static __always_inline void wait_sent(void *ctx, struct sock *sk, int result)
{
	if (unlikely(result == -EAGAIN || has_waited(this_cpu(), sk)))
		wait_over(ctx, sk, result);
}
