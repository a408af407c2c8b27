/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
 *
 * The stages of what is sent, from the call that offers it to the driver that takes it: see stages.bpf.c.
 */
#pragma once

#include "stage_cpu.h"

/* After the state has changed: what the next read tells (struct stage_cpu). */
static __always_inline void note_followed(struct sock *sk, const bool typed, struct stage_socket *state)
{
	struct conn *conn = conn_lookup(sk, typed);
	bool followed = state->offered_ns;
	if (!conn || conn->followed == followed)
		return;
	conn->followed = followed;
	if (followed)
		reader_looks(sk, typed);
}

/* A byte that is offered is followed until it is sent, or may be. */
static __always_inline void offer(struct stage_cpu *cpu, struct sock *sk, const bool typed, bool again, __u64 *clock)
{
	/* It is not connected: what goes out with the SYN (MSG_FASTOPEN) has no number yet. */
	if (READ(typed, sk, __sk_common.skc_state) == TCP_CLOSE)
		return;
	struct stage_socket *state = stage_socket_known(sk, typed);
	if (!state) {
		if (!stage_socket_in_scope(sk, typed))
			return;
		state = stage_socket(sk, typed);
	}
	if (!state) { /* there is no memory for it */
		stage_lost(DIRECTION_TRANSMIT, STAGE_SOCKET, STAGE_NO_STAMP);
		return;
	}
	/* What is followed already is followed to its end. */
	if (!state->offered_ns && !stage_allowed(cpu)) {
		stage_untimed(&cpu->untimed.offered);
		return;
	}
	struct tcp_sock *tp = typed ? bpf_skc_to_tcp_sock(sk) : (struct tcp_sock *)sk;
	if (!tp)
		return;
	__u32 next = READ(typed, tp, write_seq);
	if (state->offered_ns) {
		/* TCP has taken it, or this call waits for room. Else the call before this one was refused. */
		bool pending = next != state->offered_sequence || again;
		if (pending && (__s32)(READ(typed, tp, snd_una) - state->offered_sequence) <= 0) {
			if (next == state->offered_sequence ||
			    (again && state->last_ns && next == state->last_sequence))
				return; /* still the same byte */
			if (state->last_ns && next != state->last_sequence) {
				state->next_ns = state->last_ns;
				state->next_sequence = state->last_sequence;
			}
			state->last_sequence = next;
			state->last_ns = clock_now(clock);
			return;
		}
		if (pending) /* it is acknowledged, so it was sent */
			stage_lost(DIRECTION_TRANSMIT, STAGE_SOCKET, STAGE_INTERRUPTED);
	}
	state->offered_sequence = next;
	state->offered_ns = clock_now(clock);
	state->next_ns = 0;
	state->last_ns = 0;
	note_followed(sk, typed, state);
}

/* A function, as beyond the rate few are followed. */
static __noinline int offer_typed(struct stage_cpu *cpu, struct sock *sk, bool again, __u64 *clock)
{
	offer(cpu, sk, true, again, clock);
	return 0;
}

/* Of what is not timed on a connection that is known: most beyond the rate. True: it is counted, as offered() would. */
static __always_inline bool offered_untimed(struct sock *sk)
{
	struct stage_cpu *cpu = this_cpu();
	__u32 when;
	if (!stage_spent(cpu) || !is_plain(sk, &when))
		return false;
	cpu->sender = sk;
	stage_untimed_alone(&cpu->untimed.offered);
	return true;
}

/* The application offers bytes to TCP. One at a time is followed until it is sent. `again`: it may be the same call
 * that goes on. `alone`: at the tracepoint (stage_untimed_alone). */
static __always_inline void offered(struct sock *sk, const bool typed, const bool alone, bool again, __u64 *clock)
{
	struct stage_cpu *cpu = this_cpu();
	cpu->sender = NULL;
	if (alone && likely(stage_spent(cpu))) {
		struct stage_socket *state = stage_socket_known(sk, typed);
		if (likely(state && !state->offered_ns)) {
			cpu->sender = sk;
			stage_untimed_alone(&cpu->untimed.offered);
			return;
		}
	}
	if (typed)
		offer_typed(cpu, sk, again, clock);
	else
		offer(cpu, sk, false, again, clock);
}

/* The time at which TCP sent a segment, 0 where the packet carries none that is certain: a segment with payload and a
 * SYN are stamped at that moment, a bare acknowledgment with when the connection was last busy. */
