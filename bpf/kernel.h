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

#include "uapi.h"

/* What comes seldom is put behind the rest: a packet's way through a program is then in few cache lines. */
#define likely(condition) __builtin_expect(!!(condition), 1)
#define unlikely(condition) __builtin_expect(!!(condition), 0)

/* A field is found only under its own type: these two are enums of other values on every kernel, and none
 * of the values is used by number. */
enum skb_drop_reason { SKB_DROP_REASON_ANY };
enum sk_rst_reason { SK_RST_REASON_ANY };

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
	unsigned int skc_hash;
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

struct socket;
struct sk_buff_head {
	struct sk_buff *next;
	__u32 qlen;
};

struct sock {
	struct sock_common __sk_common;
	struct sk_buff_head sk_receive_queue;
	socket_lock_t sk_lock;
	int sk_wmem_queued;
	int sk_sndbuf;
	struct socket *sk_socket;
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
	u32 snd_nxt;
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
	struct file *file;
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
