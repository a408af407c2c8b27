//go:build ignore

/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
 *
 * Datagrams: how much each owner and each of its peers send each other over UDP and all else that is not TCP,
 * counted here; and what is asked of and answered by port 53 of a peer, which is copied out: DNS as its clients
 * see it.
 *
 * Three taps, at the calls that send and receive, in the order of preference:
 *
 *   fexit        udp_sendmsg, udp_recvmsg and those of IPv6, of raw sockets, of ping sockets and, where its module
 *                is there at the start, of SCTP: none runs for TCP, and the kernel has the peer's address at hand
 *   tracepoint   sock_send_length, sock_recv_length (from 6.3): run for every protocol; where a send goes is read
 *                from the system call's arguments. Where a datagram to a socket that is not connected came from
 *                is not known there yet: it is counted without its peer
 *   kprobe       on the functions that fexit takes; they forget the arguments until the function returns
 *
 * Who is the server is known in a few cases only. A UDP socket that was connected without having been bound to a
 * port is a client: nobody could know its port before it spoke. One that was bound to a port by name is a server if
 * it was spoken to before it spoke, and from another port than its own: else the two are equals, as in NTP or
 * WireGuard. A socket of SCTP that listens is a server. Other protocols know no servers.
 *
 * A call is counted as one packet, also where the kernel or the device cuts it up (UDP_SEGMENT) or had put it
 * together (UDP_GRO).
 */
#include "datagrams.h"

/* Of udp_recvmsg and the others: (sk, msg, len, noblock, flags, addr_len) up to 5.18, then without noblock; from 7.1
 * without addr_len too. Set by the loader. */
volatile const __u32 recvmsg_arguments = 5;

/* fexit: the message is the kernel's own. */
static __always_inline void message(struct sock *sk, struct msghdr *msg, int direction, int flags, int result,
				    const struct sockaddr_any *address, __u32 address_length)
{
	struct datagram d = {.sk = sk, .length = result, .direction = direction};
	struct buffer buffer = {};
	if (!(flags & MSG_TRUNC))
		buffer_from_iter(&buffer, msg, result, false);
	datagram(&d, address, address_length, &buffer);
}

/* The address that the message names, and how much of it there is. The kernel has room for the longest, and takes
 * the length of one that it has written last of all (inet_recvmsg). */
static __always_inline __u32 message_address(struct msghdr *msg, int direction, struct sockaddr_any *address)
{
	void *name = BPF_CORE_READ(msg, msg_name);
	__u32 length = sizeof(*address);
	if (direction == SEND)
		length = BPF_CORE_READ(msg, msg_namelen);
	if (!name || bpf_probe_read_kernel(address, 8, name))
		return 0;
	if (address->family == AF_INET)
		return length;
	if (length < 24 || bpf_probe_read_kernel(address, 24, name))
		return 0;
	return length;
}

static __always_inline void sent(struct sock *sk, struct msghdr *msg, int result)
{
	struct sockaddr_any address = {};
	if (result < 0)
		return;
	__u32 length = message_address(msg, SEND, &address);
	message(sk, msg, SEND, 0, result, &address, length);
}

static __always_inline bool is_v4_mapped(const __u8 address[16])
{
	const __u32 *words = (const __u32 *)address;
	return !words[0] && !words[1] && words[2] == bpf_htonl(0xffff);
}

static __always_inline void sent_v6(struct sock *sk, struct msghdr *msg, int result)
{
	struct sockaddr_any address = {};
	struct in6_addr remote;
	if (result < 0)
		return;
	/* To an IPv4 address it has gone through udp_sendmsg. Older kernels leave in the message the address that
	 * they made for that. */
	__u32 length = message_address(msg, SEND, &address);
	if (length) {
		if (address.family == AF_INET || is_v4_mapped(address.v6))
			return;
	} else if (BPF_CORE_READ(msg, msg_name)) {
		return;
	} else {
		BPF_CORE_READ_INTO(&remote, sk, __sk_common.skc_v6_daddr);
		if (is_v4_mapped((__u8 *)&remote))
			return;
	}
	message(sk, msg, SEND, 0, result, &address, length);
}

