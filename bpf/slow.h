/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
 *
 * What took longer than a threshold, reported under the token bucket.
 */
#pragma once

#include "conn.h"
#include "limit.h"

/* Set by the loader, by enum slow_what: what takes longer is reported; 0: nothing is. */
volatile const __u64 slow_threshold_ns[SLOW_MAX] = {};
volatile const __u32 slow_stack = 0;

/* Beyond the rate of stages a connection's packets are looked at once in this time (looked_at): what is slow may be
 * told of as so much slower. */
static __always_inline __u64 noted_enough_ns(const __u32 what)
{
	return slow_threshold_ns[what] ? slow_threshold_ns[what] / 64 : ~0ULL;
}

/* The record of something slow; NULL if it is not slow, or not to be reported. The caller adds whose it is. */
static __always_inline struct slow_event *slow_begin(const __u32 what, __u64 duration, __u64 now)
{
	if (!slow_threshold_ns[what] || duration < slow_threshold_ns[what])
		return NULL;
	stat_kind(RECORD_SLOW, STAT_SEEN);
	if (!limit_pass(RECORD_SLOW, now))
		return NULL;
	struct slow_event *record = record_reserve(RECORD_SLOW, sizeof(*record));
	if (!record)
		return NULL;
	__builtin_memset(record, 0, __builtin_offsetof(struct slow_event, stack));
	record_header(&record->header, RECORD_SLOW, now);
	record->what = what;
	record->duration_ns = duration;
	return record;
}

static __always_inline void slow_submit(void *ctx, struct slow_event *record)
{
	long bytes = slow_stack ? bpf_get_stack(ctx, record->stack, sizeof(record->stack), 0) : 0;
	record->stack_depth = bytes > 0 ? bytes / sizeof(__u64) : 0;
	record_submit(record, RECORD_SLOW);
}

static __always_inline void slow_connection(struct slow_event *record, struct conn *conn, struct sock *sk)
{
	record->conn_id = conn->id;
	record->owner = conn->owner;
	__builtin_memcpy(record->comm, conn->comm, sizeof(record->comm));
	socket_pair(&record->pair, sk, false);
}
