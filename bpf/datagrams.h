/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
 *
 * What is done about a call that moved a datagram, whatever tap it is seen by (datagrams.bpf.c): whose flow it is
 * part of, and what is copied of DNS. And the tap that reads the system call's arguments.
 */
#pragma once

#include "buffer.h"
#include "flows.h"

#define DATAGRAM_MAX 2048 /* bytes captured, a power of two: DNS over UDP has seldom more than 1232 */

/* Set by the loader. */
volatile const __u64 datagram_room = ~0ULL; /* bytes in the ring buffer above which datagrams are given up */

/* What is remembered of a socket that is bound to a port or not connected. */
struct udp_socket {
	__u16 port;	      /* its own: another one means another socket at the same address */
	__u8 first_direction; /* of the first datagram that was seen */
	__u8 asks_dns;	      /* sent something to port 53 */
	__u32 pad;
};

/* key: the socket's address; value: what is remembered of it. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, __u64);
	__type(value, struct udp_socket);
} udp_sockets SEC(".maps");

struct datagram_scratch {
	struct datagram_record record;
	__u8 data[2 * DATAGRAM_MAX];
};

/* key: cpu * 2 + direction; value: where a record is put together, see `scratch` in buffer.h. Sized by the
 * loader. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct datagram_scratch);
} datagram_scratch SEC(".maps");

/* One call that moved a datagram. */
struct datagram {
	struct sock *sk;
	struct address_pair pair; /* remote: zero if not known */
	__u32 length;
	__u16 protocol; /* IPPROTO_* */
	__u8 direction; /* SEND, RECEIVE */
	__u8 peer_known;
};

static __always_inline bool is_udp(__u16 protocol)
{
	return protocol == IPPROTO_UDP || protocol == IPPROTO_UDPLITE;
}

/* What stands where others have ports is something else: the protocol's number in raw sockets, the identifier
 * in those of ping. */
static __always_inline bool has_ports(__u16 protocol)
{
	return is_udp(protocol) || protocol == IPPROTO_SCTP || protocol == IPPROTO_DCCP;
}

static __always_inline bool peer_from_address(struct address_pair *pair, const struct sockaddr_any *address,
					      __u32 length)
{
	if (address->family == AF_INET && length >= 8) {
		address_from_v4(pair->remote, address->v4);
	} else if (address->family == AF_INET6 && length >= 24) {
		__builtin_memcpy(pair->remote, address->v6, sizeof(pair->remote));
	} else {
		return false;
	}
	pair->remote_port = bpf_ntohs(address->port);
	return true;
}

static __always_inline bool is_connected(const struct datagram *d)
{
	struct sock *sk = d->sk;
	return BPF_CORE_READ(sk, __sk_common.skc_state) == TCP_ESTABLISHED &&
	       (!has_ports(d->protocol) || BPF_CORE_READ(sk, __sk_common.skc_dport));
}

static __always_inline struct udp_socket *udp_socket(const struct datagram *d)
{
	__u64 key = (__u64)d->sk;
	struct udp_socket *state = bpf_map_lookup_elem(&udp_sockets, &key);
	if (state && state->port == d->pair.local_port)
		return state;
	struct udp_socket first = {
		.port = d->pair.local_port,
		.first_direction = d->direction,
	};
	bpf_map_update_elem(&udp_sockets, &key, &first, BPF_ANY);
	return bpf_map_lookup_elem(&udp_sockets, &key);
}