static __always_inline __u64 send_time(struct sk_buff *skb, struct sock *sk)
{
	if (!socket_is_full(sk) || !socket_is_tcp(sk, true))
		return 0;
	if (!skb->data_len && sk->__sk_common.skc_state != TCP_SYN_SENT)
		return 0;
	return skb->tstamp;
}

/* The byte that the application offered is in this segment, or was in one that has not been seen. */
static __always_inline void socket_sent(struct stage_block *block, const struct stage_key *key,
					struct stage_socket *state, struct sk_buff *skb, struct sock *sk, __u64 sent)
{
	struct segment_header header;
	__u32 payload = segment_payload(&header, skb, sk);
	if (!payload)
		return;
	__u32 sequence = bpf_ntohl(header.sequence);
	__s32 ahead = state->offered_sequence - sequence;
	if (ahead >= (__s32)payload)
		return;
	/* Sent before, but not seen: now it is sent again (snd_nxt is set after that). */
	bool again = (__s32)(sequence - BPF_CORE_READ((struct tcp_sock *)sk, snd_nxt)) < 0;
	if (ahead < 0 || again) {
		stage_lost(DIRECTION_TRANSMIT, STAGE_SOCKET, STAGE_INTERRUPTED);
	} else {
		__u64 held = sent - state->offered_ns;
		stage_add_packet(block, key, DIRECTION_TRANSMIT, STAGE_SOCKET, sk, skb, held, sent);
		if ((__s64)held > 0)
			stage_slow(key, sk, skb, DIRECTION_TRANSMIT, STAGE_SOCKET, held, sent);
	}
	state->offered_ns = 0;
	/* The newest that TCP has taken is followed next, if it is not sent yet. */
	if (state->last_ns && (__s32)(BPF_CORE_READ((struct tcp_sock *)sk, write_seq) - state->last_sequence) > 0) {
		state->next_ns = state->last_ns;
		state->next_sequence = state->last_sequence;
	}
	if (state->next_ns && (__s32)(state->next_sequence - (sequence + payload)) >= 0) {
		state->offered_ns = state->next_ns;
		state->offered_sequence = state->next_sequence;
	}
	state->last_ns = 0;
	state->next_ns = 0;
	/* Netfilter's user space may have passed it on, without the socket's lock: then it was sent before. That the
	 * next read goes the longer way is no harm. */
	if (!again)
		note_followed(sk, true, state);
}

/* Is a neighbor being resolved in this very stack of calls? One second is longer than that takes; what is older was
 * left behind by a task that has moved to another CPU. */
static __always_inline bool resolving(struct stage_cpu *cpu, __u64 now)
{
	if (cpu->resolving && now - cpu->resolving_ns >= 1000000000)
		cpu->resolving = 0;
	return cpu->resolving && cpu->resolving_task == bpf_get_current_task();
}

/* What comes to a second device has been to the first, maybe behind others that were sent later: the first one's driver
 * sends it. (One that passes packets on later, of its own accord, is not seen through: docs/stages.md.) What was
 * counted without its state is known on its CPU, until another socket's is: a burst that its task is taken off the CPU
 * in the middle of may be counted twice. */
static __always_inline bool burst_begins(struct stage_cpu *cpu, struct stage_socket *state, struct sock *sk, __u64 sent)
{
	if ((__s64)(sent - state->burst_ns) <= 0)
		return false;
	state->burst_ns = sent;
	return !cpu->driver.skb && (cpu->burst != sk || cpu->burst_ns != sent);
}

/* A segment has come to its device. Of those that TCP sends at once only the first has been stamped when it was its
 * turn. */
static __always_inline void segment_queued(struct stage_cpu *cpu, struct sk_buff *skb, struct sock *sk, __u64 sent,
					   __u64 now)
{
	struct stage_key key = {};
	__u64 netfilter = netfilter_share(cpu, skb, DIRECTION_TRANSMIT);
	stage_owner_of_socket(&key, sk);
	if (resolving(cpu, now)) {
		stage_add_packet(stage_block(&key, DIRECTION_TRANSMIT), &key, DIRECTION_TRANSMIT, STAGE_NEIGHBOR, sk,
				 skb, now - sent, now);
		stage_slow(&key, sk, skb, DIRECTION_TRANSMIT, STAGE_NEIGHBOR, now - sent, now);
		return;
	}
	struct stage_socket *state = stage_socket(sk, true);
	if (!state)
		return;
	bool first = burst_begins(cpu, state, sk, sent);
	if (!first && !state->offered_ns)
		return;
	struct stage_block *block = stage_block(&key, DIRECTION_TRANSMIT);
	if (first) {
		if (netfilter == UNKNOWN) {
			stage_lost(DIRECTION_TRANSMIT, STAGE_IP, STAGE_INTERRUPTED);
		} else {
			__u64 took = now - sent - netfilter;
			stage_add_packet(block, &key, DIRECTION_TRANSMIT, STAGE_IP, sk, skb, took, now);
			if ((__s64)took > 0)
				stage_slow(&key, sk, skb, DIRECTION_TRANSMIT, STAGE_IP, took, now);
		}
	}
	if (state->offered_ns)
		socket_sent(block, &key, state, skb, sk, sent);
}

