/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
 *
 * What does not differ between kernels: basic types, numbers and the structures of system calls.
 */
#pragma once

/* Tells libbpf's headers that struct pt_regs is the kernel's. */
#define __VMLINUX_H__

typedef unsigned char __u8;
typedef signed char __s8;
typedef unsigned short __u16;
typedef short __s16;
typedef unsigned int __u32;
typedef int __s32;
typedef unsigned long long __u64;
typedef long long __s64;
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u32 __wsum;
typedef __u8 u8;
typedef __s8 s8;
typedef __u16 u16;
typedef __u32 u32;
typedef __u64 u64;
typedef __s64 s64;
typedef unsigned long size_t;
typedef long ssize_t;
typedef _Bool bool;
#define true 1
#define false 0
#define NULL ((void *)0)

enum bpf_map_type {
	BPF_MAP_TYPE_HASH = 1,
	BPF_MAP_TYPE_ARRAY = 2,
	BPF_MAP_TYPE_PERCPU_ARRAY = 6,
	BPF_MAP_TYPE_LRU_HASH = 9,
	BPF_MAP_TYPE_SK_STORAGE = 24,
	BPF_MAP_TYPE_RINGBUF = 27,
};

enum {
	BPF_ANY = 0,
	BPF_NOEXIST = 1,
	BPF_F_NO_PREALLOC = 1,
	BPF_SK_STORAGE_GET_F_CREATE = 1,
	BPF_RB_NO_WAKEUP = 1,
	BPF_RB_AVAIL_DATA = 0,
	BPF_F_USER_STACK = 256,
};

enum {
	AF_INET = 2,
	AF_INET6 = 10,
	IPPROTO_TCP = 6,
	IPPROTO_UDP = 17,
	IPPROTO_DCCP = 33,
	IPPROTO_SCTP = 132,
	IPPROTO_UDPLITE = 136,
	IPPROTO_MPTCP = 262,
	ETH_P_IP = 0x0800,
	ETH_P_IPV6 = 0x86dd,
	MSG_PEEK = 0x2,
	MSG_TRUNC = 0x20,
	MSG_DONTWAIT = 0x40,
	MSG_ERRQUEUE = 0x2000,
	MSG_NOTIFICATION = 0x8000, /* of SCTP */
	SOCK_RAW = 3,
	O_NONBLOCK = 00004000,
	S_IFMT = 0170000,
	S_IFSOCK = 0140000,
	SHUTDOWN_MASK = 3,
	PF_IO_WORKER = 0x00000010, /* from 5.12; before, they were of PF_KTHREAD */
	PF_KTHREAD = 0x00200000,
	SOCK_BINDPORT_LOCK = 8, /* of sk_userlocks: bind() named the port, include/net/sock.h */
	PACKET_OTHERHOST = 3,
	SOCK_DONE = 1, /* bit of skc_flags, include/net/sock.h */
};

enum {
	TCP_ESTABLISHED = 1,
	TCP_SYN_SENT,
	TCP_SYN_RECV,
	TCP_FIN_WAIT1,
	TCP_FIN_WAIT2,
	TCP_TIME_WAIT,
	TCP_CLOSE,
	TCP_CLOSE_WAIT,
	TCP_LAST_ACK,
	TCP_LISTEN,
	TCP_CLOSING,
	TCP_NEW_SYN_RECV,
};

/* enum nf_inet_hooks, include/uapi/linux/netfilter.h */
enum {
	NF_INET_PRE_ROUTING,
	NF_INET_LOCAL_IN,
	NF_INET_FORWARD,
	NF_INET_LOCAL_OUT,
	NF_INET_POST_ROUTING,
};

/* enum tcp_ca_state, include/uapi/linux/tcp.h; icsk_pending, include/net/inet_connection_sock.h */
enum {
	TCP_CA_RECOVERY = 3,
	TCP_CA_LOSS = 4,
	ICSK_TIME_LOSS_PROBE = 5,
};

/* Fixed by the system-call interface. */
struct iovec {
	void *iov_base;
	size_t iov_len;
};

struct user_msghdr {
	void *msg_name;
	int msg_namelen;
	struct iovec *msg_iov;
	size_t msg_iovlen;
};

struct mmsghdr {
	struct user_msghdr msg_hdr;
	size_t msg_control;
	size_t msg_controllen;
	unsigned int msg_flags;
	unsigned int msg_len;
};

/* Of AF_INET and AF_INET6: family and port lie at the same place. */
struct sockaddr_any {
	__u16 family;
	__be16 port;
	__be32 v4; /* or flow information */
	__u8 v6[16];
};

struct bpf_raw_tracepoint_args {
	__u64 args[0];
};
