/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
 *
 * The kernel's types, as far as the programs read them. Offsets are relocated when a program is loaded
 * (CO-RE), so only names and types matter here: one small file instead of a 130 000-line vmlinux.h, the
 * same for every architecture, and a reader sees what the receiver depends on.
 *
 * A name with three underscores (struct cgroup___ancestor_ids) is another kernel version's form of the
 * same type.
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

/* A field is found only under its own type: these two are enums of other values on every kernel, and none
 * of the values is used by number. */
enum skb_drop_reason { SKB_DROP_REASON_ANY };
enum sk_rst_reason { SK_RST_REASON_ANY };

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

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct ns_common {
	unsigned int inum;
};

struct net {
	struct ns_common ns;
	u64 net_cookie; /* from 5.12 */
};

typedef struct {
	struct net *net;
} possible_net_t;

typedef struct {
	int counter;
} atomic_t;

struct in6_addr {
	union {
		__u8 u6_addr8[16];
		__be32 u6_addr32[4];
	} in6_u;
};

struct kernfs_node {
	u64 id;
};

struct cgroup {
	int level;
	struct kernfs_node *kn;
	struct cgroup *ancestors[]; /* from 6.1 */
};

struct cgroup___ancestor_ids { /* up to 6.0 */
	u64 ancestor_ids[];
};

struct sock_cgroup_data {
	struct cgroup *cgroup; /* from 5.15 */
};

struct sock_cgroup_data___val { /* up to 5.14: a cgroup, or net_cls/net_prio data with bit 0 set */
	u64 val;
};

struct sock_common {
	struct {
		__be32 skc_daddr;
		__be32 skc_rcv_saddr;
	};
	struct {
		__be16 skc_dport;
		__u16 skc_num;
	};
	unsigned short skc_family;
	volatile unsigned char skc_state;
	possible_net_t skc_net;
	struct in6_addr skc_v6_daddr;
	struct in6_addr skc_v6_rcv_saddr;
	unsigned long skc_flags;
};

typedef struct {
	int owned;
} socket_lock_t;

struct sock {
	struct sock_common __sk_common;
	socket_lock_t sk_lock;
	u16 sk_type;
	u16 sk_protocol;
	u8 sk_shutdown;
	u8 sk_userlocks : 4;
	int sk_err;
	u32 sk_ack_backlog;
	u32 sk_max_ack_backlog;
	atomic_t sk_drops;
	struct sock_cgroup_data sk_cgrp_data;
};

struct inet_sock {
	struct sock sk;
	__be32 inet_saddr;
	__be16 inet_sport;
};

struct inet_bind_bucket {
	signed char fastreuse;
};

struct inet_connection_sock {
	struct inet_sock icsk_inet;
	struct inet_bind_bucket *icsk_bind_hash;
	const void *icsk_ulp_ops;
	__u8 icsk_ca_state : 5;
	__u8 icsk_pending;
};

struct minmax_sample {
	u32 t;
	u32 v;
};

struct minmax {
	struct minmax_sample s[3];
};

struct tcp_sock {
	struct inet_connection_sock inet_conn;
	u64 bytes_sent;
	u64 bytes_retrans;
	u64 bytes_acked;
	u64 bytes_received;
	u32 segs_out;
	u32 segs_in;
	u32 total_retrans;
	u32 rcv_ooopack;
	u32 srtt_us;
	struct minmax rtt_min;
	u32 snd_cwnd;
	u32 snd_wnd;
	u32 rcv_wnd;
	u32 snd_una;
	u32 write_seq;
	u32 copied_seq;
	u32 rcv_nxt;
};

struct mptcp_sock {
	struct sock *first;
};

struct request_sock {
	struct sock_common __req_common;
	struct sock *sk;
};

struct net_device {
	char name[16];
	int ifindex;
	possible_net_t nd_net;
};

struct dst_entry {
	struct net_device *dev;
};