/* A packet that is timed has come to its device, or one that has waited for a neighbor. */
static __noinline int packet_queued(struct stage_cpu *cpu, struct sk_buff *skb, __u64 sent)
{
	struct sock *sk = skb->sk;
	__u64 now = bpf_ktime_get_ns();
	if (sent && sk)
		segment_queued(cpu, skb, sk, sent, now);
	else if (resolving(cpu, now))
		stage_lost(DIRECTION_TRANSMIT, STAGE_NEIGHBOR, STAGE_NO_STAMP);
	cpu->filtered[DIRECTION_TRANSMIT] = NULL;
	cpu->queued = skb;
	cpu->queued_length = skb->len;
	cpu->queued_ns = now; /* the time of this program is in the next stage: to read the clock again costs as much */
	return 0;
}

/* A byte that is followed may be in it. A function, as few are. */
static __noinline int segment_followed(struct stage_socket *state, struct sk_buff *skb, struct sock *sk, __u64 sent)
{
	struct stage_key key = {};
	stage_owner_of_socket(&key, sk);
	socket_sent(stage_block(&key, DIRECTION_TRANSMIT), &key, state, skb, sk, sent);
	return 0;
}

/* The same of one that is not timed. */
static __always_inline void segment_queued_untimed(struct stage_cpu *cpu, struct stage_socket *state,
						   struct sk_buff *skb, struct sock *sk, __u64 sent)
{
	if (burst_begins(cpu, state, sk, sent))
		stage_untimed_alone(&cpu->untimed.queued);
	/* What TCP noted in the packet tells: no clock is read. */
	if (state->offered_ns)
		segment_followed(state, skb, sk, sent);
}

/* The tag of a VLAN is written into the packet on its way where the device does not do it. */
#define VLAN_TAG_LENGTH 4

/* Is it the packet that this CPU has handed to a device last? That may have gone from another CPU, and one at the same
 * address be another by now. */
static __always_inline bool is_queued(struct stage_cpu *cpu, struct sk_buff *skb)
{
	return cpu->queued == skb && skb->len - cpu->queued_length <= VLAN_TAG_LENGTH;
}

/* How long a packet that goes to the driver now was with the queueing discipline: exactly where it is the last
 * that came to a device on this CPU; else since TCP sent it. A paced segment's time lies ahead when it is queued:
 * until then it is held back by TCP. */
static __always_inline __u64 since_queued(struct stage_cpu *cpu, struct sk_buff *skb, __u64 now)
{
	__u64 sent = send_time(skb, skb->sk);
	if (is_queued(cpu, skb)) {
		cpu->queued = NULL;
		return now - (sent > cpu->queued_ns ? sent : cpu->queued_ns);
	}
	if (sent)
		return now - sent;
	stage_lost(DIRECTION_TRANSMIT, STAGE_QDISC, STAGE_NO_STAMP);
	return UNKNOWN;
}

/* The time in the queueing discipline is counted when the driver has taken the packet, and may have freed it: whether
 * to tell of it is decided before. */
static __always_inline void qdisc_place(struct at_driver *driver, struct stage_key *key, struct sk_buff *skb, __u64 now)
{
	struct sock *sk = skb->sk;
	if (!stage_told_ns || driver->qdisc_ns < STAGE_TOLD_QDISC_NS || !socket_is_full(sk) || !socket_is_tcp(sk, true))
		return;
	struct stage_time time = {.now = now, .ns = driver->qdisc_ns};
	struct stage_block *block = stage_block(key, DIRECTION_TRANSMIT);
	if (!stage_tells(block, STAGE_QDISC, time.ns, now) ||
	    !stage_place(&block->told[STAGE_QDISC], DIRECTION_TRANSMIT, sk, skb, &time))
		return;
	driver->conn_id = time.conn_id;
	driver->sequence = time.sequence;
}

