/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
 *
 * What the loader sets before a program is verified. Constants, so that a part that is off or that this
 * kernel cannot do is not only skipped but removed from the program.
 */
#pragma once

#include "kernel.h"
#include "wire.h"

#define MAX_SCOPE 8
#define MAX_PORTS 16
#define MAX_NOISE 48
#define DNS_PORT 53

/* 1: state lives in the socket. 0: in an LRU hash keyed by the socket's address, for kernels before 5.11
 * and for programs that know a socket only as an address. */
volatile const __u32 use_sk_storage = 1;

/* Scope. A count of 0 means that this part of the scope holds everything. */
volatile const __u32 scope_netns_count = 0;
volatile const __u32 scope_netns[MAX_SCOPE] = {};
volatile const __u32 scope_cgroup_count = 0;
volatile const __u64 scope_cgroup_id[MAX_SCOPE] = {};
volatile const __u32 scope_cgroup_level[MAX_SCOPE] = {};
volatile const __u32 scope_include_count = 0;
volatile const __u16 scope_include[MAX_PORTS] = {};
volatile const __u32 scope_exclude_count = 0;
volatile const __u16 scope_exclude[MAX_PORTS] = {};

/* Calls are told, so how their bytes came and went. */
volatile const __u32 calls_enabled = 0;

/* How long data waits for its reader is told (waits.bpf.c), and how long windows are closed. */
volatile const __u32 waits_enabled = 0;

/* Lookups of names are wanted, whatever they go over. */
volatile const __u32 capture_dns = 0;
