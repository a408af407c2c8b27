/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
 *
 * The state of a connection. It lives in the socket and is freed with it. That a socket has such a state
 * is also the answer to "is it in scope?".
 */
#pragma once

#include "socket.h"

enum l7_protocol {
	L7_UNKNOWN,
	L7_HTTP,  /* HTTP/1 */
	L7_HTTP2, /* of any call the first bytes are copied: frames are everywhere */
	L7_DNS,	  /* a client's connection to port 53 */
	L7_OTHER, /* nothing that is parsed: its payload is not looked at again */
};

/* Nobody has read what came at queued_ns. */
enum conn_unread {
	UNREAD = 1,
	UNREAD_UNTIMED = 2, /* and how long it lies there is not counted, only told if it is long */
};

/* The kernel takes 72 bytes more for each, of powers of two: 184 bytes are as many as fit into 256. Cache lines end
 * after 56 and 120 of them: what a packet that comes and its reader look at is in the first, what is sent in the
 * second.
 */
struct conn {
	/* times.bpf.c */
	__u32 arrived_sequence; /* first byte of the newest packet that was noted when it came while nothing was unread
				 */
	__u32 arrived_end;	/* on connections with calls (has_calls): after that packet's last byte */
	__u64 arrived_ns;	/* the same: when it came from the device; 0: not known */
	__u64 queued_ns;	/* and to TCP; 0: none did */
	/* Written while the socket is locked only. */
	__u64 unread : 4;      /* enum conn_unread */
	__u64 spliced : 4;     /* not 0: of its latest 15 reads one did not copy, or there was none */
	__u64 window_told : 7; /* bit per direction: that its window is closed */
	__u64 left : 1;	       /* whoever read last did not take all that there was */
	__u64 followed : 1;    /* a byte is followed until TCP has sent it (struct stage_socket) */
	__u64 freed_us : 47;   /* from when this end's window closed until a reader last took something; 0: none has */
	/* window.h */
	__u64 window_ns[2]; /* WINDOW_OF(direction): since when it is closed; 0: it is not */
	__u64 heard_ns;	    /* when the last packet that was looked at came */
	/* waits.bpf.c */
	__u64 blocked_ns; /* when a send found no room; 0: none did */
	union {
		__u64 blocked_again_ns; /* with trampolines: and another one, which had begun after that */
		__u64 asleep_ns; /* without: when the call that is under way began to wait for room; 0: it does not */
	};
	__u64 resumed_ns; /* when that other one began */
	/* payload.bpf.c */
	__u8 l7;
	__u8 burst_direction; /* of the last call */
	__u8 undecided[2];    /* by direction, calls in a row whose bytes did not tell the protocol */
	__u32 burst;	      /* bytes moved since the direction changed */
	__u64 send_ns;	      /* when the send call that is under way began; 0: none is */
	__u32 send_sequence;  /* and where in the stream */
	/* times.bpf.c */
	__u32 departed_sequence; /* after the bytes that were last given to a device for the first time */
	__u64 departed_ns;	 /* when they were; 0: none were */
	__u64 id;
	__u64 opened_ns;
	__u64 established_ns;
	struct owner_ref owner;
	__u32 handshake_us;
	__u32 first_sent;
	__u32 first_received;
	__u8 role;
	__u8 flags;
	__u8 close_reason;
	__u8 announced; /* RECORD_CONN_OPEN was sent */
	__u8 comm[16];
};

#define WINDOW_OF(direction) ((direction) == DIRECTION_TRANSMIT)

_Static_assert(sizeof(struct conn) <= 184, "a connection takes twice as much");
_Static_assert(__builtin_offsetof(struct conn, blocked_ns) == 56, "what packets change is in more than one cache line");

/* key: the socket; value: its connection; lives as long as the socket. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct conn);
} conns SEC(".maps");

/* key: the socket's address; value: its connection; deleted when the connection closes. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 262144);
	__type(key, __u64);
	__type(value, struct conn);
} conns_by_socket SEC(".maps");

/* A connection is made here first: it is too large for the stack together with a record. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct conn);
} conn_zero SEC(".maps");

/* `typed` says that the verifier knows sk as a struct sock, which the socket storage needs. */
static __always_inline struct conn *conn_lookup(struct sock *sk, const bool typed)
{
	if (use_sk_storage)
		return typed ? bpf_sk_storage_get(&conns, sk, NULL, 0) : NULL;
	__u64 key = (__u64)sk;
	return bpf_map_lookup_elem(&conns_by_socket, &key);
}

