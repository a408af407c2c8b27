//go:build ignore

/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
 *
 * Connections: when they open, establish, fail and close. Nothing here runs per packet: what a connection
 * did is read from its tcp_sock when it closes, and by snapshot.bpf.c at each collection.
 *
 * inet_sock_set_state fires for each change of a socket's state. A client's life is CLOSE, SYN_SENT,
 * ESTABLISHED, …, CLOSE. A server's socket appears in SYN_RECV when the handshake's last segment arrives
 * and is ESTABLISHED at once; the SYN itself makes a request socket, which never gets here.
 */
#include "conn.h"
#include "limit.h"

/* Client, in connect() or sendto(): the current process is the owner. The local port is not chosen yet. */
static __always_inline void connect_started(struct sock *sk)
{
	struct owner_ref owner = {};
	if (!socket_owner(&owner, sk, true))
		return;
	conn_delete(sk, true); /* of an earlier connection of this socket: see unread() */
	struct conn *conn = conn_create(sk, true);
	if (!conn)
		return;
	__u64 now = bpf_ktime_get_ns();
	conn->id = conn_new_id(now);
	conn->owner = owner;
	conn->opened_ns = now;
	conn->role = ROLE_CLIENT;
	conn_set_process(conn);
}

/* The sequence numbers of the first bytes, unless there was payload before the handshake's end (TCP Fast
 * Open). */
static __always_inline void note_sequences(struct conn *conn, struct tcp_sock *tp)
{
	if (tp->write_seq != tp->snd_una || tp->bytes_received)
		return;
	conn->first_sent = tp->write_seq;
	conn->first_received = tp->copied_seq;
	conn->flags |= CONN_SEQUENCES;
}

static __always_inline void client_established(struct sock *sk, struct tcp_sock *tp, struct conn *conn)
{
	if (!socket_ports_in_scope(sk, true)) {
		conn_delete(sk, true);
		return;
	}
	__u64 now = bpf_ktime_get_ns();
	conn->established_ns = now;
	conn->flags |= CONN_ESTABLISHED;
	if (conn->flags & CONN_ADOPTED)
		return;
	conn->handshake_us = (now - conn->opened_ns) / 1000;
	note_sequences(conn, tp);
}

/* Server, in softirq: the current process is whoever was interrupted, so the owner stays without one until
 * the socket is first used. */
static __always_inline void server_established(struct sock *sk, struct tcp_sock *tp)
{
	struct owner_ref owner = {};
	if (!socket_owner(&owner, sk, true) || !socket_ports_in_scope(sk, true))
		return;
	struct conn *conn = conn_create(sk, true);
	if (!conn)
		return;
	__u64 now = bpf_ktime_get_ns();
	conn->id = conn_new_id(now);
	conn->owner = owner;
	conn->opened_ns = now;
	conn->established_ns = now;
	conn->role = ROLE_SERVER;
	conn->flags = CONN_ESTABLISHED;
	/* The first RTT sample is the SYN-ACK's (tcp_synack_rtt_meas); none if the SYN-ACK was repeated. */
	conn->handshake_us = tp->srtt_us >> 3;
	note_sequences(conn, tp);
}

/* Why the connection is gone. sk_err is set before the state (tcp_reset, tcp_write_err); a close with
 * unread data or SO_LINGER 0 leaves an open state with no error. */
static __always_inline __u8 close_reason(struct sock *sk, int oldstate)
{
	switch (sk->sk_err) {
	case 0:
		break;
	case 104: /* ECONNRESET */
	case 32:  /* EPIPE: reset in CLOSE_WAIT */
		return CLOSE_RESET_RECEIVED;
	case 110: /* ETIMEDOUT */
		return CLOSE_TIMEOUT;
	default:
		return CLOSE_ERROR;
	}
	switch (oldstate) {
	case TCP_FIN_WAIT1:
	case TCP_FIN_WAIT2:
	case TCP_CLOSING:
		return CLOSE_LOCAL_FIN;
	case TCP_LAST_ACK:
		return CLOSE_REMOTE_FIN;
	case TCP_ESTABLISHED:
	case TCP_CLOSE_WAIT:
		return CLOSE_RESET_SENT;
	case TCP_SYN_SENT: /* by the application, before an answer came */
		return sk->sk_shutdown == SHUTDOWN_MASK ? CLOSE_LOCAL_FIN : CLOSE_UNKNOWN;
	}
	return CLOSE_UNKNOWN;
}

static __always_inline void send_record(__u32 kind, __u64 now, struct conn *conn, struct sock *sk, struct tcp_sock *tp,
					int oldstate)
{
	struct conn_record *record = record_reserve(kind, sizeof(*record));
	if (!record)
		return;
	conn_fill(record, kind, now, conn, sk, tp, true);
	record->state = oldstate;
	record_submit(record, kind);
}

/* A connection that both ends have closed, or that was reset, may hold bytes that its program reads later. Then its
 * state stays with the socket for payload.bpf.c. A program that has closed its descriptor reads no more: the queue
 * was emptied by then (__tcp_close). Where state is kept by address it cannot stay: nothing tells the socket's end. */
static __always_inline bool unread(struct conn *conn, struct sock *sk, struct tcp_sock *tp)
{
	if (!use_sk_storage || (conn->l7 != L7_HTTP && conn->l7 != L7_HTTP2) || !sk->sk_receive_queue.qlen)
		return false;
	return (__s32)(tp->rcv_nxt - socket_fin_received(sk, true) - tp->copied_seq) > 0;
}

static __always_inline void closed(struct sock *sk, struct tcp_sock *tp, int oldstate)
{
	struct conn *conn = conn_lookup(sk, true);
	if (!conn)
		return;
	if (conn->flags & CONN_UNREAD) { /* for the second time */
		conn_delete(sk, true);
		return;
	}
	__u64 now = bpf_ktime_get_ns();
	conn->close_reason = close_reason(sk, oldstate);
	if (!(conn->flags & CONN_ESTABLISHED) && !socket_ports_in_scope(sk, true)) {
		conn_delete(sk, true);
		return;
	}
	if (oldstate == TCP_SYN_SENT) {
		stat_kind(RECORD_CONN_FAILED, STAT_SEEN);
		if (limit_pass(RECORD_CONN_FAILED, now))
			send_record(RECORD_CONN_FAILED, now, conn, sk, tp, oldstate);
	} else if (oldstate != TCP_SYN_RECV) {
		/* The kernel may have left out the run in which this would have been seen (7.x preempts programs). */
		conn->flags |= CONN_ESTABLISHED;
	}
	bool stays = unread(conn, sk, tp);
	if (stays)
		conn->flags |= CONN_UNREAD;
	stat_kind(RECORD_CONN_CLOSE, STAT_SEEN);
	send_record(RECORD_CONN_CLOSE, now, conn, sk, tp, oldstate);
	if (!stays)
		conn_delete(sk, true);
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(inet_sock_set_state, struct sock *sk, int oldstate, int newstate)
{
	if (!socket_is_tcp(sk, true))
		return 0;
	struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);
	if (!tp)
		return 0;
	if (newstate == TCP_SYN_SENT) {
		connect_started(sk);
	} else if (newstate == TCP_CLOSE) {
		closed(sk, tp, oldstate);
	} else if (newstate == TCP_ESTABLISHED) {
		struct conn *conn = conn_lookup(sk, true);
		if (conn)
			client_established(sk, tp, conn);
		else if (oldstate == TCP_SYN_RECV)
			server_established(sk, tp);
	}
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
