/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
 *
 * The clock that the kernel stamps arriving packets with (skb->tstamp, CLOCK_REALTIME), while some socket has
 * SO_TIMESTAMPNS on: the loader holds one.
 */
#pragma once

#include "kernel.h"

/* key: 0; value: how far CLOCK_REALTIME is ahead of CLOCK_MONOTONIC, 0: nobody says. The loader follows steps of
 * the clock. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} stage_clock SEC(".maps");

/* The time, read once however many of a program's parts ask for it: `clock` is 0 until then. */
static __always_inline __u64 clock_now(__u64 *clock)
{
	if (!*clock)
		*clock = bpf_ktime_get_ns();
	return *clock;
}