static __always_inline void datagram_add(struct datagram *d, const struct owner_ref *owner, bool connected,
					 const struct udp_socket *state)
{
	struct sock *sk = d->sk;
	struct socket_flow_key key = {
		.flow =
			{
				.owner = *owner,
				.protocol = d->protocol,
				.direction = d->direction == SEND ? DIRECTION_TRANSMIT : DIRECTION_RECEIVE,
			},
		.local_port = d->pair.local_port,
	};
	bool bound = BPF_CORE_READ_BITFIELD_PROBED(sk, sk_userlocks) & SOCK_BINDPORT_LOCK;
	__builtin_memcpy(key.local, d->pair.local, sizeof(key.local));
	if (d->peer_known)
		__builtin_memcpy(key.flow.peer, d->pair.remote, sizeof(key.flow.peer));
	if (is_udp(d->protocol)) {
		if (!bound && connected) {
			key.flow.role = ROLE_CLIENT;
			key.flow.port = d->pair.remote_port;
		} else if (bound && state && state->first_direction == RECEIVE &&
			   (!d->peer_known || d->pair.remote_port != d->pair.local_port)) {
			key.flow.role = ROLE_SERVER;
			key.flow.port = d->pair.local_port;
		}
	} else if (d->protocol == IPPROTO_SCTP && BPF_CORE_READ(sk, __sk_common.skc_state) == TCP_LISTEN) {
		key.flow.role = ROLE_SERVER;
		key.flow.port = d->pair.local_port;
	}
	flow_count(&key, d->length);
}

/* The bytes of the first segments: a datagram of DNS is in one, or has its header in one of its own. */
static __always_inline __u32 datagram_copy(const struct buffer *buffer, __u8 *data, __u32 wanted)
{
	__u32 done = 0;
	if (!buffer->segments) {
		if (!buffer->size || !wanted)
			return 0;
		__u32 length = ((wanted - 1) & (DATAGRAM_MAX - 1)) + 1;
		return bpf_probe_read_user(data, length, buffer->base) ? 0 : length;
	}
	for (__u32 i = 0; i < 3; i++) {
		struct iovec segment;
		if (i >= buffer->count || done >= wanted || !buffer_segment(buffer, i, &segment))
			break;
		__u64 length = segment.iov_len;
		if (!length)
			continue;
		if (length > wanted - done)
			length = wanted - done;
		/* Before 5.11 the verifier has to be told of the bounds where they matter. */
		__u64 offset = done, bounded = length - 1;
		barrier_var(offset);
		barrier_var(bounded);
		bounded = (bounded & (DATAGRAM_MAX - 1)) + 1;
		if (bpf_probe_read_user(data + (offset & (DATAGRAM_MAX - 1)), bounded, segment.iov_base))
			break;
		done += bounded;
	}
	return done > DATAGRAM_MAX ? DATAGRAM_MAX : done;
}

static __always_inline void datagram_report(const struct datagram *d, const struct owner_ref *owner,
					    const struct buffer *buffer)
{
	stat_kind(RECORD_DATAGRAM, STAT_SEEN);
	__u32 index = bpf_get_smp_processor_id() * 2 + (d->direction & 1);
	struct datagram_scratch *to = bpf_map_lookup_elem(&datagram_scratch, &index);
	if (!to || bpf_ringbuf_query(&records, BPF_RB_AVAIL_DATA) >= datagram_room) {
		stat_kind(RECORD_DATAGRAM, STAT_LOST);
		return;
	}
	__u32 wanted = d->length > DATAGRAM_MAX ? DATAGRAM_MAX : d->length;
	__u32 captured = datagram_copy(buffer, to->data, wanted);
	record_header(&to->record.header, RECORD_DATAGRAM, bpf_ktime_get_ns());
	to->record.socket = (__u64)d->sk;
	to->record.owner = *owner;
	to->record.pair = d->pair;
	to->record.length = d->length;
	to->record.captured = captured;
	to->record.direction = d->direction == SEND ? DIRECTION_TRANSMIT : DIRECTION_RECEIVE;
	to->record.flags = (captured < wanted ? PAYLOAD_NOT_CAPTURED : 0) | (wanted < d->length ? PAYLOAD_CUT : 0);
	bpf_get_current_comm(to->record.comm, sizeof(to->record.comm));
	__u64 size = captured;
	barrier_var(size);
	size = sizeof(to->record) + (size & (2 * DATAGRAM_MAX - 1));
	if (bpf_ringbuf_output(&records, to, size, BPF_RB_NO_WAKEUP))
		stat_kind(RECORD_DATAGRAM, STAT_LOST);
	else
		stat_kind(RECORD_DATAGRAM, STAT_SUBMITTED);
}

/* The part that all taps share: `address` is where the datagram goes to or came from, if that is known. Not inlined:
 * there are many programs, and it is nearly all of each. */
