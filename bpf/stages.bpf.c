//go:build ignore

/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
 *
 * Stages: how long packets take on their way through the kernel, as distributions per owner, direction and stage.
 * docs/stages.md says what each begins and ends with.
 *
 * No packet is remembered in a map. Most stages are differences to a time that the packet itself carries: TCP's
 * send time (skb_mstamp_ns, CLOCK_MONOTONIC) on the way out, the time of arrival (tstamp, CLOCK_REALTIME) on the
 * way in; the kernel takes the latter while any socket has SO_TIMESTAMPNS on, so the loader holds one. The others
 * begin and end in the same stack of calls: the beginning is kept in one slot per CPU, and what another packet
 * has overwritten meanwhile is counted as interrupted.
 */
#include "stage_receive.h"
#include "stage_transmit.h"

/* Receive */

static __noinline int packet_received(struct stage_cpu *cpu, struct sk_buff *skb)
{
	if (!device_in_scope(skb->dev))
		return 0;
	cpu->filtered[DIRECTION_RECEIVE] = NULL;
	cpu->received = NULL;
	if (!stage_decide(cpu, DIRECTION_RECEIVE, skb))
		return 0;
	cpu->received = skb;
	cpu->received_ns = bpf_ktime_get_ns();
	return 0;
}

SEC("tp_btf/netif_receive_skb")
int BPF_PROG(stage_receive, struct sk_buff *skb)
{
	struct stage_cpu *cpu = this_cpu();
	if (unlikely(!stage_spent(cpu))) {
		packet_received(cpu, skb);
		return 0;
	}
	cpu->filtered[DIRECTION_RECEIVE] = NULL;
	cpu->received = NULL;
	stage_decided(cpu, DIRECTION_RECEIVE, skb, false);
	return 0;
}

/* Segments of established connections, before TCP looks at them. */
SEC("tp_btf/tcp_probe")
int BPF_PROG(stage_tcp_probe, struct sock *sk, struct sk_buff *skb)
{
	__u64 clock = 0;
	struct stage_cpu *cpu = this_cpu();
	stage_segment(cpu, sk, skb, NULL, &clock);
	return 0;
}

/* A reader takes bytes of a packet, of TCP or not. Whose it is is in a cache line that may be the CPU's which brought
 * it: beyond the rate TCP is waited for, which says so next. */
SEC("tp_btf/skb_copy_datagram_iovec")
int BPF_PROG(stage_copy, struct sk_buff *skb)
{
	struct stage_cpu *cpu = this_cpu();
	cpu->copied[ASKING_STAGES] = skb;
	cpu->copied[ASKING_WAITS] = skb;
	if (unlikely(!stage_spent(cpu)))
		stage_copied(cpu, skb);
	return 0;
}

/* TCP's reader has taken something. */
SEC("tp_btf/tcp_rcv_space_adjust")
int BPF_PROG(stage_read, struct sock *sk)
{
	struct stage_cpu *cpu = this_cpu();
	stage_was_read(cpu, sk, conn_lookup(sk, true), stage_taken(cpu, sk, ASKING_STAGES));
	return 0;
}

/* Transmit */

/* Comes once per segment that a call fills. A call that may not wait is refused where there is no room. */
SEC("tp_btf/tcp_sendmsg_locked")
int BPF_PROG(stage_offered_traced, struct sock *sk, struct msghdr *msg)
{
	__u64 clock = 0;
	offered(sk, true, true, !(msg->msg_flags & MSG_DONTWAIT), &clock);
	return 0;
}

SEC("fentry/tcp_sendmsg_locked")
int BPF_PROG(stage_offered_entry, struct sock *sk)
{
	__u64 clock = 0;
	offered(sk, true, false, false, &clock);
	return 0;
}

SEC("kprobe/tcp_sendmsg_locked")
int BPF_KPROBE(stage_offered_probe, struct sock *sk)
{
	__u64 clock = 0;
	offered(sk, false, false, false, &clock);
	return 0;
}

/* A packet has come to its device that is in scope, and timed, or not; or is not. */
static __noinline int packet_came(struct stage_cpu *cpu, struct sk_buff *skb)
{
	struct sock *sk = skb->sk;
	__u64 sent = send_time(skb, sk);
	if (sent && sk && stage_spent(cpu) && !cpu->resolving && cpu->filtered[DIRECTION_TRANSMIT] != skb) {
		struct stage_socket *state = stage_socket_known(sk, true);
		if (state && device_is_of(skb->dev, sk)) {
			stage_decided(cpu, DIRECTION_TRANSMIT, skb, false);
			cpu->sent_ns = sent;
			cpu->queued = NULL;
			segment_queued_untimed(cpu, state, skb, sk, sent);
			return 0;
		}
	}
	bool here = device_in_scope(skb->dev);
	if (!here || !stage_packet_in_scope(skb)) {
		if (cpu->turn[DIRECTION_TRANSMIT] == skb || cpu->turn[DIRECTION_TRANSMIT] == TIMED(skb))
			cpu->turn[DIRECTION_TRANSMIT] = NULL;
		if (here)
			cpu->filtered[DIRECTION_TRANSMIT] = NULL;
		return 0;
	}
	/* Of a packet that did not pass netfilter what was decided is of another one, which had this address before. */
	bool timed = cpu->filtered[DIRECTION_TRANSMIT] == skb ? stage_timed(cpu, DIRECTION_TRANSMIT, skb)
							      : stage_decide(cpu, DIRECTION_TRANSMIT, skb);
	/* What waited for a neighbor is rare. */
	if (timed || (cpu->resolving && resolving(cpu, bpf_ktime_get_ns()))) {
		packet_queued(cpu, skb, sent);
		return 0;
	}
	cpu->sent_ns = sent;
	cpu->queued = NULL;
	netfilter_share(cpu, skb, DIRECTION_TRANSMIT);
	struct stage_socket *state = sent && sk ? stage_socket(sk, true) : NULL;
	if (state)
		segment_queued_untimed(cpu, state, skb, sk, sent);
	return 0;
}

