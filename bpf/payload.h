/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
 *
 * What is done about a call that moved data, whatever tap it is seen by (payload.bpf.c): is its connection one
 * that is wanted, does it speak HTTP, what is copied of it, and the records of that.
 */
#pragma once

#include "buffer.h"
#include "clock.h"
#include "conn.h"

#define MAX_RECORDS 16 /* of one call */
#define PEEK_BYTES 16
#define UNDECIDED_MAX 32
#define UNDECIDED_MAX_HTTP2 250
#define FRAMED 255 /* instead of a count: calls of this direction began with HTTP/2 frames */

/* Set by the loader. */
volatile const __u32 capture_bytes = 4096;
volatile const __u64 payload_room = ~0ULL; /* bytes in the ring buffer above which payload is given up */

#define DNS_CAPTURE 2048 /* bytes of each call */

/* A status line, or a method (upper-case letters and hyphens, as in the registry of RFC 9110 section 16.1), a
 * space and what a request-target begins with (RFC 9112 section 3.2). Fewer bytes that fit so far will do. */
static __always_inline bool is_http(const __u8 *bytes, __u32 length)
{
	static const char version[] = "HTTP/1.";
	bool matches = length > 0;
	for (__u32 i = 0; i < sizeof(version) - 1; i++)
		if (i < length && bytes[i] != version[i])
			matches = false;
	if (matches)
		return true;
	for (__u32 i = 0; i < PEEK_BYTES; i++) {
		if (i >= length)
			return i > 0;
		__u8 c = bytes[i];
		if (c == ' ') {
			if (i <= 2)
				return false;
			if (i + 1 >= length || i + 1 >= PEEK_BYTES)
				return true;
			__u8 target = bytes[i + 1];
			/* C: CONNECT, with a host */
			return target == '/' || target == '*' || target == 'h' || target == 'H' || bytes[0] == 'C';
		}
		if (c != '-' && (c < 'A' || c > 'Z'))
			return false;
	}
	return false;
}

/* A frame header (RFC 9113 section 4.1) that a connection can be told by. `first` takes only SETTINGS, with which
 * a server may begin before it has read the client's preface; else it is the start of a call in mid-connection,
 * where frames begin in nearly all programs. DATA is not taken: too many other protocols look like it. */
static __always_inline bool is_http2(const __u8 *bytes, __u32 length, bool first)
{
	if (length < 9 || bytes[0])
		return false;
	__u32 size = bytes[1] << 8 | bytes[2];
	__u8 type = bytes[3], flags = bytes[4];
	__u32 stream = bytes[5] << 24 | bytes[6] << 16 | bytes[7] << 8 | bytes[8];
	if (type == 4) /* SETTINGS */
		return !stream && size % 6 == 0 && (flags == 0 || (flags == 1 && !size && !first));
	if (first)
		return false;
	if (type == 1) /* HEADERS */
		return !bytes[5] && stream && size && size <= 16384 && !(flags & ~0x2d);
	if (type == 3) /* RST_STREAM */
		return !bytes[5] && stream && size == 4 && !flags;
	if (type == 6) /* PING */
		return !stream && size == 8 && !(flags & ~1);
	if (type == 8) /* WINDOW_UPDATE */
		return !bytes[5] && size == 4 && !flags;
	return false;
}

/* The header of a DATA frame, for a connection of which it is thought that it speaks HTTP/2. */
static __always_inline bool is_http2_data(const __u8 *bytes, __u32 length)
{
	return length >= 9 && !bytes[0] && !bytes[3] && !(bytes[4] & ~9) && !(bytes[5] & 0x80) &&
	       (bytes[5] | bytes[6] | bytes[7] | bytes[8]);
}

/* The position of the stream after the call, in sequence numbers. A call that reads the last byte may have
 * gone past the FIN as well. */
