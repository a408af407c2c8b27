/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
 *
 * What is under way on each CPU, where a stage begins and ends in the same stack of calls: see stages.bpf.c.
 */
#pragma once

#include "clock.h"
#include "exemplars.h"

/* Set by the loader: how many packets are timed on a CPU in a window; 0: all. What is spent on one is about 100 ns in
 * each program: on a CPU that does nothing but send and receive, a fifth of its time. */
volatile const __u32 stage_allowance = 0;
/* No tracepoint's program interrupts itself. */
volatile const __u32 programs_alone = 0;
/* How long a window is in ticks of the kernel's timer, which cost a load, not a call; and in nanoseconds at most. */
volatile const __u64 stage_window_ticks = 0;
volatile const __u64 stage_window_ns = 0;

/* A packet, and in the bit that addresses do not have whether it is timed. */
#define TIMED(skb) ((void *)(skb) + 1)

/* A connection that was looked at lately (looked_at): for another packet that comes soon, and for its reader, its state
 * need not be asked for. Written while its socket is locked, but for what another with the same place writes: that may
 * stand beside it. */
struct stage_looked {
	struct sock *sk;
	union {
		struct {
			__u32 when;  /* LOOKED_UNIT of the clock that packets are stamped with */
			__u32 plain; /* its socket's hash: in its state is nothing for who reads from it or sends on it
					(reader_is_done); what that hash is not: there may be */
		};
		__u64 both; /* as another's are not mixed with them */
	};
};

/* How many of these there are, by their sockets' hash; and their size: the loader makes room. */
#define STAGE_LOOKED (1 << 14)
_Static_assert(sizeof(struct stage_looked) == 16, "stageLookedSize of internal/probe/stages.go");

#define LOOKED_UNIT(ns) ((__u32)((ns) >> 10))

/* A packet that is at the driver. It may be freed there, so whose it is has been read before. */
struct at_driver {
	struct sk_buff *skb;
	struct net_device *device;
	__u64 since_ns; /* 0: it is not timed; ~0: not in scope */
	__u64 qdisc_ns; /* ~0: not known */
	__u64 conn_id;	/* of a packet whose time in the queueing discipline is to be told of; else 0 */
	__u32 sequence; /* and its first byte */
	struct stage_key key;
};

/* A packet that is in netfilter's hooks, or was in some: that of stage_cpu.filtered. It may be freed there. */
struct in_netfilter {
	__u64 since_ns; /* 0: it is not in one now; ~0: it is not in scope */
	__u64 total_ns; /* in all hooks of this direction so far; ~0: not known */
	__u64 counted;	/* it is known to be in scope; else it is timed only to be taken off what IP took */
	struct stage_key key;
};

/* Who asks what was taken: each has a program of its own where they do not share one. */
enum asking {
	ASKING_STAGES,
	ASKING_WAITS,
};

/* What is under way on a CPU: the last packet at each of these places. What is needed of a packet that is not timed is
 * first, in as few cache lines as it can be, where an instruction names it in one byte. */
struct stage_cpu {
	__u64 spent_until;  /* where nothing is left of this window's, when it ends, in ticks */
	__u64 latest_ns;    /* before it ends it is not later than this */
	__u64 latest_stamp; /* the same by the clock that packets are stamped with; 0: nobody says */
	__u32 resolving;    /* the address of a neighbor has become known, and what has waited for it is sent */
	__u32 senders;	    /* some have waited for room, on whatever CPU (waits.h) */
	/* Since a call offered something; until the next packet goes out. What is known of a socket need not be asked
	 * by the next program that meets it: that it is in scope, and that nothing that it offered is followed. */
	struct sock *sender;
	void *turn[3];		     /* what was last decided on, or TIMED(): for where it is met again; by direction */
	struct sk_buff *filtered[3]; /* in netfilter's hooks, or behind them; by direction */
	struct sk_buff *received;    /* given to the network stack */
	void *copied[2];	     /* what was last read, of whatever socket, or TIMED(); by who asks: enum asking */
	__u64 sent_ns;		     /* of the packet that goes out, where it is not timed: when TCP sent it; 0: ask */
	struct sk_buff *queued;	     /* handed to its device, and timed */
	struct stage_untimed untimed;
	struct sock *burst; /* whose burst was taken for one without its state */
	__u64 burst_ns;	    /* and TCP's send time of that */
	struct at_driver driver;
	__u64 allowance;	 /* what is left of this window's */
	__u64 window_ticks;	 /* when it began */
	struct sk_buff *stacked; /* at a device that has given it to another, and is not done with it */
	__u64 received_ns;
	__u64 queued_length;
	__u64 queued_ns;
	__u64 resolving_task;
	__u64 resolving_ns;
	struct in_netfilter netfilter[3]; /* by direction */
	/* The call that a kretprobe, which has no arguments, is the return of. */
	struct sk_buff *called_skb;
	__u64 called_task;
	__u64 called_direction; /* of called_skb */
} __attribute__((aligned(64)));

