/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
 *
 * The maps that all capabilities share: the loader makes each once. And the books: a record is counted as
 * seen, and as exactly one of submitted, suppressed and lost, where that is decided.
 */
#pragma once

#include "config.h"

/* All records to user space, in one order. The reader polls: no program wakes it (a wake-up costs the
 * traced task 5 to 7 µs). */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 8 << 20);
} records SEC(".maps");

enum stat {
	STAT_SEEN,
	STAT_SUBMITTED,
	STAT_SUPPRESSED,
	STAT_LOST,
	STATS_PER_KIND,
	STAT_COUNTS_FULL = RECORD_KIND_MAX * STATS_PER_KIND,
	STAT_CONNS_FULL,
	STAT_FLOWS_FULL,
	STAT_MAX,
};

/* key: kind * STATS_PER_KIND + enum stat; value: how often, since the start. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, STAT_MAX);
	__type(key, __u32);
	__type(value, __u64);
} stats SEC(".maps");

static __always_inline void stat_add(__u32 index)
{
	__u64 *value = bpf_map_lookup_elem(&stats, &index);
	if (value)
		__sync_fetch_and_add(value, 1); /* a program may be interrupted by another one here */
}

static __always_inline void stat_kind(__u32 kind, enum stat stat)
{
	stat_add(kind * STATS_PER_KIND + stat);
}

/* Space for one record of a kind already counted as seen; NULL and counted as lost when there is none. */
static __always_inline void *record_reserve(__u32 kind, const __u64 size)
{
	void *record = bpf_ringbuf_reserve(&records, size, 0);
	if (!record)
		stat_kind(kind, STAT_LOST);
	return record;
}

static __always_inline void record_submit(void *record, __u32 kind)
{
	bpf_ringbuf_submit(record, BPF_RB_NO_WAKEUP);
	stat_kind(kind, STAT_SUBMITTED);
}

static __always_inline void record_header(struct record_header *header, __u32 kind, __u64 now)
{
	header->time_ns = now;
	header->kind = kind;
	header->cpu = bpf_get_smp_processor_id();
}