static __always_inline __u32 position(struct tcp_sock *tp, int direction, const bool typed)
{
	if (direction == SEND)
		return READ(typed, tp, write_seq);
	/* In this order: a FIN that comes meanwhile was not read. */
	__u32 fin = socket_fin_received((struct sock *)tp, typed);
	barrier();
	__u32 copied = READ(typed, tp, copied_seq);
	return copied - (fin && copied == READ(typed, tp, rcv_nxt));
}

/* The identity of a connection goes before its first payload. */
static __always_inline void announce(struct conn *conn, struct sock *sk, struct tcp_sock *tp, __u64 now,
				     const bool typed)
{
	stat_kind(RECORD_CONN_OPEN, STAT_SEEN);
	struct conn_record *record = record_reserve(RECORD_CONN_OPEN, sizeof(*record));
	if (!record)
		return;
	conn_fill(record, RECORD_CONN_OPEN, now, conn, sk, tp, typed);
	record_submit(record, RECORD_CONN_OPEN);
	conn->announced = 1;
}

/* Counts a call that did not tell; false after so many. */
static __always_inline bool still_undecided(struct conn *conn, int direction, __u8 most)
{
	if (conn->undecided[direction] == most)
		return false;
	conn->undecided[direction]++;
	return true;
}

/* What the call moved is HTTP's, or may still turn out to be. */
static __always_inline bool classify(struct conn *conn, __u16 peer_port, const struct buffer *buffer, __u32 length,
				     int direction)
{
	__u8 bytes[PEEK_BYTES] = {};
	if (capture_dns && conn->l7 == L7_UNKNOWN && conn->role == ROLE_CLIENT && peer_port == bpf_htons(DNS_PORT))
		conn->l7 = L7_DNS;
	if (conn->l7 == L7_HTTP2 || conn->l7 == L7_DNS) {
		conn->burst = 0;
		return true;
	}
	if (conn->l7 == L7_HTTP) {
		/* A message in mid-burst: the one before was answered early, or not waited for. */
		if (conn->burst && conn->burst_direction == direction + 1 &&
		    is_http(bytes, buffer_peek(buffer, bytes, PEEK_BYTES, length)))
			conn->burst = 0;
		return true;
	}
	__u32 peeked = buffer_peek(buffer, bytes, PEEK_BYTES, length);
	if (is_http(bytes, peeked)) {
		/* "PRI * HTTP/2.0" of RFC 9113 section 3.4 */
		bool http2 = peeked > 3 && bytes[0] == 'P' && bytes[1] == 'R' && bytes[2] == 'I' && bytes[3] == ' ';
		conn->l7 = http2 ? L7_HTTP2 : L7_HTTP;
		return true;
	}
	if (is_http2(bytes, peeked, !(conn->flags & CONN_ADOPTED))) {
		conn->l7 = L7_HTTP2;
		return true;
	}
	/* A connection seen from its start begins with a request; one joined later may be inside a body, and of
	 * bytes that cannot be read nothing is known. */
	if ((peeked && !(conn->flags & CONN_ADOPTED)) || !still_undecided(conn, direction, UNDECIDED_MAX))
		conn->l7 = L7_OTHER;
	return false;
}

/* The connection, if its payload is wanted. Comes before anything that costs: most calls end here. */
static __always_inline struct conn *tap_conn(struct sock *sk, const bool typed)
{
	if (scope_netns_count && !netns_in_scope(socket_netns(sk, typed)))
		return NULL;
	struct conn *conn = conn_lookup(sk, typed);
	if (conn)
		return conn->l7 == L7_OTHER ? NULL : conn;
	if (!socket_is_tcp(sk, typed))
		return NULL;
	struct owner_ref owner = {};
	if (!socket_owner(&owner, sk, typed) || !socket_ports_in_scope(sk, typed))
		return NULL;
	__u8 state = READ(typed, sk, __sk_common.skc_state);
	if (state == TCP_CLOSE || state == TCP_LISTEN || !state_is_full(state))
		return NULL;
	return conn_adopt(sk, &owner, typed);
}

