//go:build ignore

/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
 *
 * Netfilter, a stage in both directions (see stages.bpf.c): the time in the hooks of its tables. What it has of a
 * packet's way is left for stages.bpf.c to take off that of IP.
 */
#include "stage_cpu.h"

/* The hooks of one packet come one after the other: each is a time of its own. */

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

/* Whose packet it is; its socket's, where the hook is passed with one. 0: not known; -1: it is not in scope. */
static __always_inline int netfilter_owner(struct stage_key *key, struct sk_buff *skb, __u32 netns)
{
	struct sock *sk = BPF_CORE_READ(skb, sk);
	if (!sk || !state_is_full(BPF_CORE_READ(sk, __sk_common.skc_state))) {
		key->netns = netns;
		return !scope_cgroup_count && !scope_include_count;
	}
	struct owner_ref owner = {};
	if (!socket_owner(&owner, sk, false) || !socket_ports_in_scope(sk, false))
		return -1;
	key->netns = owner.netns;
	key->cgroup_id = owner.cgroup_id;
	return 1;
}

/* Returns the direction, or -1 where the call is not timed. */
static __always_inline int netfilter_enter(struct sk_buff *skb, struct nf_hook_state *state)
{
	struct stage_cpu *cpu = this_cpu();
	struct stage_key key = {};
	__u8 hook = BPF_CORE_READ(state, hook);
	int direction = netfilter_direction(BPF_CORE_READ(state, pf), hook);
	if (direction < 0 || direction > DIRECTION_RECEIVE)
		return -1;
	__u32 netns = BPF_CORE_READ(state, net, ns.inum);
	if (!netns_in_scope(netns))
		return -1;
	/* What comes in often has no socket yet by which it could be known. */
	int counted = netfilter_owner(&key, skb, netns);
	struct in_netfilter *netfilter = &cpu->netfilter[direction];
	if (counted < 0) {
		cpu->filtered[direction] = skb;
		netfilter->since_ns = UNKNOWN;
		return -1;
	}
	/* Who comes in has been decided on by stages.bpf.c. */
	bool first = hook == NF_INET_LOCAL_OUT || hook == NF_INET_FORWARD ||
		     (hook == NF_INET_POST_ROUTING && cpu->filtered[direction] != skb);
	if (!(first ? stage_decide(cpu, direction, skb) : stage_timed(cpu, direction, skb))) {
		if (counted)
			stage_untimed(&cpu->untimed.netfilter[direction]);
		cpu->filtered[direction] = skb;
		netfilter->since_ns = 0;
		netfilter->total_ns = UNKNOWN;
		return -1;
	}
	if (cpu->filtered[direction] != skb || hook == NF_INET_LOCAL_OUT)
		netfilter->total_ns = 0;
	cpu->filtered[direction] = skb;
	netfilter->key = key;
	netfilter->counted = counted;
	netfilter->since_ns = bpf_ktime_get_ns();
	return direction;
}

static __always_inline void netfilter_leave(struct sk_buff *skb, __u32 direction)
{
	struct stage_cpu *cpu = this_cpu();
	if (direction > DIRECTION_RECEIVE)
		return;
	struct in_netfilter *netfilter = &cpu->netfilter[direction];
	if (stage_allowance && cpu->turn[direction] == skb)
		return;
	if (cpu->filtered[direction] == skb && netfilter->since_ns == UNKNOWN)
		return;
	if (cpu->filtered[direction] != skb || !netfilter->since_ns) {
		/* Another packet was in between, or the task has moved: what this one took is not known. */
		cpu->filtered[direction] = skb;
		netfilter->since_ns = 0;
		netfilter->total_ns = UNKNOWN;
		stage_lost(direction, STAGE_NETFILTER, STAGE_INTERRUPTED);
		return;
	}
	__u64 now = bpf_ktime_get_ns();
	struct stage_key key = netfilter->key;
	__u64 took = now - netfilter->since_ns;
	netfilter->since_ns = 0;
	if (netfilter->total_ns != UNKNOWN)
		netfilter->total_ns += took;
	if (!netfilter->counted)
		return;
	stage_slow(&key, NULL, NULL, direction, STAGE_NETFILTER, took, now);
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
	/* A softirq on top of a task that is in a hook, or what is left of a task that has moved to another CPU: which
	 * of the two the next return is of cannot be told. */
	if (cpu->called_skb && cpu->called_direction <= DIRECTION_RECEIVE) {
		struct in_netfilter *outer = &cpu->netfilter[cpu->called_direction];
		outer->since_ns = 0;
		outer->total_ns = UNKNOWN;
		if (outer->counted)
			stage_lost(cpu->called_direction, STAGE_NETFILTER, STAGE_INTERRUPTED);
	}
	cpu->called_skb = NULL;
	int direction = netfilter_enter(skb, state);
	if (direction < 0)
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
	if (!cpu->called_skb || cpu->called_task != bpf_get_current_task())
		return 0;
	struct sk_buff *skb = cpu->called_skb;
	cpu->called_skb = NULL;
	netfilter_leave(skb, cpu->called_direction);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
