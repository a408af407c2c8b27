//go:build ignore

/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
 *
 * No program: an object whose BTF holds the records of wire.h, from which internal/wire is generated.
 */
typedef unsigned char __u8;
typedef unsigned short __u16;
typedef unsigned int __u32;
typedef unsigned long long __u64;

#include "wire.h"

#define EXPORT(kind, name) kind name *export_##name __attribute__((used))
EXPORT(enum, record_kind);
EXPORT(enum, conn_role);
EXPORT(enum, conn_flags);
EXPORT(enum, close_reason);
EXPORT(enum, packet_direction);
EXPORT(enum, retransmit_type);
EXPORT(enum, payload_flags);
EXPORT(enum, tcp_fields);
EXPORT(enum, histogram_shape);
EXPORT(enum, stage);
EXPORT(enum, stage_loss);
EXPORT(struct, stage_untimed);
EXPORT(enum, slow_what);
EXPORT(enum, window_state);
EXPORT(enum, softirq_phase);
EXPORT(struct, record_header);
EXPORT(struct, owner_ref);
EXPORT(struct, address_pair);
EXPORT(struct, conn_record);
EXPORT(struct, packet_event);
EXPORT(struct, payload_record);
EXPORT(struct, count_key);
EXPORT(struct, slow_event);
EXPORT(struct, command_key);
EXPORT(struct, stage_key);
EXPORT(struct, histogram);
EXPORT(struct, stage_block);
EXPORT(struct, stage_record);
EXPORT(enum, task_flags);
EXPORT(struct, task_record);
EXPORT(struct, listener_record);
EXPORT(struct, queue_bytes);
EXPORT(struct, datagram_record);
EXPORT(struct, flow_key);
EXPORT(struct, socket_flow_key);
EXPORT(struct, flow_count);