/* A send begins. A hook that is passed several times in one call keeps the first time. */
static __always_inline void send_started(struct sock *sk, const bool once, __u64 *clock, const bool typed)
{
	struct conn *conn = tap_conn(sk, typed);
	if (conn && (once || !conn->send_ns)) {
		struct tcp_sock *tp = typed ? bpf_skc_to_tcp_sock(sk) : (struct tcp_sock *)sk;
		if (!tp)
			return;
		conn->send_ns = clock_now(clock);
		conn->send_sequence = READ(typed, tp, write_seq);
	}
}

/* A send moved nothing: the next one starts anew. */
static __always_inline void send_failed(struct sock *sk, const bool typed)
{
	struct conn *conn = tap_conn(sk, typed);
	if (conn)
		conn->send_ns = 0;
}

/* "HTTP/1.1 101": what follows is another protocol's. */
static __always_inline bool switches(const __u8 *data, __u32 captured)
{
	return captured >= 12 && data[0] == 'H' && data[9] == '1' && data[10] == '0' && data[11] == '1';
}

/* The rest of the ring buffer is kept for the records that sums depend on. */
static __always_inline bool ring_has_room(void)
{
	return bpf_ringbuf_query(&records, BPF_RB_AVAIL_DATA) < payload_room;
}

/* What times.bpf.c noted about these bytes. It may run at the same time on another CPU: what it changed
 * meanwhile belongs to other bytes, and the sequence number, which it changes first, says so. */
static __always_inline void payload_times(struct payload_record *record, struct conn *conn, int direction)
{
	record->arrived_ns = record->queued_ns = record->departed_ns = 0;
	record->arrived_end = record->departed_end = 0;
	if (direction == SEND) {
		__u32 sequence = conn->departed_sequence;
		barrier();
		__u64 departed = conn->departed_ns;
		barrier();
		if (sequence == conn->departed_sequence) {
			record->departed_ns = departed;
			record->departed_end = sequence;
		}
		return;
	}
	__u64 queued = conn->queued_ns, arrived = conn->arrived_ns;
	__u32 end = conn->arrived_end;
	barrier();
	__u32 before = record->sequence - conn->arrived_sequence;
	if (!queued || before >= end - conn->arrived_sequence)
		return;
	record->queued_ns = queued;
	record->arrived_ns = arrived;
	record->arrived_end = end;
}

/* What was taken for HTTP may be another protocol of which some call began alike. HTTP tells itself in both
 * directions: with nearly each burst, and HTTP/2 now and then, for a call may begin anywhere in a long DATA frame. */
static __always_inline void doubt(struct conn *conn, const __u8 *data, __u32 captured, int direction)
{
	if (conn->l7 == L7_HTTP2) {
		if (!(conn->flags & CONN_ADOPTED) || conn->undecided[direction] == FRAMED)
			return;
		if (is_http2(data, captured, false) || is_http2_data(data, captured))
			conn->undecided[direction] = FRAMED;
		else if (!still_undecided(conn, direction, UNDECIDED_MAX_HTTP2))
			conn->l7 = L7_OTHER;
	} else if (is_http(data, captured < PEEK_BYTES ? captured : PEEK_BYTES)) {
		conn->undecided[direction] = 0;
	} else if (!still_undecided(conn, direction, UNDECIDED_MAX)) {
		conn->l7 = L7_OTHER;
	}
}