/* The key has its direction: it is the block's. */
static __always_inline void queue_passed(struct at_driver *driver, struct stage_block *block,
					 const struct stage_key *key)
{
	if (driver->qdisc_ns != UNKNOWN)
		stage_add(block, DIRECTION_TRANSMIT, STAGE_QDISC, driver->qdisc_ns);
	if (!driver->conn_id)
		return;
	struct stage_time time = {.now = driver->since_ns,
				  .ns = driver->qdisc_ns,
				  .stage = STAGE_QDISC,
				  .sequence = driver->sequence,
				  .conn_id = driver->conn_id};
	stage_submit(key, &time);
}

/* A device on top of another has its driver's part done by that one, which may segment the packet, or send others
 * first. What its own queue took is counted now. */
static __noinline int stage_stacked(struct stage_cpu *cpu)
{
	struct at_driver *driver = &cpu->driver;
	cpu->stacked = driver->skb;
	if (!driver->since_ns || driver->since_ns == UNKNOWN)
		return 0;
	struct stage_key key = driver->key;
	struct stage_block *block = stage_block(&key, DIRECTION_TRANSMIT);
	queue_passed(driver, block, &key);
	return 0;
}

/* It may have been long with the queueing discipline. */
static __noinline int driver_late(struct sk_buff *skb, struct net_device *device, __u64 since)
{
	struct stage_key key = {};
	__u64 now = bpf_ktime_get_ns();
	stage_owner_of_packet(&key, skb, device);
	if ((__s64)(now - since) > 0)
		stage_slow(&key, skb->sk, skb, DIRECTION_TRANSMIT, STAGE_QDISC, now - since, now);
	return 0;
}

static __noinline int driver_timed(struct stage_cpu *cpu, struct sk_buff *skb, struct net_device *device, __u64 *clock)
{
	struct stage_key key = {};
	stage_owner_of_packet(&key, skb, device);
	__u64 now = clock_now(clock);
	cpu->driver.qdisc_ns = since_queued(cpu, skb, now);
	cpu->driver.key = key;
	cpu->driver.since_ns = now;
	cpu->driver.conn_id = 0;
	if ((__s64)cpu->driver.qdisc_ns > 0) {
		qdisc_place(&cpu->driver, &key, skb, now);
		stage_slow(&key, skb->sk, skb, DIRECTION_TRANSMIT, STAGE_QDISC, cpu->driver.qdisc_ns, now);
	}
	return 0;
}

static __noinline int packet_to_driver(struct stage_cpu *cpu, struct sk_buff *skb, struct net_device *device,
				       __u64 *clock)
{
	/* What was in scope when it came to its device, and is not timed, is not asked about again. One that came on
	 * another CPU may have this address by now: then one too many is left out. */
	bool decided = stage_allowance && cpu->turn[DIRECTION_TRANSMIT] == skb;
	if (!decided && !device_in_scope(device))
		return 0;
	bool stacked = cpu->driver.skb && cpu->driver.device != device;
	if (stacked)
		stage_stacked(cpu);
	cpu->driver.skb = skb;
	cpu->driver.device = device;
	cpu->driver.since_ns = UNKNOWN;
	if (!decided && !stage_packet_in_scope(skb))
		return 0;
	cpu->driver.since_ns = 0;
	if (!stage_timed_last(cpu, DIRECTION_TRANSMIT, skb)) {
		/* It may have waited for a neighbor before, or at the device on top, which has been told of. */
		__u64 since = stacked ? 0 : send_time(skb, skb->sk);
		if (is_queued(cpu, skb))
			since = *(volatile __u64 *)&cpu->queued_ns; /* else both are one load, of either */
		if (since && stage_may_be_slow(cpu, SLOW_STAGE, since))
			driver_late(skb, device, since);
		return 0;
	}
	driver_timed(cpu, skb, device, clock);
	return 0;
}

/* A packet goes to the driver. */
static __always_inline void stage_to_driver(struct sk_buff *skb, struct net_device *device, __u64 *clock)
{
	struct stage_cpu *cpu = this_cpu();
	/* Straight from where it was decided that it is not timed, and it is not late. */
	if (likely(stage_spent(cpu) && cpu->turn[DIRECTION_TRANSMIT] == skb && !cpu->driver.skb &&
		   cpu->latest_ns - cpu->sent_ns < stage_late(SLOW_STAGE))) {
		cpu->turn[DIRECTION_TRANSMIT] = NULL;
		cpu->driver.skb = skb;
		cpu->driver.device = device;
		cpu->driver.since_ns = 0;
		return;
	}
	packet_to_driver(cpu, skb, device, clock);
}
