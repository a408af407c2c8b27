/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
 *
 * A token bucket per kind of event, as a generic cell rate algorithm (ITU-T I.371): one time stamp per
 * bucket, the time at which it will be full again. Two CPUs that update it at the same moment may let an
 * event more through; none is counted wrongly.
 */
#pragma once

#include "maps.h"

/* Set by the loader: nanoseconds per event, 0 for "no event of this kind"; and the depth of the bucket. */
volatile const __u64 limit_interval_ns[RECORD_KIND_MAX] = {};
volatile const __u64 limit_burst_ns[RECORD_KIND_MAX] = {};

/* key: kind; value: nanoseconds of CLOCK_MONOTONIC. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, RECORD_KIND_MAX);
	__type(key, __u32);
	__type(value, __u64);
} limits SEC(".maps");

/* May an event of this kind be reported now? Counts it as suppressed if not. */
static __always_inline bool limit_pass(const __u32 kind, __u64 now)
{
	__u32 key = kind; /* its own variable: kind must stay a constant for the verifier */
	__u64 *full_at = bpf_map_lookup_elem(&limits, &key);
	if (full_at && limit_interval_ns[kind]) {
		__u64 from = *full_at > now ? *full_at : now;
		if (from - now + limit_interval_ns[kind] <= limit_burst_ns[kind]) {
			*full_at = from + limit_interval_ns[kind];
			return true;
		}
	}
	stat_kind(kind, STAT_SUPPRESSED);
	return false;
}