static __always_inline void payload_fill(struct payload_record *record, struct conn *conn, struct tcp_sock *tp,
					 int direction, __u64 time, __u32 length, __u64 waits, const bool typed)
{
	record_header(&record->header, RECORD_PAYLOAD, time);
	record->conn_id = conn->id;
	record->sequence = position(tp, direction, typed) - length;
	record->length = length;
	record->captured = 0;
	__u64 pid_tgid = bpf_get_current_pid_tgid();
	record->tgid = pid_tgid >> 32;
	record->tid = pid_tgid;
	record->direction = direction == SEND ? DIRECTION_TRANSMIT : DIRECTION_RECEIVE;
	record->flags = conn->l7 == L7_DNS ? PAYLOAD_DNS : 0;
	if (waits)
		record->flags |= PAYLOAD_WAITS;
	record->pad[0] = record->pad[1] = 0;
	record->srtt_us = READ(typed, tp, srtt_us) >> 3;
	record->retransmits = READ(typed, tp, total_retrans);
	payload_times(record, conn, direction);
}

/* Sends a record of the next bytes of the call that the scratch describes; 0: it was the last, as it must be if
 * `last`. Walked by the verifier on its own, as buffer_step. */
__noinline int payload_next(int direction, int last)
{
	struct payload_scratch *scratch = buffer_scratch(direction);
	if (!scratch)
		return 0;
	scratch->done = 0;
	buffer_fill(direction);
	struct payload_record *record = &scratch->record;
	__u32 captured = scratch->done, length = scratch->length;
	bool more = captured && captured < length && scratch->wanted && !scratch->failed && !last;
	if (more)
		length = captured;
	else if (scratch->failed)
		record->flags |= PAYLOAD_NOT_CAPTURED;
	else if (captured < length)
		record->flags |= PAYLOAD_CUT;
	record->length = length;
	record->captured = captured;
	stat_kind(RECORD_PAYLOAD, STAT_SEEN);
	/* Which it is anyway; before 5.11 the verifier has to be told where the size is used. */
	__u64 size = captured;
	barrier_var(size);
	size = sizeof(scratch->record) + (size & (2 * MAX_CAPTURE - 1));
	if (!ring_has_room() || bpf_ringbuf_output(&records, scratch, size, BPF_RB_NO_WAKEUP))
		stat_kind(RECORD_PAYLOAD, STAT_LOST);
	else
		stat_kind(RECORD_PAYLOAD, STAT_SUBMITTED);
	record->sequence += length;
	record->flags |= PAYLOAD_CONTINUES;
	scratch->length -= length;
	return more;
}