static __always_inline void received(struct sock *sk, struct msghdr *msg, int flags, int result)
{
	struct sockaddr_any address = {};
	if (result <= 0 || flags & (MSG_PEEK | MSG_ERRQUEUE))
		return;
	__u32 length = message_address(msg, RECEIVE, &address);
	message(sk, msg, RECEIVE, flags, result, &address, length);
}

/* SCTP hands over what happened to an association as it does data. */
static __always_inline void received_sctp(struct sock *sk, struct msghdr *msg, int flags, int result)
{
	if (!(BPF_CORE_READ(msg, msg_flags) & MSG_NOTIFICATION))
		received(sk, msg, flags, result);
}

#define FEXIT_SENT(function, handler)                                                                                  \
	SEC("fexit/" #function)                                                                                        \
	int BPF_PROG(function##_exit, struct sock *sk, struct msghdr *msg, size_t size, int result)                    \
	{                                                                                                              \
		handler(sk, msg, result);                                                                              \
		return 0;                                                                                              \
	}

FEXIT_SENT(udp_sendmsg, sent) /* of a socket of either family that sends to an IPv4 address */
FEXIT_SENT(udpv6_sendmsg, sent_v6)
FEXIT_SENT(raw_sendmsg, sent)
FEXIT_SENT(rawv6_sendmsg, sent)
FEXIT_SENT(ping_v4_sendmsg, sent)
FEXIT_SENT(ping_v6_sendmsg, sent)
FEXIT_SENT(sctp_sendmsg, sent)

/* The barriers keep the compiler from choosing an offset at run time, which the verifier refuses. */
#define FEXIT_RECEIVED(function, handler)                                                                              \
	SEC("fexit/" #function)                                                                                        \
	int function##_exit(__u64 *ctx)                                                                                \
	{                                                                                                              \
		int flags, result;                                                                                     \
		if (recvmsg_arguments == 6) {                                                                          \
			flags = ctx[4];                                                                                \
			result = ctx[6];                                                                               \
			barrier_var(result);                                                                           \
		} else if (recvmsg_arguments == 5) {                                                                   \
			flags = ctx[3];                                                                                \
			result = ctx[5];                                                                               \
			barrier_var(result);                                                                           \
		} else {                                                                                               \
			flags = ctx[3];                                                                                \
			result = ctx[4];                                                                               \
			barrier_var(result);                                                                           \
		}                                                                                                      \
		barrier_var(flags);                                                                                    \
		handler((struct sock *)ctx[0], (struct msghdr *)ctx[1], flags, result);                                \
		return 0;                                                                                              \
	}

FEXIT_RECEIVED(udp_recvmsg, received)
FEXIT_RECEIVED(udpv6_recvmsg, received)
FEXIT_RECEIVED(raw_recvmsg, received)
FEXIT_RECEIVED(rawv6_recvmsg, received)
FEXIT_RECEIVED(ping_recvmsg, received) /* of both families */
FEXIT_RECEIVED(sctp_recvmsg, received_sctp)

/* Kprobes: the arguments are gone when the function returns. */
struct pending_datagram {
	struct sock *sk;
	struct msghdr *msg;
	__u32 flags;
	__u32 pad;
};

/* UDP over IPv6 calls that over IPv4 for what goes there; none of the others calls another. */
enum { FUNCTION_ANY, FUNCTION_UDPV6 };

/* key: thread, direction and FUNCTION_* in the lowest bits of the upper half; value: the call it is in. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, __u64);
	__type(value, struct pending_datagram);
} pending_datagrams SEC(".maps");

static __always_inline __u64 pending_key(int direction, int function)
{
	return (bpf_get_current_pid_tgid() & 0xffffffff) | (__u64)(direction | function << 1) << 32;
}

static __always_inline int call_started(struct pt_regs *regs, int direction, int function)
{
	struct pending_datagram call = {
		.sk = (struct sock *)PT_REGS_PARM1_CORE(regs),
		.msg = (struct msghdr *)PT_REGS_PARM2_CORE(regs),
	};
	__u64 key = pending_key(direction, function);
	if (!netns_in_scope(socket_netns(call.sk, false)))
		return 0;
	if (direction == RECEIVE)
		call.flags = recvmsg_arguments == 6 ? PT_REGS_PARM5_CORE(regs) : PT_REGS_PARM4_CORE(regs);
	/* The kernel keeps track of so many returns at a time and forgets those beyond (kretprobe's maxactive). */
	if (bpf_map_update_elem(&pending_datagrams, &key, &call, BPF_NOEXIST)) {
		bpf_map_update_elem(&pending_datagrams, &key, &call, BPF_ANY);
		if (capture_dns) {
			stat_kind(RECORD_DATAGRAM, STAT_SEEN);
			stat_kind(RECORD_DATAGRAM, STAT_LOST);
		}
	}
	return 0;
}

static __always_inline bool call_returned(struct pending_datagram *call, int direction, int function)
{
	__u64 key = pending_key(direction, function);
	struct pending_datagram *pending = bpf_map_lookup_elem(&pending_datagrams, &key);
	if (!pending)
		return false;
	*call = *pending;
	bpf_map_delete_elem(&pending_datagrams, &key);
	return true;
}

#define KPROBE_SENT(function, which, handler)                                                                          \
	SEC("kprobe/" #function)                                                                                       \
	int function##_enter(struct pt_regs *regs)                                                                     \
	{                                                                                                              \
		return call_started(regs, SEND, which);                                                                \
	}                                                                                                              \
	SEC("kretprobe/" #function)                                                                                    \
	int function##_return(struct pt_regs *regs)                                                                    \
	{                                                                                                              \
		struct pending_datagram call;                                                                          \
		if (call_returned(&call, SEND, which))                                                                 \
			handler(call.sk, call.msg, PT_REGS_RC_CORE(regs));                                             \
		return 0;                                                                                              \
	}

#define KPROBE_RECEIVED(function, handler)                                                                             \
	SEC("kprobe/" #function)                                                                                       \
	int function##_enter(struct pt_regs *regs)                                                                     \
	{                                                                                                              \
		return call_started(regs, RECEIVE, FUNCTION_ANY);                                                      \
	}                                                                                                              \
	SEC("kretprobe/" #function)                                                                                    \
	int function##_return(struct pt_regs *regs)                                                                    \
	{                                                                                                              \
		struct pending_datagram call;                                                                          \
		if (call_returned(&call, RECEIVE, FUNCTION_ANY))                                                       \
			handler(call.sk, call.msg, call.flags, PT_REGS_RC_CORE(regs));                                 \
		return 0;                                                                                              \
	}

/* Of all functions there is one program, whichever of them it is attached to. */
KPROBE_SENT(udp_sendmsg, FUNCTION_ANY, sent)
KPROBE_SENT(udpv6_sendmsg, FUNCTION_UDPV6, sent_v6)
KPROBE_RECEIVED(udp_recvmsg, received)
KPROBE_RECEIVED(sctp_recvmsg, received_sctp)

SEC("tp_btf/sock_send_length")
int BPF_PROG(datagram_sent, struct sock *sk, int result, int flags)
{
	return datagram_call(sk, SEND, 0, result);
}

SEC("tp_btf/sock_recv_length")
int BPF_PROG(datagram_received, struct sock *sk, int result, int flags)
{
	return datagram_call(sk, RECEIVE, flags, result);
}

char LICENSE[] SEC("license") = "GPL";
