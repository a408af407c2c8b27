//go:build ignore

/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
 *
 * When the bytes of a call came and went, beyond what the application's own calls tell. Kept in the
 * connection's state and given to payload.bpf.c's records; no map of packets.
 *
 *   tcp_probe           a packet reaches TCP (tcp_rcv_established). Only one that comes when everything before
 *                       it was read is noted: it is the one that whoever reads next has been waiting for.
 *                       Later ones may be merged with it, and then nothing says when they came. Where the stages
 *                       are on, it carries when it came from its device. Beyond their rate one that comes just
 *                       after another is not looked at, on connections without calls.
 *   net_dev_start_xmit  a packet is given to the first device on its way. Bytes sent again are not noted anew.
 */
#include "times.h"

SEC("tp_btf/tcp_probe")
int BPF_PROG(tcp_probe, struct sock *sk, struct sk_buff *skb)
{
	__u64 clock = 0;
	segment_arrived(sk, skb, conn_lookup(sk, true), &clock, true);
	return 0;
}

SEC("tp_btf/net_dev_start_xmit")
int BPF_PROG(net_dev_start_xmit, struct sk_buff *skb)
{
	__u64 clock = 0;
	segment_departed(skb, &clock);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
