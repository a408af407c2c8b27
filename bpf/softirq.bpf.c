//go:build ignore

/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
 *
 * Softirqs, by vector and CPU: how long each waited from being raised to being run, and how long it ran. They
 * belong to nobody, so they are watched only where the whole host is.
 *
 * Memory: 20 histograms of 1040 bytes on each CPU.
 */
#include "histogram.h"
#include "slow.h"

/* key: vector * SOFTIRQ_PHASES + phase; value: of this CPU, since the start. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, SOFTIRQ_VECTORS *SOFTIRQ_PHASES);
	__type(key, __u32);
	__type(value, struct histogram);
} softirq_times SEC(".maps");

struct softirq_cpu {
	__u64 raised_ns[16]; /* by vector; 0: it is not */
	__u64 entered_ns[16];
};

/* key: 0; value: of this CPU. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct softirq_cpu);
} softirq_cpus SEC(".maps");

static __always_inline struct softirq_cpu *this_cpu(__u32 vector)
{
	__u32 zero = 0;
	return vector < SOFTIRQ_VECTORS ? bpf_map_lookup_elem(&softirq_cpus, &zero) : NULL;
}

static __always_inline void softirq_add(void *ctx, __u32 vector, __u32 phase, __u64 since, __u64 now)
{
	__u32 index = vector * SOFTIRQ_PHASES + phase;
	struct histogram *histogram = bpf_map_lookup_elem(&softirq_times, &index);
	if (!since || !histogram)
		return;
	histogram_add(histogram, now - since);
	struct slow_event *record = slow_begin(SLOW_SOFTIRQ, now - since, now);
	if (!record)
		return;
	record->stage = vector;
	record->direction = phase;
	slow_submit(ctx, record);
}

SEC("tp_btf/softirq_raise")
int BPF_PROG(softirq_raise, unsigned int vector)
{
	struct softirq_cpu *cpu = this_cpu(vector);
	if (cpu && !cpu->raised_ns[vector & 15])
		cpu->raised_ns[vector & 15] = bpf_ktime_get_ns();
	return 0;
}

SEC("tp_btf/softirq_entry")
int BPF_PROG(softirq_entry, unsigned int vector)
{
	struct softirq_cpu *cpu = this_cpu(vector);
	if (!cpu)
		return 0;
	__u64 since = cpu->raised_ns[vector & 15], now = bpf_ktime_get_ns();
	cpu->raised_ns[vector & 15] = 0;
	cpu->entered_ns[vector & 15] = now;
	softirq_add(ctx, vector, SOFTIRQ_WAIT, since, now);
	return 0;
}

SEC("tp_btf/softirq_exit")
int BPF_PROG(softirq_exit, unsigned int vector)
{
	struct softirq_cpu *cpu = this_cpu(vector);
	if (!cpu)
		return 0;
	__u64 since = cpu->entered_ns[vector & 15];
	cpu->entered_ns[vector & 15] = 0;
	softirq_add(ctx, vector, SOFTIRQ_RUN, since, bpf_ktime_get_ns());
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
