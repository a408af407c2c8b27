/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
 *
 * The socket behind an open file.
 */
#pragma once

#include "kernel.h"

/* Set by the loader: bpf_sock_from_file is there (from 5.11). */
volatile const __u32 has_sock_from_file = 1;

static __always_inline struct sock *file_socket(struct file *file)
{
	if (has_sock_from_file) {
		struct socket *socket = bpf_sock_from_file(file);
		return socket ? socket->sk : NULL;
	}
	if ((BPF_CORE_READ(file, f_inode, i_mode) & S_IFMT) != S_IFSOCK)
		return NULL;
	struct socket *socket = BPF_CORE_READ(file, private_data);
	return BPF_CORE_READ(socket, sk);
}