SEC("tp_btf/net_dev_queue")
int BPF_PROG(stage_queue, struct sk_buff *skb)
{
	struct stage_cpu *cpu = this_cpu();
	struct sock *sk = skb->sk;
	struct sock *sender = cpu->sender;
	__u64 sent = skb->tstamp;
	cpu->sender = NULL;
	/* A call has just offered something, so that this is the first of what TCP sends now. Netfilter may have
	 * decided on it before. As in send_time(). */
	if (likely(sk && sk == sender && stage_spent(cpu) && !cpu->resolving &&
		   cpu->filtered[DIRECTION_TRANSMIT] != skb && sent && skb->data_len && device_is_of(skb->dev, sk))) {
		stage_decided(cpu, DIRECTION_TRANSMIT, skb, false);
		cpu->sent_ns = sent;
		cpu->queued = NULL;
		cpu->burst = sk;
		cpu->burst_ns = sent;
		stage_untimed_alone(&cpu->untimed.queued);
		return 0;
	}
	packet_came(cpu, skb);
	return 0;
}

SEC("tp_btf/neigh_update")
int BPF_PROG(stage_neighbor)
{
	struct stage_cpu *cpu = this_cpu();
	cpu->resolving = 1;
	cpu->resolving_task = bpf_get_current_task();
	cpu->resolving_ns = bpf_ktime_get_ns();
	return 0;
}

SEC("tp_btf/neigh_update_done")
int BPF_PROG(stage_neighbor_done)
{
	struct stage_cpu *cpu = this_cpu();
	cpu->resolving = 0;
	return 0;
}

SEC("tp_btf/net_dev_start_xmit")
int BPF_PROG(stage_start_xmit, struct sk_buff *skb, struct net_device *device)
{
	__u64 clock = 0;
	stage_to_driver(skb, device, &clock);
	return 0;
}

/* A device on top of another has its packets sent by that one: there they are counted. */
static __noinline int driver_took_other(struct stage_cpu *cpu, struct sk_buff *skb, struct net_device *device)
{
	if (cpu->stacked != skb && device_in_scope(device))
		stage_lost(DIRECTION_TRANSMIT, STAGE_DRIVER, STAGE_INTERRUPTED);
	return 0;
}

static __noinline int driver_took(struct at_driver *driver)
{
	if (driver->since_ns == UNKNOWN) /* it is not in scope */
		return 0;
	__u64 now = bpf_ktime_get_ns();
	struct stage_key key = driver->key;
	struct stage_block *block = stage_block(&key, DIRECTION_TRANSMIT);
	queue_passed(driver, block, &key);
	stage_slow(&key, NULL, NULL, DIRECTION_TRANSMIT, STAGE_DRIVER, now - driver->since_ns, now);
	stage_add(block, DIRECTION_TRANSMIT, STAGE_DRIVER, now - driver->since_ns);
	return 0;
}

/* Up to here the driver has taken the packet (dev_xmit_complete, include/linux/netdevice.h). */
#define NET_XMIT_MASK 0x0f

SEC("tp_btf/net_dev_xmit")
int BPF_PROG(stage_xmit, struct sk_buff *skb, int rc, struct net_device *device)
{
	struct stage_cpu *cpu = this_cpu();
	struct at_driver *driver = &cpu->driver;
	if (unlikely(driver->skb != skb || driver->device != device)) {
		driver_took_other(cpu, skb, device);
		return 0;
	}
	driver->skb = NULL;
	if (unlikely(rc >= NET_XMIT_MASK)) /* it goes back to the queue */
		return 0;
	if (unlikely(driver->since_ns)) {
		driver_took(driver);
		return 0;
	}
	stage_untimed_alone(&cpu->untimed.driven);
	return 0;
}

/* For a test of the buckets alone: which slot its argument falls into. */
SEC("raw_tp")
int stage_slot(struct bpf_raw_tracepoint_args *ctx)
{
	return histogram_slot(ctx->args[0]);
}

char LICENSE[] SEC("license") = "GPL";