struct sk_buff {
	struct net_device *dev;
	unsigned long _skb_refdst;
	struct sock *sk;
	s64 tstamp; /* also skb_mstamp_ns */
	char cb[48];
	unsigned int len;
	unsigned int data_len;
	int skb_iif;
	__u8 pkt_type : 3;
	__be16 protocol;
	__u16 transport_header;
	__u16 network_header;
	unsigned char *head;
	unsigned char *data;
};

struct nf_hook_state {
	u8 hook; /* up to 5.11 an unsigned int, whose first byte on a little-endian machine this is */
	u8 pf;
	struct net *net;
};

struct tcp_skb_cb {
	__u32 seq;
	__u32 end_seq;
	__u16 tcp_gso_segs;
};

struct iphdr {
	__u8 ihl : 4, version : 4;
	__u8 tos;
	__be16 tot_len;
	__be16 id;
	__be16 frag_off;
	__u8 ttl;
	__u8 protocol;
	__u16 check;
	__be32 saddr;
	__be32 daddr;
};

struct iov_iter {
	u8 iter_type;
	size_t iov_offset;
	const struct iovec *__iov; /* from 6.4 */
	void *ubuf;		   /* from 6.0 */
};

struct iov_iter___iov { /* up to 6.3 */
	const struct iovec *iov;
};

struct iov_iter___type { /* up to 5.13 */
	unsigned int type;
};

struct msghdr {
	void *msg_name;
	int msg_namelen;
	struct iov_iter msg_iter;
	unsigned int msg_flags;
};

/* From 5.14; the values differ between versions. */
enum iter_type {
	ITER_UBUF,
	ITER_IOVEC,
};

struct inode {
	unsigned short i_mode;
};

struct socket {
	short type;
	struct sock *sk;
};

struct file {
	unsigned int f_flags;
	struct inode *f_inode;
	void *private_data;
};

struct fdtable {
	unsigned int max_fds;
	struct file **fd;
};

struct files_struct {
	struct fdtable *fdt;
};

struct css_set {
	struct cgroup *dfl_cgrp;
};

struct nsproxy {
	struct net *net_ns;
};

struct task_struct {
	unsigned int flags;
	int pid;
	int tgid;
	u64 start_time;
	char comm[16];
	struct files_struct *files;
	struct nsproxy *nsproxy;
	struct css_set *cgroups;
};

struct seq_file;

struct bpf_iter_meta {
	struct seq_file *seq;
};

struct bpf_iter__bpf_sk_storage_map {
	struct bpf_iter_meta *meta;
	struct sock *sk;
	void *value;
};

struct bpf_iter__bpf_map_elem {
	struct bpf_iter_meta *meta;
	void *key;
	void *value;
};

struct bpf_iter__task {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
};

struct bpf_iter__task_file {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
	u32 fd;
	struct file *file;
};

/* The classic tracepoints' records: a field that is there tells which arguments the hook has. */
struct trace_event_raw_kfree_skb {
	void *location;
};

struct trace_event_raw_kfree_skb___reason { /* from 5.17 */
	enum skb_drop_reason reason;
};

struct trace_event_raw_kfree_skb___rx_sk { /* from 6.11 */
	void *rx_sk;
};

struct trace_event_raw_tcp_send_reset___reason { /* from 6.10 */
	enum sk_rst_reason reason;
};

struct trace_event_raw_tcp_retransmit_skb___err { /* from 6.15 */
	int err;
};

#if defined(__TARGET_ARCH_x86)
struct pt_regs {
	unsigned long r10;
	unsigned long r9;
	unsigned long r8;
	unsigned long ax;
	unsigned long cx;
	unsigned long dx;
	unsigned long si;
	unsigned long di;
	unsigned long orig_ax;
	unsigned long ip;
	unsigned short cs;
	unsigned long bp;
	unsigned long sp;
};
#elif defined(__TARGET_ARCH_arm64)
struct user_pt_regs {
	unsigned long long regs[31];
	unsigned long long sp;
	unsigned long long pc;
	unsigned long long pstate;
};

struct pt_regs {
	unsigned long long regs[31];
	unsigned long long sp;
	unsigned long long pc;
	unsigned long long pstate;
	unsigned long long orig_x0;
	int syscallno;
};
#endif

#pragma clang attribute pop

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_tracing.h>
