//go:build ignore

/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
 *
 * Network namespaces: who lives in which, and what listens there. Two iterators that run at each collection
 * and see all namespaces without entering any.
 */
#include "socket.h"
#include "file.h"

#define KTHREADD 2 /* parent of all kernel threads, in the initial pid namespace */

/* A process is told by the thread that leads it. The kernel's threads all live in the host's namespaces: one of
 * them is enough to know these. */
SEC("iter/task")
int tasks(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	if (!task || task->pid != task->tgid)
		return 0;
	bool kernel = task->flags & PF_KTHREAD;
	if (kernel && task->pid != KTHREADD)
		return 0;
	struct nsproxy *nsproxy = BPF_CORE_READ(task, nsproxy);
	if (!nsproxy) /* has ended, but for being waited for */
		return 0;
	struct net *net = BPF_CORE_READ(nsproxy, net_ns);
	struct cgroup *cgroup = BPF_CORE_READ(task, cgroups, dfl_cgrp);
	struct task_record record = {
		.cgroup_id = BPF_CORE_READ(cgroup, kn, id),
		.start_ns = task->start_time,
		.netns = BPF_CORE_READ(net, ns.inum),
		.tgid = task->tgid,
		.flags = kernel ? TASK_KERNEL : 0,
	};
	if (bpf_core_field_exists(net->net_cookie))
		record.netns_cookie = BPF_CORE_READ(net, net_cookie);
	if (netns_in_scope(record.netns) && cgroup_in_scope(cgroup))
		record.flags |= TASK_IN_SCOPE;
	bpf_seq_write(ctx->meta->seq, &record, sizeof(record));
	return 0;
}

/* The TCP socket that listens; with MPTCP, as all Go programs do by default, it is one behind the program's. */
static __always_inline struct sock *listener(struct sock *sk)
{
	if (BPF_CORE_READ(sk, __sk_common.skc_state) != TCP_LISTEN)
		return NULL;
	if (socket_is_tcp(sk, false))
		return sk;
	if (BPF_CORE_READ(sk, sk_protocol) != IPPROTO_MPTCP || !bpf_core_field_exists(((struct mptcp_sock *)0)->first))
		return NULL;
	return BPF_CORE_READ((struct mptcp_sock *)sk, first);
}

SEC("iter/task_file")
int listening(struct bpf_iter__task_file *ctx)
{
	struct file *file = ctx->file;
	if (!file)
		return 0;
	struct sock *held = file_socket(file);
	struct sock *sk = held ? listener(held) : NULL;
	if (!sk)
		return 0;
	struct owner_ref owner = {};
	if (!socket_owner(&owner, sk, false) || !socket_ports_in_scope(sk, false))
		return 0;
	struct listener_record record = {
		.socket = (__u64)sk,
		.netns = owner.netns,
		.backlog = BPF_CORE_READ(sk, sk_ack_backlog),
		.max_backlog = BPF_CORE_READ(sk, sk_max_ack_backlog),
		.drops = BPF_CORE_READ(sk, sk_drops.counter),
		.port = BPF_CORE_READ(sk, __sk_common.skc_num),
		.family = BPF_CORE_READ(sk, __sk_common.skc_family),
	};
	bpf_seq_write(ctx->meta->seq, &record, sizeof(record));
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