_Static_assert(__builtin_offsetof(struct stage_cpu, untimed) == 128, "stageUntimedAt of internal/probe/stages.go");

/* The first CPU's; behind the last one's is what is known of connections: the loader makes room. Data, not a map's
 * values: those are looked up, which each program of a packet would do. */
struct stage_cpu stage_cpus SEC(".data.cpus");
/* Set by the loader: of how many there is room for, a power of two, less one. */
volatile const __u32 stage_cpu_mask = 0;

#define UNKNOWN (~0ULL)
#define MAX_CPUS 8192 /* CONFIG_NR_CPUS of distributions */

static __always_inline struct stage_cpu *stage_cpu_of(__u32 number)
{
	struct stage_cpu *first = &stage_cpus;
	barrier_var(first); /* for the compiler there is only one */
	return &first[number & stage_cpu_mask];
}

static __always_inline struct stage_cpu *this_cpu(void)
{
	return stage_cpu_of(bpf_get_smp_processor_id());
}

/* Where a connection is that was looked at. */
static __always_inline struct stage_looked *looked_place(struct sock *sk, const bool typed)
{
	struct stage_cpu *first = &stage_cpus;
	barrier_var(first);
	struct stage_looked *looked = (void *)&first[stage_cpu_mask + 1];
	return &looked[READ(typed, sk, __sk_common.skc_hash) & (STAGE_LOOKED - 1)];
}

/* Its next packet is to be looked at. */
static __always_inline void look_again(struct sock *sk)
{
	struct stage_looked *looked = looked_place(sk, true);
	if (looked->sk == sk)
		looked->sk = NULL;
}

/* Its reader is to look at its state. */
static __always_inline void reader_looks(struct sock *sk, const bool typed)
{
	struct stage_looked *looked = looked_place(sk, typed);
	if (looked->sk == sk)
		looked->plain = ~READ(typed, sk, __sk_common.skc_hash);
}

/* When it was looked at, if there is nothing in it for those who read from it and send on it; else false. */
static __always_inline bool is_plain(struct sock *sk, __u32 *when)
{
	struct stage_looked *looked = looked_place(sk, true);
	__u64 both = *(volatile __u64 *)&looked->both;
	*when = both;
	return looked->sk == sk && both >> 32 == sk->__sk_common.skc_hash;
}

/* When it was looked at; else false. */
static __always_inline bool is_looked(struct sock *sk, __u32 *when)
{
	struct stage_looked *looked = looked_place(sk, true);
	__u64 both = *(volatile __u64 *)&looked->both;
	*when = both;
	return looked->sk == sk && (__u32)((both >> 32 ^ sk->__sk_common.skc_hash) + 1) < 2;
}

static __always_inline void looked_now(struct sock *sk, __u32 when, bool plain)
{
	struct stage_looked *looked = looked_place(sk, true);
	__u32 hash = sk->__sk_common.skc_hash;
	looked->both = (__u64)(plain ? hash : ~hash) << 32 | when;
	looked->sk = sk;
}

/* Its reader need not, until something changes. */
static __always_inline void reader_knows(struct sock *sk)
{
	struct stage_looked *looked = looked_place(sk, true);
	if (looked->sk == sk)
		looked->plain = sk->__sk_common.skc_hash;
}

/* For what one program alone counts where no softirq comes on top of a task: before 6.2 a tracepoint cannot be
 * preempted, and since then no program interrupts itself (__bpf_trace_run): the run that is left out for that is in the
 * kernel's count of misses. A locked instruction waits for all that the CPU has yet to store, here what other CPUs
 * have in their caches. */
static __always_inline void stage_untimed_alone(__u64 *count)
{
	*count += 1;
}

/* For what one tracepoint's program alone counts. */
static __always_inline void stage_untimed(__u64 *count)
{
	if (programs_alone)
		stage_untimed_alone(count);
	else
		__sync_fetch_and_add(count, 1); /* an interrupt may count at the same time */
}

static __always_inline bool stage_allowed(struct stage_cpu *cpu)
{
	if (!stage_allowance)
		return true;
	/* Read once: an interrupt may take some meanwhile, and what is left must not fall below zero. */
	__u64 left = cpu->allowance;
	barrier();
	if (!left) {
		__u64 ticks = bpf_jiffies64();
		if (ticks < cpu->spent_until)
			return false;
		/* Before the window begins: an interrupt that finds it begun goes by this. */
		__u32 zero = 0;
		__u64 *offset = bpf_map_lookup_elem(&stage_clock, &zero);
		cpu->latest_ns = bpf_ktime_get_ns() + stage_window_ns;
		cpu->latest_stamp = offset && *offset ? cpu->latest_ns + *offset : 0;
		barrier();
		cpu->window_ticks = ticks;
		left = stage_allowance;
	}
	left--;
	if (!left)
		cpu->spent_until = cpu->window_ticks + stage_window_ticks;
	cpu->allowance = left;
	return true;
}