static __noinline void datagram(struct datagram *d, const struct sockaddr_any *address, __u32 address_length,
				const struct buffer *buffer)
{
	struct owner_ref owner = {};
	struct sock *sk = d->sk; /* BPF_CORE_READ would relocate the field of our own struct too */
	d->protocol = BPF_CORE_READ(sk, sk_protocol);
	if (d->protocol != IPPROTO_UDP) {
		if (!count_flows)
			return;
	}
	/* What a raw socket is given of TCP or UDP is a copy of another socket's. */
	if (d->protocol == IPPROTO_TCP || (d->protocol == IPPROTO_UDP && BPF_CORE_READ(sk, sk_type) == SOCK_RAW))
		return;
	if (!socket_owner(&owner, sk, false))
		return;
	bool connected = is_connected(d);
	socket_pair(&d->pair, sk, false);
	d->pair.protocol = d->protocol;
	d->peer_known = connected;
	if (peer_from_address(&d->pair, address, address_length))
		d->peer_known = 1;
	if (!d->peer_known)
		__builtin_memset(d->pair.remote, 0, sizeof(d->pair.remote));
	if (!has_ports(d->protocol))
		d->pair.local_port = 0;
	if (!has_ports(d->protocol) || !d->peer_known)
		d->pair.remote_port = 0;
	if (!ports_in_scope(d->pair.local_port, d->pair.remote_port))
		return;
	owner.tgid = bpf_get_current_pid_tgid() >> 32;
	struct udp_socket *state = NULL;
	if (is_udp(d->protocol) && (!connected || BPF_CORE_READ_BITFIELD_PROBED(sk, sk_userlocks) & SOCK_BINDPORT_LOCK))
		state = udp_socket(d);
	if (count_flows)
		datagram_add(d, &owner, connected, state);
	if (!capture_dns || d->protocol != IPPROTO_UDP)
		return;
	if (d->pair.remote_port == DNS_PORT) {
		if (state && d->direction == SEND)
			state->asks_dns = 1;
	} else if (d->peer_known || !state || !state->asks_dns) {
		return;
	}
	datagram_report(d, &owner, buffer);
}

/* Tracepoints: the message is that of the system call the task is in, if that is a call on this socket. */

/* key: thread, direction in the lowest bit of the upper half; value: which message of a call that moves several
 * comes next. */
struct batch {
	__u64 messages; /* the array of the call */
	__u32 next;
	__u32 pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, __u64);
	__type(value, struct batch);
} batches SEC(".maps");

static __always_inline __u64 batch_key(int direction)
{
	return (bpf_get_current_pid_tgid() & 0xffffffff) | (__u64)direction << 32;
}

#if defined(__TARGET_ARCH_x86)
enum {
	NR_RECVMMSG = 299,
	NR_SENDMMSG = 307,
};

#define SYSCALL_ARGUMENT5(regs, typed) READ(typed, regs, r8)
#define SYSCALL_ARGUMENT6(regs, typed) READ(typed, regs, r9)
#elif defined(__TARGET_ARCH_arm64)
enum {
	NR_RECVMMSG = 243,
	NR_SENDMMSG = 269,
};

#define SYSCALL_ARGUMENT5(regs, typed) READ(typed, regs, regs[4])
#define SYSCALL_ARGUMENT6(regs, typed) READ(typed, regs, regs[5])
#endif

enum { SYSCALL_BATCH = SYSCALL_OPAQUE + 1 };

/* Is the call one that moves several messages? One with a timeout may end before it has failed or moved all, and
 * then nobody tells: it is not followed. */
static __always_inline bool batch_decode(struct syscall *call, struct pt_regs *regs, int direction)
{
	if (!SYSCALL_IS_NATIVE(regs, true) ||
	    SYSCALL_NUMBER(regs, true) != (direction == SEND ? NR_SENDMMSG : NR_RECVMMSG))
		return false;
	if (direction == RECEIVE && SYSCALL_ARGUMENT5(regs, true))
		return false;
	call->kind = SYSCALL_BATCH;
	call->fd = SYSCALL_ARGUMENT1(regs, true);
	call->pointer = SYSCALL_ARGUMENT2(regs, true);
	call->size = SYSCALL_ARGUMENT3(regs, true);
	return true;
}