static __always_inline struct conn *conn_create(struct sock *sk, const bool typed)
{
	struct conn *conn = NULL;
	if (use_sk_storage) {
		if (typed)
			conn = bpf_sk_storage_get(&conns, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	} else {
		__u64 key = (__u64)sk;
		__u32 zero = 0;
		struct conn *empty = bpf_map_lookup_elem(&conn_zero, &zero);
		if (empty && !bpf_map_update_elem(&conns_by_socket, &key, empty, BPF_ANY))
			conn = bpf_map_lookup_elem(&conns_by_socket, &key);
	}
	if (conn)
		conn->spliced = 1;
	else
		stat_add(STAT_CONNS_FULL);
	return conn;
}

static __always_inline void conn_delete(struct sock *sk, const bool typed)
{
	if (use_sk_storage) {
		if (typed)
			bpf_sk_storage_delete(&conns, sk);
		return;
	}
	__u64 key = (__u64)sk;
	bpf_map_delete_elem(&conns_by_socket, &key);
}

/* May it carry calls that somebody wants to know? */
static __always_inline bool has_calls(struct conn *conn)
{
	return calls_enabled && conn->l7 != L7_OTHER;
}

/* The time in nanoseconds with the CPU in the low byte: two connections never share it, and unlike a
 * socket cookie every program may make one on every kernel. */
static __always_inline __u64 conn_new_id(__u64 now)
{
	return now << 8 | (bpf_get_smp_processor_id() & 0xff);
}

/* Only for programs that run in the context of the process that uses the socket. */
static __always_inline void conn_set_process(struct conn *conn)
{
	conn->owner.tgid = bpf_get_current_pid_tgid() >> 32;
	bpf_get_current_comm(conn->comm, sizeof(conn->comm));
}

/* A connection that is met without having been seen to open. */
static __always_inline struct conn *conn_adopt(struct sock *sk, const struct owner_ref *owner, const bool typed)
{
	struct conn *conn = conn_create(sk, typed);
	if (!conn)
		return NULL;
	__u64 now = bpf_ktime_get_ns();
	conn->id = conn_new_id(now);
	conn->owner = *owner;
	conn->opened_ns = now;
	conn->flags = CONN_ADOPTED;
	if (READ(typed, sk, __sk_common.skc_state) != TCP_SYN_SENT)
		conn->flags |= CONN_ESTABLISHED;
	return conn;
}

#define TCP_READ(field) READ(typed, tp, field)

/* Fills a record with what the connection and its tcp_sock know now. */
static __always_inline void conn_fill(struct conn_record *record, __u32 kind, __u64 now, struct conn *conn,
				      struct sock *sk, struct tcp_sock *tp, const bool typed)
{
	record_header(&record->header, kind, now);
	record->id = conn->id;
	record->owner = conn->owner;
	socket_pair(&record->pair, sk, typed);
	record->opened_ns = conn->opened_ns;
	record->established_ns = conn->established_ns;
	record->bytes_sent = TCP_READ(bytes_sent);
	record->bytes_retrans = TCP_READ(bytes_retrans);
	record->bytes_acked = TCP_READ(bytes_acked);
	/* The FIN last: it is counted before it is noted. */
	record->bytes_received = TCP_READ(bytes_received);
	barrier();
	if (record->bytes_received)
		record->bytes_received -= socket_fin_received(sk, typed);
	record->segs_out = TCP_READ(segs_out);
	record->segs_in = TCP_READ(segs_in);
	record->retransmits = TCP_READ(total_retrans);
	record->out_of_order = TCP_READ(rcv_ooopack);
	record->srtt_us = TCP_READ(srtt_us) >> 3; /* kept as eight times the value */
	__u32 min_rtt = TCP_READ(rtt_min.s[0].v);
	record->min_rtt_us = min_rtt == ~0U ? 0 : min_rtt;
	record->handshake_us = conn->handshake_us;
	record->snd_cwnd = TCP_READ(snd_cwnd);
	record->snd_wnd = TCP_READ(snd_wnd);
	record->rcv_wnd = TCP_READ(rcv_wnd);
	record->first_sent = conn->first_sent;
	record->first_received = conn->first_received;
	record->error = READ(typed, sk, sk_err);
	record->state = READ(typed, sk, __sk_common.skc_state);
	record->role = conn->role;
	record->flags = conn->flags;
	record->close_reason = conn->close_reason;
	__builtin_memcpy(record->comm, conn->comm, sizeof(record->comm));
}