/* One call on a connection that moved `length` bytes, described by `buffer`. */
static __always_inline void payload(struct conn *conn, struct sock *sk, int direction, __u32 length,
				    const struct buffer *buffer, const bool typed)
{
	struct tcp_sock *tp = typed ? bpf_skc_to_tcp_sock(sk) : (struct tcp_sock *)sk;
	if (!tp)
		return;
	__u64 started = 0;
	if (direction == SEND) {
		/* Not that of a call whose end the kernel did not show. */
		if (conn->send_sequence == READ(typed, tp, write_seq) - length)
			started = conn->send_ns;
		conn->send_ns = 0;
	}
	if (!conn->owner.tgid && !(conn->flags & CONN_TGID_AMBIGUOUS))
		conn_set_process(conn);
	/* Above TLS in the kernel, which may begin after words in plain text (STARTTLS, CONNECT), the bytes are plain
	 * text and the sequence numbers another stream's; below it they are nothing that is parsed. */
	if (READ(typed, tp, inet_conn.icsk_ulp_ops)) {
		conn->l7 = L7_OTHER;
		return;
	}
	if (!classify(conn, READ(typed, sk, __sk_common.skc_dport), buffer, length, direction))
		return;

	__u64 time = started ? started : bpf_ktime_get_ns();
	if (!conn->announced)
		announce(conn, sk, tp, bpf_ktime_get_ns(), typed);
	if (conn->burst_direction != direction + 1) {
		conn->burst_direction = direction + 1;
		conn->burst = 0;
	}
	__u32 limit = conn->l7 == L7_HTTP2 ? MAX_RECORDS * MAX_CAPTURE : capture_bytes;
	if (conn->l7 == L7_DNS)
		limit = DNS_CAPTURE;
	__u32 room = conn->burst < limit ? limit - conn->burst : 0;
	conn->burst = conn->burst + length < conn->burst ? ~0U : conn->burst + length;
	__u32 wanted = length < room ? length : room;
	bool begins = room == limit;

	if (!wanted || !buffer_readable(buffer)) {
		stat_kind(RECORD_PAYLOAD, STAT_SEEN);
		if (!ring_has_room()) {
			stat_kind(RECORD_PAYLOAD, STAT_LOST);
			return;
		}
		struct payload_record *record = record_reserve(RECORD_PAYLOAD, sizeof(*record));
		if (!record)
			return;
		payload_fill(record, conn, tp, direction, time, length, buffer->waits, typed);
		if (wanted)
			record->flags |= PAYLOAD_NOT_CAPTURED;
		if (wanted < length)
			record->flags |= PAYLOAD_CUT;
		record_submit(record, RECORD_PAYLOAD);
		return;
	}
	struct payload_scratch *scratch = buffer_scratch(direction);
	if (!scratch) {
		stat_kind(RECORD_PAYLOAD, STAT_SEEN);
		stat_kind(RECORD_PAYLOAD, STAT_LOST);
		return;
	}
	payload_fill(&scratch->record, conn, tp, direction, time, length, buffer->waits, typed);
	scratch->left = *buffer;
	scratch->wanted = wanted;
	scratch->length = length;
	scratch->failed = 0;
	for (__u32 i = 0; i < MAX_RECORDS; i++) {
		int more = payload_next(direction, i == MAX_RECORDS - 1);
		if (!i && conn->l7 != L7_DNS) {
			if (begins)
				doubt(conn, scratch->data, scratch->done, direction);
			if (switches(scratch->data, scratch->done))
				conn->l7 = L7_UNKNOWN; /* the next call tells: HTTP/2, or nothing that is parsed */
		}
		if (!more)
			break;
	}
}

/* See PAYLOAD_WAITS. Threads of the kernel's own (io_uring) work for whoever comes next. */
static __always_inline bool receive_waits(int direction, int flags)
{
	if (direction != RECEIVE || flags & MSG_DONTWAIT)
		return false;
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	return !(BPF_CORE_READ(task, flags) & (PF_IO_WORKER | PF_KTHREAD));
}

static __always_inline void payload_message(struct sock *sk, struct msghdr *msg, int direction, int flags, long result,
					    const bool typed)
{
	if (direction == SEND && result <= 0)
		send_failed(sk, typed);
	if (result <= 0 || flags & (MSG_PEEK | MSG_ERRQUEUE))
		return;
	struct conn *conn = tap_conn(sk, typed);
	if (!conn)
		return;
	struct buffer buffer = {.waits = receive_waits(direction, flags)};
	if (!(direction == RECEIVE && flags & MSG_TRUNC))
		buffer_from_iter(&buffer, msg, result, typed);
	payload(conn, sk, direction, result, &buffer, typed);
}

/* Tracepoints: the socket is given, the buffer is that of the system call the task is in, if that is a call on
 * this socket: the kernel sends and receives for itself too, and io_uring at any system call's end. */
static __always_inline void payload_call(struct sock *sk, int direction, int flags, int result)
{
	if (direction == SEND && result <= 0)
		send_failed(sk, true);
	if (result <= 0 || flags & (MSG_PEEK | MSG_ERRQUEUE))
		return;
	struct conn *conn = tap_conn(sk, true);
	if (!conn)
		return;
	struct task_struct *task = bpf_get_current_task_btf();
	struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(task);
	struct buffer buffer = {.waits = receive_waits(direction, flags)};
	struct syscall call;
	if (!(direction == RECEIVE && flags & MSG_TRUNC) && syscall_decode(&call, regs, direction, true) &&
	    descriptor_is(call.fd, sk, task))
		buffer_from_syscall(&buffer, &call, result);
	payload(conn, sk, direction, result, &buffer, true);
}