/* The message that sendmmsg or recvmmsg is at: they pass here once for each. One that fails is the last. */
static __always_inline struct user_msghdr *batch_message(const struct syscall *call, int direction)
{
	__u64 key = batch_key(direction);
	struct batch *batch = bpf_map_lookup_elem(&batches, &key);
	struct batch now = {.messages = call->pointer};
	if (batch && batch->messages == call->pointer && batch->next < call->size)
		now.next = batch->next;
	__u32 index = now.next++;
	if (now.next >= call->size)
		bpf_map_delete_elem(&batches, &key);
	else
		bpf_map_update_elem(&batches, &key, &now, BPF_ANY);
	return &((struct mmsghdr *)call->pointer)[index].msg_hdr;
}

static __always_inline __u32 user_address(struct sockaddr_any *address, const void *name, int length)
{
	if (!name || length < 8 || bpf_probe_read_user(address, 8, name))
		return 0;
	if (address->family == AF_INET)
		return length;
	if (length < 24 || bpf_probe_read_user(address, 24, name))
		return 0;
	return length;
}

static __always_inline void user_message(struct buffer *buffer, struct user_msghdr *message, int direction,
					 struct sockaddr_any *address, __u32 *address_length)
{
	buffer->segments = BPF_PROBE_READ_USER(message, msg_iov);
	buffer->count = BPF_PROBE_READ_USER(message, msg_iovlen);
	if (direction == SEND)
		*address_length = user_address(address, BPF_PROBE_READ_USER(message, msg_name),
					       BPF_PROBE_READ_USER(message, msg_namelen));
}

/* Is a call on this socket one that moves datagrams? Comes before anything that costs. */
static __always_inline bool datagram_wanted(struct sock *sk)
{
	/* Beyond 8 bits are those that send over others: MPTCP, whose subflows are of TCP, and SMC. */
	return sk->sk_protocol != IPPROTO_TCP && sk->sk_protocol <= 255 &&
	       (count_flows || sk->sk_protocol == IPPROTO_UDP) &&
	       (sk->__sk_common.skc_family == AF_INET || sk->__sk_common.skc_family == AF_INET6) &&
	       netns_in_scope(socket_netns(sk, true));
}

static __always_inline int datagram_call(struct sock *sk, int direction, int flags, int result)
{
	if (!datagram_wanted(sk))
		return 0;
	struct task_struct *task = bpf_get_current_task_btf();
	struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(task);
	struct syscall call = {}; /* the compiler looks at it before it is known to be filled */
	struct sockaddr_any address = {};
	struct buffer buffer = {};
	__u32 address_length = 0;
	bool ours = (syscall_decode(&call, regs, direction, true) || batch_decode(&call, regs, direction)) &&
		    descriptor_is(call.fd, sk, task);

	if (result < 0 || (direction == RECEIVE && !result)) {
		__u64 key = batch_key(direction);
		if (ours && call.kind == SYSCALL_BATCH)
			bpf_map_delete_elem(&batches, &key);
		return 0;
	}
	if (flags & (MSG_PEEK | MSG_ERRQUEUE))
		return 0;
	if (ours && call.kind == SYSCALL_BATCH) {
		user_message(&buffer, batch_message(&call, direction), direction, &address, &address_length);
	} else if (ours && call.kind == SYSCALL_MESSAGE) {
		user_message(&buffer, (struct user_msghdr *)call.pointer, direction, &address, &address_length);
	} else if (ours) {
		buffer_from_syscall(&buffer, &call, result);
		if (direction == SEND && SYSCALL_NUMBER(regs, true) == NR_SENDTO)
			address_length = user_address(&address, (const void *)SYSCALL_ARGUMENT5(regs, true),
						      SYSCALL_ARGUMENT6(regs, true));
	}
	struct datagram d = {.sk = sk, .length = result, .direction = direction};
	if (direction == RECEIVE && flags & MSG_TRUNC)
		__builtin_memset(&buffer, 0, sizeof(buffer));
	datagram(&d, &address, address_length, &buffer);
	return 0;
}