/* Nothing is left of this window's. */
static __always_inline bool stage_spent(struct stage_cpu *cpu)
{
	return stage_allowance && bpf_jiffies64() < cpu->spent_until;
}

/* What came this long before the window's end, or earlier, may be slow, or its stamp cannot be: of it more is asked. */
static __always_inline __u64 stage_late(const __u32 what)
{
	return slow_threshold_ns[what] && slow_threshold_ns[what] < 2 * stage_window_ns ? slow_threshold_ns[what]
											: 2 * stage_window_ns;
}

static __always_inline void stage_decided(struct stage_cpu *cpu, __u32 direction, struct sk_buff *skb, bool timed)
{
	cpu->turn[direction] = timed ? TIMED(skb) : skb;
}

/* Decides on a packet that comes to the first of a direction's programs, and is in scope. */
static __always_inline bool stage_decide(struct stage_cpu *cpu, __u32 direction, struct sk_buff *skb)
{
	if (!stage_allowance)
		return true;
	bool timed = stage_allowed(cpu);
	stage_decided(cpu, direction, skb, timed);
	cpu->sent_ns = 0;
	return timed;
}

/* What was decided, or is now: a packet may come to a later program first, on another CPU. */
static __always_inline bool stage_timed(struct stage_cpu *cpu, __u32 direction, struct sk_buff *skb)
{
	if (!stage_allowance)
		return true;
	if (cpu->turn[direction] == skb)
		return false;
	if (cpu->turn[direction] == TIMED(skb))
		return true;
	return stage_decide(cpu, direction, skb);
}

/* The same, by the last program: another packet may have this address next. Where none comes, the first decides anew.
 */
static __always_inline bool stage_timed_last(struct stage_cpu *cpu, __u32 direction, struct sk_buff *skb)
{
	bool timed = stage_timed(cpu, direction, skb);
	cpu->turn[direction] = NULL;
	return timed;
}

/* Of what stage_slow() tells. A function, for it is rarely wanted and often called. */
static __noinline int stage_slow_tell(const struct stage_key *key, struct sock *sk, struct sk_buff *skb,
				      __u32 direction, struct stage_time *time)
{
	struct slow_event *record = slow_begin(SLOW_STAGE, time->ns, time->now);
	if (!record)
		return 0;
	record->direction = direction;
	record->stage = time->stage;
	record->owner.netns = key->netns;
	record->owner.cgroup_id = key->cgroup_id;
	if (socket_is_full(sk) && socket_is_tcp(sk, true)) {
		struct conn *conn = conn_lookup(sk, true);
		if (conn)
			slow_connection(record, conn, sk);
		if (conn && skb && stage_sequence(direction, sk, skb, time))
			record->sequence = time->sequence;
	}
	record->stack_depth = 0;
	record_submit(record, RECORD_SLOW);
	return 0;
}

/* Tells of a packet that took long: with its connection, where it has a socket. What a reader or a sender waits for
 * is told by waits.bpf.c. */
static __always_inline void stage_slow(const struct stage_key *key, struct sock *sk, struct sk_buff *skb,
				       __u32 direction, __u32 stage, __u64 ns, __u64 now)
{
	if (!slow_threshold_ns[SLOW_STAGE] || ns < slow_threshold_ns[SLOW_STAGE])
		return;
	struct stage_time time = {.now = now, .ns = ns, .stage = stage};
	stage_slow_tell(key, sk, skb, direction, &time);
}

/* Of what is not timed: may it be slow, if it is as late as it can be in this window, or later? Only then is a clock
 * read. */
static __always_inline bool stage_may_be_slow(struct stage_cpu *cpu, const __u32 what, __u64 since)
{
	if (!slow_threshold_ns[what])
		return false;
	if (bpf_jiffies64() - cpu->window_ticks >= stage_window_ticks)
		return true;
	return (__s64)(cpu->latest_ns - since) >= (__s64)slow_threshold_ns[what];
}

/* What netfilter had of a packet's way so far, which is a stage of its own; ~0 where that is not known. The slot is
 * then free. Without the programs of netfilter it is nothing. */
static __always_inline __u64 netfilter_share(struct stage_cpu *cpu, struct sk_buff *skb, const __u32 direction)
{
	if (cpu->filtered[direction] != skb)
		return 0;
	cpu->filtered[direction] = NULL;
	return cpu->netfilter[direction].total_ns;
}
