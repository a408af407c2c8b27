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
#include "clock.h"
#include "stages.h"

/* A packet that is at the driver. It may be freed there, so whose it is has been read before. */
struct at_driver {
	struct sk_buff *skb;
	struct net_device *device;
	__u64 since_ns;
	__u64 qdisc_ns; /* ~0: not known */
	struct stage_key key;
};

/* What is under way on a CPU: the last packet at each of these places. */
struct stage_cpu {
	struct sk_buff *queued; /* handed to its device */
	__u64 queued_ns;
	struct at_driver driver;
};

/* key: 0; value: of this CPU. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct stage_cpu);
} stage_cpus SEC(".maps");

#define UNKNOWN (~0ULL)

static __always_inline struct stage_cpu *this_cpu(void)
{
	__u32 zero = 0;
	return bpf_map_lookup_elem(&stage_cpus, &zero);
}

/* Receive */

/* How long ago a packet arrived: huge where its stamp is in the future, 0 and counted where there is none. */
static __always_inline __u64 since_arrival(struct sk_buff *skb, __u64 now, const __u32 stage)
{
	__u32 zero = 0;
	__u64 stamp = skb->tstamp;
	__u64 *offset = bpf_map_lookup_elem(&stage_clock, &zero);
	if (!stamp || !offset) {
		stage_lost(DIRECTION_RECEIVE, stage, STAGE_NO_STAMP);
		return UNKNOWN;
	}
	return now + *offset - stamp;
}

/* Segments of established connections, before TCP looks at them. */
SEC("tp_btf/tcp_probe")
int BPF_PROG(stage_tcp_probe, struct sock *sk, struct sk_buff *skb)
{
	struct stage_key key = {};
	if (!stage_owner_of_socket(&key, sk))
		return 0;
	__u64 since = since_arrival(skb, bpf_ktime_get_ns(), STAGE_NIC_TO_TCP);
	if (since != UNKNOWN)
		stage_add(stage_block(&key, DIRECTION_RECEIVE), DIRECTION_RECEIVE, STAGE_NIC_TO_TCP, since);
	return 0;
}

/* A reader takes bytes of a packet. Those of TCP know their socket. */
SEC("tp_btf/skb_copy_datagram_iovec")
int BPF_PROG(stage_copy, struct sk_buff *skb)
{
	struct stage_key key = {};
	struct sock *sk = skb->sk;
	if (!socket_is_full(sk) || !socket_is_tcp(sk, true) || !stage_owner_of_socket(&key, sk))
		return 0;
	__u64 since = since_arrival(skb, bpf_ktime_get_ns(), STAGE_TCP_TO_APP);
	if (since != UNKNOWN)
		stage_add(stage_block(&key, DIRECTION_RECEIVE), DIRECTION_RECEIVE, STAGE_TCP_TO_APP, since);
	return 0;
}

/* Transmit */

/* The time at which TCP sent a segment, 0 where the packet carries none that is certain: only a segment with
 * payload is stamped at that moment, a bare acknowledgment with when the connection was last busy. */
static __always_inline __u64 send_time(struct sk_buff *skb)
{
	struct sock *sk = skb->sk;
	if (!skb->data_len || !socket_is_full(sk) || !socket_is_tcp(sk, true))
		return 0;
	return skb->tstamp;
}

SEC("tp_btf/net_dev_queue")
int BPF_PROG(stage_queue, struct sk_buff *skb)
{
	struct stage_cpu *cpu = this_cpu();
	if (!cpu || !netns_in_scope(device_netns(skb->dev)))
		return 0;
	cpu->queued = skb;
	cpu->queued_ns = bpf_ktime_get_ns();
	return 0;
}

/* How long a packet that goes to the driver now was with the queueing discipline: exactly where it is the last
 * that came to a device on this CPU; else since TCP sent it. */
static __always_inline __u64 since_queued(struct stage_cpu *cpu, struct sk_buff *skb, __u64 now)
{
	if (cpu->queued == skb) {
		cpu->queued = NULL;
		return now - cpu->queued_ns;
	}
	__u64 sent = send_time(skb);
	if (sent)
		return now - sent;
	stage_lost(DIRECTION_TRANSMIT, STAGE_QDISC, STAGE_NO_STAMP);
	return UNKNOWN;
}

SEC("tp_btf/net_dev_start_xmit")
int BPF_PROG(stage_start_xmit, struct sk_buff *skb, struct net_device *device)
{
	struct stage_key key = {};
	struct stage_cpu *cpu = this_cpu();
	__u32 netns = device_netns(device);
	if (!cpu || !netns_in_scope(netns) || !stage_owner_of_packet(&key, skb, netns))
		return 0;
	__u64 now = bpf_ktime_get_ns();
	cpu->driver.skb = skb;
	cpu->driver.device = device;
	cpu->driver.qdisc_ns = since_queued(cpu, skb, now);
	cpu->driver.key = key;
	cpu->driver.since_ns = bpf_ktime_get_ns();
	return 0;
}

/* Up to here the driver has taken the packet (dev_xmit_complete, include/linux/netdevice.h). */
#define NET_XMIT_MASK 0x0f

SEC("tp_btf/net_dev_xmit")
int BPF_PROG(stage_xmit, struct sk_buff *skb, int rc, struct net_device *device)
{
	struct stage_cpu *cpu = this_cpu();
	if (!cpu || !netns_in_scope(device_netns(device)))
		return 0;
	__u64 now = bpf_ktime_get_ns();
	struct at_driver *driver = &cpu->driver;
	/* A device on top of another has its packets sent by that one: there they are counted. */
	if (driver->skb != skb || driver->device != device) {
		stage_lost(DIRECTION_TRANSMIT, STAGE_DRIVER, STAGE_INTERRUPTED);
		return 0;
	}
	driver->skb = NULL;
	if (rc >= NET_XMIT_MASK) /* it goes back to the queue */
		return 0;
	struct stage_key key = driver->key;
	struct stage_block *block = stage_block(&key, DIRECTION_TRANSMIT);
	if (driver->qdisc_ns != UNKNOWN)
		stage_add(block, DIRECTION_TRANSMIT, STAGE_QDISC, driver->qdisc_ns);
	stage_add(block, DIRECTION_TRANSMIT, STAGE_DRIVER, now - driver->since_ns);
	return 0;
}

/* For a test of the buckets alone: which slot its argument falls into. */
SEC("raw_tp")
int stage_slot(struct bpf_raw_tracepoint_args *ctx)
{
	return histogram_slot(ctx->args[0]);
}

char LICENSE[] SEC("license") = "GPL";
