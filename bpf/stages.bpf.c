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
#include "slow.h"
#include "stages.h"

/* A packet that is at the driver. It may be freed there, so whose it is has been read before. */
struct at_driver {
	struct sk_buff *skb;
	struct net_device *device;
	__u64 since_ns;
	__u64 qdisc_ns; /* ~0: not known */
	struct stage_key key;
};

/* A packet that is in netfilter's hooks, or was in some. It may be freed there. */
struct in_netfilter {
	struct sk_buff *skb;
	__u64 since_ns; /* 0: it is not in one now */
	__u64 total_ns; /* in all hooks of this direction so far; ~0: not known */
	struct stage_key key;
};

/* What is under way on a CPU: the last packet at each of these places. */
struct stage_cpu {
	struct sk_buff *received; /* given to the network stack */
	__u64 received_ns;
	struct sk_buff *queued; /* handed to its device */
	__u64 queued_ns;
	struct at_driver driver;
	struct in_netfilter netfilter[3]; /* by direction */
	/* The call that a kretprobe, which has no arguments, is the return of. */
	struct sk_buff *called_skb;
	__u64 called_task;
	__u32 called_direction;
	/* The address of a neighbor has become known, and what has waited for it is sent. */
	__u32 resolving;
	__u64 resolving_task;
	__u64 resolving_ns;
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

/* What netfilter had of a packet's way so far, which is a stage of its own; ~0 where that is not known. The slot is
 * then free. Without the programs of netfilter it is nothing. */
static __always_inline __u64 netfilter_share(struct stage_cpu *cpu, struct sk_buff *skb, const __u32 direction)
{
	struct in_netfilter *netfilter = &cpu->netfilter[direction];
	if (netfilter->skb != skb)
		return 0;
	netfilter->skb = NULL;
	return netfilter->total_ns;
}

SEC("tp_btf/netif_receive_skb")
int BPF_PROG(stage_receive, struct sk_buff *skb)
{
	struct stage_cpu *cpu = this_cpu();
	if (!cpu || !netns_in_scope(device_netns(skb->dev)))
		return 0;
	cpu->received = skb;
	cpu->netfilter[DIRECTION_RECEIVE].skb = NULL;
	cpu->received_ns = bpf_ktime_get_ns();
	return 0;
}

/* Tells of a packet that took long: with its connection, where it has a socket. What a reader or a sender waits for
 * is told by waits.bpf.c. */
static __always_inline void stage_slow(const struct stage_key *key, struct sock *sk, __u32 direction, __u32 stage,
				       __u64 ns, __u64 now)
{
	struct slow_event *record = slow_begin(SLOW_STAGE, ns, now);
	if (!record)
		return;
	record->direction = direction;
	record->stage = stage;
	record->owner.netns = key->netns;
	record->owner.cgroup_id = key->cgroup_id;
	if (socket_is_full(sk) && socket_is_tcp(sk, true)) {
		struct conn *conn = conn_lookup(sk, true);
		if (conn)
			slow_connection(record, conn, sk);
	}
	record->stack_depth = 0;
	record_submit(record, RECORD_SLOW);
}

/* Since the network stack's entry, if the packet has come from there to TCP in one go; else 0. Where an application
 * holds the socket, the packet waits in its backlog before TCP looks at it. */
static __always_inline __u64 since_received(struct stage_cpu *cpu, struct sock *sk, struct sk_buff *skb, __u64 now)
{
	if (cpu->received != skb || sk->sk_lock.owned)
		return 0;
	cpu->received = NULL;
	return now - cpu->received_ns;
}

/* Segments of established connections, before TCP looks at them. */
SEC("tp_btf/tcp_probe")
int BPF_PROG(stage_tcp_probe, struct sock *sk, struct sk_buff *skb)
{
	struct stage_key key = {};
	struct stage_cpu *cpu = this_cpu();
	__u64 now = bpf_ktime_get_ns();
	if (!cpu || !stage_owner_of_socket(&key, sk))
		return 0;
	struct stage_block *block = stage_block(&key, DIRECTION_RECEIVE);
	__u64 received = since_received(cpu, sk, skb, now);
	__u64 arrived = since_arrival(skb, now, STAGE_NIC_TO_TCP);
	/* From 5.18 on a segment that was sent on this host is stamped only when IP delivers it. */
	if (arrived != UNKNOWN) {
		arrived = arrived > received ? arrived : received;
		stage_add(block, DIRECTION_RECEIVE, STAGE_NIC_TO_TCP, arrived);
		if ((__s64)arrived > 0)
			stage_slow(&key, sk, DIRECTION_RECEIVE, STAGE_NIC_TO_TCP, arrived, now);
	}
	__u64 netfilter = netfilter_share(cpu, skb, DIRECTION_RECEIVE);
	if (received && netfilter != UNKNOWN)
		stage_add(block, DIRECTION_RECEIVE, STAGE_IP, received - netfilter);
	else
		stage_lost(DIRECTION_RECEIVE, STAGE_IP, STAGE_INTERRUPTED);
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

/* The beginning of a TCP header. */
struct segment_header {
	__be32 ports;
	__be32 sequence;
	__be32 acknowledgment;
	__u8 words; /* its length, in the high half */
};

/* The byte that the application offered is in this segment, or was in one that has not been seen. */
static __always_inline void socket_sent(struct stage_block *block, struct stage_socket *state, struct sk_buff *skb,
					struct sock *sk, __u64 sent)
{
	struct segment_header header;
	unsigned char *at = skb->head + skb->transport_header;
	if (bpf_probe_read_kernel(&header, sizeof(header), at))
		return;
	__u32 payload = skb->len - (__u32)(at - skb->data) - (header.words >> 4) * 4;
	__u32 sequence = bpf_ntohl(header.sequence);
	__s32 ahead = state->offered_sequence - sequence;
	if (ahead >= (__s32)payload)
		return;
	if (ahead < 0)
		stage_lost(DIRECTION_TRANSMIT, STAGE_SOCKET, STAGE_INTERRUPTED);
	else
		stage_add(block, DIRECTION_TRANSMIT, STAGE_SOCKET, sent - state->offered_ns);
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
}

/* Is a neighbor being resolved in this very stack of calls? One second is longer than that takes; what is older was
 * left behind by a task that has moved to another CPU. */
static __always_inline bool resolving(struct stage_cpu *cpu, __u64 now)
{
	return cpu->resolving && cpu->resolving_task == bpf_get_current_task() && now - cpu->resolving_ns < 1000000000;
}

/* A segment has come to its device. Of those that TCP sends at once only the first has been stamped when it was its
 * turn. */
static __always_inline void segment_queued(struct stage_cpu *cpu, struct sk_buff *skb, struct sock *sk, __u64 sent,
					   __u64 now)
{
	struct stage_key key = {};
	__u64 netfilter = netfilter_share(cpu, skb, DIRECTION_TRANSMIT);
	if (!stage_owner_of_socket(&key, sk))
		return;
	if (resolving(cpu, now)) {
		stage_add(stage_block(&key, DIRECTION_TRANSMIT), DIRECTION_TRANSMIT, STAGE_NEIGHBOR, now - sent);
		stage_slow(&key, sk, DIRECTION_TRANSMIT, STAGE_NEIGHBOR, now - sent, now);
		return;
	}
	struct stage_socket *state = stage_socket(sk, true);
	if (!state)
		return;
	bool first = state->burst_ns != sent;
	if (!first && !state->offered_ns)
		return;
	struct stage_block *block = stage_block(&key, DIRECTION_TRANSMIT);
	if (first) {
		state->burst_ns = sent;
		if (netfilter == UNKNOWN)
			stage_lost(DIRECTION_TRANSMIT, STAGE_IP, STAGE_INTERRUPTED);
		else
			stage_add(block, DIRECTION_TRANSMIT, STAGE_IP, now - sent - netfilter);
	}
	if (state->offered_ns)
		socket_sent(block, state, skb, sk, sent);
}

SEC("tp_btf/net_dev_queue")
int BPF_PROG(stage_queue, struct sk_buff *skb)
{
	struct stage_cpu *cpu = this_cpu();
	if (!cpu || !netns_in_scope(device_netns(skb->dev)))
		return 0;
	__u64 now = bpf_ktime_get_ns();
	struct sock *sk = skb->sk;
	__u64 sent = send_time(skb, sk);
	if (sent)
		segment_queued(cpu, skb, sk, sent, now);
	else if (resolving(cpu, now))
		stage_lost(DIRECTION_TRANSMIT, STAGE_NEIGHBOR, STAGE_NO_STAMP);
	cpu->queued = skb;
	cpu->queued_ns = now; /* the time of this program is in the next stage: to read the clock again costs as much */
	return 0;
}

SEC("tp_btf/neigh_update")
int BPF_PROG(stage_neighbor)
{
	struct stage_cpu *cpu = this_cpu();
	if (!cpu)
		return 0;
	cpu->resolving = 1;
	cpu->resolving_task = bpf_get_current_task();
	cpu->resolving_ns = bpf_ktime_get_ns();
	return 0;
}

SEC("tp_btf/neigh_update_done")
int BPF_PROG(stage_neighbor_done)
{
	struct stage_cpu *cpu = this_cpu();
	if (cpu)
		cpu->resolving = 0;
	return 0;
}

/* The application offers bytes to TCP. One at a time is followed until it is sent. `again`: it may be the same call
 * that goes on. */
static __always_inline void offered(struct sock *sk, const bool typed, bool again)
{
	if (!netns_in_scope(socket_netns(sk, typed)))
		return;
	struct stage_socket *state = stage_socket(sk, typed);
	if (!state)
		return;
	struct tcp_sock *tp = (struct tcp_sock *)sk;
	__u32 next = BPF_CORE_READ(tp, write_seq);
	if (state->offered_ns) {
		/* TCP has taken it, or this call waits for room. Else the call before this one was refused. */
		bool pending = next != state->offered_sequence || again;
		if (pending && (__s32)(BPF_CORE_READ(tp, snd_una) - state->offered_sequence) <= 0) {
			if (next == state->offered_sequence ||
			    (again && state->last_ns && next == state->last_sequence))
				return; /* still the same byte */
			if (state->last_ns && next != state->last_sequence) {
				state->next_ns = state->last_ns;
				state->next_sequence = state->last_sequence;
			}
			state->last_sequence = next;
			state->last_ns = bpf_ktime_get_ns();
			return;
		}
		if (pending) /* it is acknowledged, so it was sent */
			stage_lost(DIRECTION_TRANSMIT, STAGE_SOCKET, STAGE_INTERRUPTED);
	}
	state->offered_sequence = next;
	state->offered_ns = bpf_ktime_get_ns();
	state->next_ns = 0;
	state->last_ns = 0;
}

/* Comes once per segment that a call fills. A call that may not wait is refused where there is no room. */
SEC("tp_btf/tcp_sendmsg_locked")
int BPF_PROG(stage_offered_traced, struct sock *sk, struct msghdr *msg)
{
	offered(sk, true, !(msg->msg_flags & MSG_DONTWAIT));
	return 0;
}

SEC("fentry/tcp_sendmsg_locked")
int BPF_PROG(stage_offered_entry, struct sock *sk)
{
	offered(sk, true, false);
	return 0;
}

SEC("kprobe/tcp_sendmsg_locked")
int BPF_KPROBE(stage_offered_probe, struct sock *sk)
{
	offered(sk, false, false);
	return 0;
}

/* How long a packet that goes to the driver now was with the queueing discipline: exactly where it is the last
 * that came to a device on this CPU; else since TCP sent it. A paced segment's time lies ahead when it is queued:
 * until then it is held back by TCP. */
static __always_inline __u64 since_queued(struct stage_cpu *cpu, struct sk_buff *skb, __u64 now)
{
	__u64 sent = send_time(skb, skb->sk);
	if (cpu->queued == skb) {
		cpu->queued = NULL;
		return now - (sent > cpu->queued_ns ? sent : cpu->queued_ns);
	}
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
	cpu->driver.since_ns = now;
	if (cpu->driver.qdisc_ns != UNKNOWN && (__s64)cpu->driver.qdisc_ns > 0)
		stage_slow(&key, skb->sk, DIRECTION_TRANSMIT, STAGE_QDISC, cpu->driver.qdisc_ns, now);
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
	stage_slow(&key, NULL, DIRECTION_TRANSMIT, STAGE_DRIVER, now - driver->since_ns, now);
	stage_add(block, DIRECTION_TRANSMIT, STAGE_DRIVER, now - driver->since_ns);
	return 0;
}

/* Netfilter, in both directions. The hooks of one packet come one after the other: each is a time of its own. */

/* Of what passes IP's hooks; -1: of other protocols and of bridges. */
static __always_inline int netfilter_direction(__u8 family, __u8 hook)
{
	if (family != AF_INET && family != AF_INET6)
		return -1;
	if (hook == NF_INET_PRE_ROUTING || hook == NF_INET_LOCAL_IN)
		return DIRECTION_RECEIVE;
	if (hook == NF_INET_LOCAL_OUT || hook == NF_INET_POST_ROUTING)
		return DIRECTION_TRANSMIT;
	return hook == NF_INET_FORWARD ? DIRECTION_UNKNOWN : -1;
}

/* Whose packet it is; its socket's, where the hook is passed with one. */
static __always_inline bool netfilter_owner(struct stage_key *key, struct sk_buff *skb, __u32 netns)
{
	if (!netns_in_scope(netns))
		return false;
	struct sock *sk = BPF_CORE_READ(skb, sk);
	if (!sk || !state_is_full(BPF_CORE_READ(sk, __sk_common.skc_state))) {
		key->netns = netns;
		return !scope_cgroup_count && !scope_include_count;
	}
	struct owner_ref owner = {};
	if (!socket_owner(&owner, sk, false) || !socket_ports_in_scope(sk, false))
		return false;
	key->netns = owner.netns;
	key->cgroup_id = owner.cgroup_id;
	return true;
}

/* Returns the direction, or -1 where the call is not timed. */
static __always_inline int netfilter_enter(struct sk_buff *skb, struct nf_hook_state *state)
{
	struct stage_cpu *cpu = this_cpu();
	struct stage_key key = {};
	__u8 hook = BPF_CORE_READ(state, hook);
	int direction = netfilter_direction(BPF_CORE_READ(state, pf), hook);
	if (!cpu || direction < 0 || direction > DIRECTION_RECEIVE)
		return -1;
	if (!netfilter_owner(&key, skb, BPF_CORE_READ(state, net, ns.inum)))
		return -1;
	struct in_netfilter *netfilter = &cpu->netfilter[direction];
	if (netfilter->skb != skb || hook == NF_INET_LOCAL_OUT)
		netfilter->total_ns = 0;
	netfilter->skb = skb;
	netfilter->key = key;
	netfilter->since_ns = bpf_ktime_get_ns();
	return direction;
}

static __always_inline void netfilter_leave(struct sk_buff *skb, __u32 direction)
{
	__u64 now = bpf_ktime_get_ns();
	struct stage_cpu *cpu = this_cpu();
	if (!cpu || direction > DIRECTION_RECEIVE)
		return;
	struct in_netfilter *netfilter = &cpu->netfilter[direction];
	if (netfilter->skb != skb || !netfilter->since_ns) {
		/* Another packet was in between, or the task has moved: what this one took is not known. */
		netfilter->skb = skb;
		netfilter->since_ns = 0;
		netfilter->total_ns = UNKNOWN;
		stage_lost(direction, STAGE_NETFILTER, STAGE_INTERRUPTED);
		return;
	}
	struct stage_key key = netfilter->key;
	__u64 took = now - netfilter->since_ns;
	netfilter->since_ns = 0;
	if (netfilter->total_ns != UNKNOWN)
		netfilter->total_ns += took;
	stage_slow(&key, NULL, direction, STAGE_NETFILTER, took, now);
	stage_add(stage_block(&key, direction), direction, STAGE_NETFILTER, took);
}

SEC("fentry/nf_hook_slow")
int BPF_PROG(stage_netfilter_entry, struct sk_buff *skb, struct nf_hook_state *state)
{
	netfilter_enter(skb, state);
	return 0;
}

SEC("fexit/nf_hook_slow")
int BPF_PROG(stage_netfilter_exit, struct sk_buff *skb, struct nf_hook_state *state)
{
	int direction = netfilter_direction(BPF_CORE_READ(state, pf), BPF_CORE_READ(state, hook));
	if (direction >= 0 && netns_in_scope(BPF_CORE_READ(state, net, ns.inum)))
		netfilter_leave(skb, direction);
	return 0;
}

SEC("kprobe/nf_hook_slow")
int BPF_KPROBE(stage_netfilter_call, struct sk_buff *skb, struct nf_hook_state *state)
{
	struct stage_cpu *cpu = this_cpu();
	int direction = netfilter_enter(skb, state);
	if (!cpu || direction < 0)
		return 0;
	cpu->called_skb = skb;
	cpu->called_task = bpf_get_current_task();
	cpu->called_direction = direction;
	return 0;
}

SEC("kretprobe/nf_hook_slow")
int stage_netfilter_return(void *ctx)
{
	struct stage_cpu *cpu = this_cpu();
	if (!cpu || !cpu->called_skb || cpu->called_task != bpf_get_current_task())
		return 0;
	struct sk_buff *skb = cpu->called_skb;
	cpu->called_skb = NULL;
	netfilter_leave(skb, cpu->called_direction);
	return 0;
}

/* For a test of the buckets alone: which slot its argument falls into. */
SEC("raw_tp")
int stage_slot(struct bpf_raw_tracepoint_args *ctx)
{
	return histogram_slot(ctx->args[0]);
}

char LICENSE[] SEC("license") = "GPL";
