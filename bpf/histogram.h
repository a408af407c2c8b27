/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
 *
 * Distributions counted in the kernel: struct histogram of wire.h, whose buckets are those of an OpenTelemetry
 * exponential histogram of seconds, exactly. Counts are added atomically and never reset: a reader takes the
 * difference to what it read before, so none is lost however the two meet.
 */
#pragma once

#include "kernel.h"
#include "wire.h"

/* The boundaries 2^(k/8) s in nanoseconds are 10^9 * 2^(k/8): as binary numbers all of them have one of eight
 * significands. These are floor(10^9 * 2^(k/8) * 2^33) for k = 1…8: 2^63 <= w < 2^64. A whole number, shifted to
 * that range, is at most the boundary if and only if it is at most its floor. */
static __always_inline __u32 histogram_boundaries_below(__u64 w)
{
	if (w <= 0xa8965f74bf065071) {
		if (w <= 0x8dc3b8960164a7d9)
			return w > 0x81ffa7a9549ca6e3;
		return 2 + (w > 0x9a9867054d512391);
	}
	if (w <= 0xc87c3e7d03cdbec3)
		return 4 + (w > 0xb7d88a12d0dd9ea0);
	return 6 + (w > 0xdaa17c2cd19555db) + (w > 0xee6b280000000000);
}

/* The slot of a duration; HISTOGRAM_SLOTS or more: longer than the last holds. A global function: the verifier
 * walks its many paths once, and not again in whoever calls it. */
__noinline __u32 histogram_slot(__u64 ns)
{
	__u64 w = ns;
	__s32 exponent = 63; /* floor(log2(ns)) when w's highest bit is set */
	__u64 zero = ns;

	asm volatile("%0 ^= %1" : "+&r"(zero) : "r"(ns));
	if (!ns)
		return 0;
	if (!(w >> 32)) {
		w <<= 32;
		exponent -= 32;
	}
	if (!(w >> 48)) {
		w <<= 16;
		exponent -= 16;
	}
	if (!(w >> 56)) {
		w <<= 8;
		exponent -= 8;
	}
	if (!(w >> 60)) {
		w <<= 4;
		exponent -= 4;
	}
	if (!(w >> 62)) {
		w <<= 2;
		exponent -= 2;
	}
	if (!(w >> 63)) {
		w <<= 1;
		exponent -= 1;
	}
	/* The verifier of 6.18 follows impossible comparisons of a number whose low bits it knows, and warns in the
	 * kernel's log of its own mistake. That this is zero, it does not know. */
	w |= zero;
	/* The first boundary from 2^30 ns on is 2^(1/8) s. */
	__s32 slot = 8 * (exponent - 30) + (__s32)histogram_boundaries_below(w) + 8 * HISTOGRAM_FINEST + 1;
	return slot > 0 ? slot : 0;
}

/* False: longer than a histogram holds. */
static __always_inline bool histogram_add(struct histogram *histogram, __u64 ns)
{
	__u32 slot = histogram_slot(ns);
	if (slot >= HISTOGRAM_SLOTS)
		return false;
	__sync_fetch_and_add(&histogram->slots[slot], 1);
	__sync_fetch_and_add(&histogram->sum_ns, ns);
	return true;
}
