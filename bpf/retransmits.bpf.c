//go:build ignore

/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
 *
 * Retransmits: each segment that TCP sends again, and why, as its congestion state tells.
 *
 *   SYN_SENT                          syn
 *   tail loss probe is the timer due  tail_loss_probe  (tcp_send_loss_probe)
 *   TCP_CA_Loss                       timeout          (tcp_retransmit_timer and what follows it)
 *   TCP_CA_Recovery                   fast             (tcp_xmit_retransmit_queue)
 *   another                           unknown
 *
 * SYN-ACKs are repeated from a request socket: tcp_retransmit_synack.
 */
#include "packet.h"

static __always_inline __u32 retransmit_type(struct sock *sk)
{
	struct inet_connection_sock *icsk = (struct inet_connection_sock *)sk;
	if (BPF_CORE_READ(sk, __sk_common.skc_state) == TCP_SYN_SENT)
		return RETRANSMIT_SYN;
	switch (BPF_CORE_READ_BITFIELD_PROBED(icsk, icsk_ca_state)) {
	case TCP_CA_LOSS:
		return RETRANSMIT_TIMEOUT;
	case TCP_CA_RECOVERY:
		return RETRANSMIT_FAST;
	}
	if (BPF_CORE_READ(icsk, icsk_pending) == ICSK_TIME_LOSS_PROBE)
		return RETRANSMIT_TAIL_LOSS_PROBE;
	return RETRANSMIT_UNKNOWN;
}

SEC("tp_btf/tcp_retransmit_skb")
int tcp_retransmit_skb(__u64 *ctx)
{
	struct sock *sk = (struct sock *)ctx[0];
	struct sk_buff *skb = (struct sk_buff *)ctx[1];
	struct packet_facts event = {.direction = DIRECTION_TRANSMIT, .has_reason = 1};

	/* Newer kernels fire also for a segment that could not be sent. */
	if (bpf_core_field_exists(((struct trace_event_raw_tcp_retransmit_skb___err *)0)->err) && (int)ctx[2])
		return 0;
	if (!event_from_socket(&event, sk, conn_lookup(sk, true), false))
		return 0;
	socket_pair(&event.pair, sk, false);
	if (!ports_in_scope(event.pair.local_port, event.pair.remote_port))
		return 0;
	struct tcp_skb_cb *cb = (struct tcp_skb_cb *)__builtin_preserve_access_index(&skb->cb[0]);
	event.reason = retransmit_type(sk);
	event.sequence = BPF_CORE_READ(cb, seq);
	event.has_tcp = TCP_SEQUENCE;
	event.length = BPF_CORE_READ(skb, len);
	/* Several segments may go at once, to be cut up by the device (GSO). The kernel counts each. */
	__u16 segments = BPF_CORE_READ(cb, tcp_gso_segs);
	event_send_packets(ctx, &event, RECORD_RETRANSMIT, segments ? segments : 1);
	return 0;
}

/* A request socket has the addresses of the connection to be, and the listener's namespace. */
SEC("tp_btf/tcp_retransmit_synack")
int BPF_PROG(tcp_retransmit_synack, struct sock *listener, struct request_sock *request)
{
	struct packet_facts event = {.direction = DIRECTION_TRANSMIT, .has_reason = 1};
	if (!socket_owner(&event.owner, listener, true))
		return 0;
	event.tcp_state = TCP_NEW_SYN_RECV;
	socket_pair(&event.pair, (struct sock *)request, false);
	if (!ports_in_scope(event.pair.local_port, event.pair.remote_port))
		return 0;
	event.reason = RETRANSMIT_SYN_ACK;
	event_send(ctx, &event, RECORD_RETRANSMIT);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
