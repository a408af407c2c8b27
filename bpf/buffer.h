/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
 *
 * Where the bytes of a call are in user memory: one buffer or several, described by the kernel's iov_iter
 * or by the system call's arguments. And how to copy them.
 */
#pragma once

#include "socket.h"

enum { SEND, RECEIVE };

#define MAX_CAPTURE 16384 /* of one record; a power of two */
#define MAX_SEGMENTS 1024 /* UIO_MAXIOV (include/uapi/linux/uio.h) */
#define MAX_STEPS 128	  /* for one record: two per segment */

struct buffer {
	const struct iovec *segments; /* NULL: `base` is all */
	const void *base;
	__u32 count;	     /* of segments */
	__u32 kernel_memory; /* segments[] is the kernel's copy, not the application's */
	__u64 size;	     /* of base; 0 and no segments: the bytes cannot be read */
	__u64 waits;	     /* see PAYLOAD_WAITS */
};

/* The data is twice the limit, so that the verifier sees that offset and length, each masked, fit. Behind it is
 * how far the call has been copied: here, because functions that the verifier walks on their own are given
 * numbers only. */
struct payload_scratch {
	struct payload_record record;
	__u8 data[2 * MAX_CAPTURE];
	struct buffer left; /* of which base is in the segment before the first of segments */
	__u32 wanted;	    /* bytes yet to be copied */
	__u32 length;	    /* bytes of the call that no record has told of */
	__u32 done;	    /* bytes of data */
	__u32 failed;	    /* the rest cannot be read */
};

/* key: cpu * 2 + direction; value: where a record is put together before it goes to the ring. One per
 * direction: on a preemptible kernel a send and a receive may be traced at the same time on one CPU; the
 * same program never runs twice there. Sized by the loader. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct payload_scratch);
} scratch SEC(".maps");

static __always_inline struct payload_scratch *buffer_scratch(int direction)
{
	__u32 index = bpf_get_smp_processor_id() * 2 + direction;
	return bpf_map_lookup_elem(&scratch, &index);
}

static __always_inline bool buffer_readable(const struct buffer *buffer)
{
	return buffer->segments || buffer->size;
}

static __always_inline bool buffer_segment(const struct buffer *buffer, __u32 index, struct iovec *segment)
{
	const struct iovec *from = buffer->segments + index;
	if (buffer->kernel_memory)
		return !bpf_probe_read_kernel(segment, sizeof(*segment), from);
	return !bpf_probe_read_user(segment, sizeof(*segment), from);
}

/* Copies what is left of a segment, as far as there is room, or goes to the next one; 0: there is no more to do.
 *
 * This function and buffer_fill are not inlined and not static: so the verifier walks each once, whatever calls
 * them and however often (from 5.6). Else a handful of segments is all that it has the patience for. */
__noinline int buffer_step(int direction)
{
	struct payload_scratch *scratch = buffer_scratch(direction);
	if (!scratch)
		return 0;
	struct buffer *left = &scratch->left;
	__u32 done = scratch->done, wanted = scratch->wanted;
	if (done >= MAX_CAPTURE || !wanted)
		return 0;
	if (!left->size) {
		struct iovec segment;
		if (!left->count || !buffer_segment(left, 0, &segment)) {
			scratch->failed = 1;
			return 0;
		}
		left->segments++;
		left->count--;
		left->base = segment.iov_base;
		left->size = segment.iov_len;
		return 1;
	}
	__u64 length = left->size;
	if (length > wanted)
		length = wanted;
	if (length > MAX_CAPTURE - done)
		length = MAX_CAPTURE - done;
	/* length - 1 keeps the full MAX_CAPTURE within the mask */
	__u32 bounded = ((length - 1) & (MAX_CAPTURE - 1)) + 1;
	if (bpf_probe_read_user(scratch->data + (done & (MAX_CAPTURE - 1)), bounded, left->base)) {
		scratch->failed = 1;
		return 0;
	}
	left->base += bounded;
	left->size -= bounded;
	scratch->done = done + bounded;
	scratch->wanted = wanted - bounded;
	return 1;
}

/* Copies the next bytes of the call into the scratch's data. */
__noinline int buffer_fill(int direction)
{
	for (__u32 i = 0; i < MAX_STEPS; i++)
		if (!buffer_step(direction))
			break;
	return 0;
}

/* The first bytes, of the first segment if there are several. */
static __always_inline __u32 buffer_peek(const struct buffer *buffer, __u8 *bytes, __u32 size, __u32 length)
{
	const void *base = buffer->base;
	__u64 available = buffer->size;
	if (buffer->segments) {
		struct iovec segment = {};
		if (!buffer_segment(buffer, 0, &segment))
			return 0;
		base = segment.iov_base;
		available = segment.iov_len;
	}
	if (available > length)
		available = length;
	if (available >= size) {
		return bpf_probe_read_user(bytes, size, base) ? 0 : size;
	}
	__u32 bounded = available & (size - 1);
	return !bounded || bpf_probe_read_user(bytes, bounded, base) ? 0 : bounded;
}

/* Where a call began that has moved `moved` bytes and now stands `offset` bytes into `segment`; 0: not known. Walked
 * by the verifier on its own, as buffer_step. */
__noinline __u64 buffer_rewind(__u64 segment, __u64 offset, __u64 moved)
{
	for (__u32 i = 0; i < MAX_SEGMENTS && offset < moved; i++) {
		struct iovec previous;
		segment -= sizeof(previous);
		if (bpf_probe_read_kernel(&previous, sizeof(previous), (const void *)segment))
			return 0;
		offset += previous.iov_len;
	}
	return offset == moved ? segment : 0;
}

/* The buffer of a call that has moved `moved` bytes and advanced the iterator by them: from where it
 * stands, back to where it started. */
static __always_inline void buffer_from_iter(struct buffer *buffer, struct msghdr *msg, __u64 moved, const bool typed)
{
	__u64 offset = READ(typed, msg, msg_iter.iov_offset);
	const struct iovec *segment;

	if (bpf_core_field_exists(((struct iov_iter *)0)->iter_type)) {
		__u8 type = READ(typed, msg, msg_iter.iter_type);
		if (bpf_core_enum_value_exists(enum iter_type, ITER_UBUF) &&
		    type == bpf_core_enum_value(enum iter_type, ITER_UBUF)) {
			if (offset < moved)
				return;
			buffer->base = BPF_CORE_READ(msg, msg_iter.ubuf) + offset - moved;
			buffer->size = moved;
			return;
		}
		if (type != bpf_core_enum_value(enum iter_type, ITER_IOVEC))
			return;
	} else {
		/* bit 0: direction; ITER_IOVEC is 4 (include/linux/uio.h up to 5.13) */
		struct iov_iter___type *iter = (void *)__builtin_preserve_access_index(&msg->msg_iter);
		if ((BPF_CORE_READ(iter, type) & ~1U) != 4)
			return;
	}
	if (bpf_core_field_exists(((struct iov_iter *)0)->__iov)) {
		segment = BPF_CORE_READ(msg, msg_iter.__iov);
	} else {
		struct iov_iter___iov *iter = (void *)__builtin_preserve_access_index(&msg->msg_iter);
		segment = BPF_CORE_READ(iter, iov);
	}
	segment = (const struct iovec *)buffer_rewind((__u64)segment, offset, moved);
	if (!segment)
		return;
	buffer->segments = segment;
	/* Not counted, for the segments from here on hold what was moved and more is not read. */
	buffer->count = MAX_SEGMENTS;
	buffer->kernel_memory = 1;
}

/* The system calls that move data on a socket, with their arguments. */
struct syscall {
	__u32 fd;
	__u32 flags;
	__u32 kind; /* enum syscall_kind */
	__u32 pad;
	__u64 pointer; /* buffer, iovec array or user_msghdr */
	__u64 size;    /* of the buffer, or segments of the array */
};

enum syscall_kind {
	SYSCALL_BUFFER,
	SYSCALL_VECTOR,
	SYSCALL_MESSAGE,
	SYSCALL_OPAQUE, /* sendfile: the bytes never were in this process's memory */
};

#if defined(__TARGET_ARCH_x86)
enum syscall_number {
	NR_READ = 0,
	NR_WRITE = 1,
	NR_READV = 19,
	NR_WRITEV = 20,
	NR_SENDFILE = 40,
	NR_SENDTO = 44,
	NR_RECVFROM = 45,
	NR_SENDMSG = 46,
	NR_RECVMSG = 47,
	NR_PREADV2 = 327,
	NR_PWRITEV2 = 328,
};

/* A 32-bit program has other numbers and other structs: its calls are not read. */
#define SYSCALL_IS_NATIVE(regs, typed) (READ(typed, regs, cs) == 0x33)
#define SYSCALL_NUMBER(regs, typed) READ(typed, regs, orig_ax)
#define SYSCALL_ARGUMENT1(regs, typed) READ(typed, regs, di)
#define SYSCALL_ARGUMENT2(regs, typed) READ(typed, regs, si)
#define SYSCALL_ARGUMENT3(regs, typed) READ(typed, regs, dx)
#define SYSCALL_ARGUMENT4(regs, typed) READ(typed, regs, r10)
#elif defined(__TARGET_ARCH_arm64)
enum syscall_number {
	NR_READ = 63,
	NR_WRITE = 64,
	NR_READV = 65,
	NR_WRITEV = 66,
	NR_SENDFILE = 71,
	NR_SENDTO = 206,
	NR_RECVFROM = 207,
	NR_SENDMSG = 211,
	NR_RECVMSG = 212,
	NR_PREADV2 = 286,
	NR_PWRITEV2 = 287,
};

#define SYSCALL_IS_NATIVE(regs, typed) (!(READ(typed, regs, pstate) & 0x10)) /* PSR_MODE32_BIT */
#define SYSCALL_NUMBER(regs, typed) READ(typed, regs, syscallno)
#define SYSCALL_ARGUMENT1(regs, typed) READ(typed, regs, orig_x0)
#define SYSCALL_ARGUMENT2(regs, typed) READ(typed, regs, regs[1])
#define SYSCALL_ARGUMENT3(regs, typed) READ(typed, regs, regs[2])
#define SYSCALL_ARGUMENT4(regs, typed) READ(typed, regs, regs[3])
#endif

/* The call that the task is in, if it is one that moves data in this direction. */
static __always_inline bool syscall_decode(struct syscall *call, struct pt_regs *regs, int direction, const bool typed)
{
	if (!SYSCALL_IS_NATIVE(regs, typed))
		return false;
	long number = SYSCALL_NUMBER(regs, typed);
	call->flags = 0;
	if (direction == 0) {
		if (number == NR_WRITE || number == NR_SENDTO)
			call->kind = SYSCALL_BUFFER;
		else if (number == NR_WRITEV || number == NR_PWRITEV2)
			call->kind = SYSCALL_VECTOR;
		else if (number == NR_SENDMSG)
			call->kind = SYSCALL_MESSAGE;
		else if (number == NR_SENDFILE)
			call->kind = SYSCALL_OPAQUE;
		else
			return false;
	} else {
		if (number == NR_READ) {
			call->kind = SYSCALL_BUFFER;
		} else if (number == NR_RECVFROM) {
			call->kind = SYSCALL_BUFFER;
			call->flags = SYSCALL_ARGUMENT4(regs, typed);
		} else if (number == NR_READV || number == NR_PREADV2) {
			call->kind = SYSCALL_VECTOR;
		} else if (number == NR_RECVMSG) {
			call->kind = SYSCALL_MESSAGE;
			call->flags = SYSCALL_ARGUMENT3(regs, typed);
		} else {
			return false;
		}
	}
	call->fd = SYSCALL_ARGUMENT1(regs, typed);
	call->pointer = SYSCALL_ARGUMENT2(regs, typed);
	call->size = SYSCALL_ARGUMENT3(regs, typed);
	return true;
}

static __always_inline void buffer_from_syscall(struct buffer *buffer, const struct syscall *call, __u64 moved)
{
	if (call->kind == SYSCALL_BUFFER) {
		buffer->base = (const void *)call->pointer;
		buffer->size = moved;
	} else if (call->kind == SYSCALL_VECTOR) {
		buffer->segments = (const struct iovec *)call->pointer;
		buffer->count = call->size;
	} else if (call->kind == SYSCALL_MESSAGE) {
		struct user_msghdr *user = (struct user_msghdr *)call->pointer;
		buffer->segments = BPF_PROBE_READ_USER(user, msg_iov);
		buffer->count = BPF_PROBE_READ_USER(user, msg_iovlen);
	}
}

static __always_inline struct file *descriptor_file(__u32 fd)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	struct fdtable *table = BPF_CORE_READ(task, files, fdt);
	struct file *file = NULL;
	if (fd >= BPF_CORE_READ(table, max_fds))
		return NULL;
	bpf_probe_read_kernel(&file, sizeof(file), BPF_CORE_READ(table, fd) + fd);
	return file;
}

/* Does no call on this descriptor of the current task wait? */
static __always_inline bool descriptor_nonblocking(__u32 fd)
{
	return BPF_CORE_READ(descriptor_file(fd), f_flags) & O_NONBLOCK;
}

/* Is this socket behind the descriptor of the current task? Asks the socket for its file, which is cheaper than to
 * follow the file to its socket. */
static __always_inline bool descriptor_is(__u32 fd, struct sock *sk, struct task_struct *task)
{
	struct fdtable *table = task->files->fdt;
	__u64 file = 0;
	if (fd >= table->max_fds)
		return false;
	bpf_probe_read_kernel(&file, sizeof(file), table->fd + fd);
	return file && file == (__u64)sk->sk_socket->file;
}

/* The socket behind a file descriptor of the current task, NULL if there is none. */
static __always_inline struct sock *descriptor_socket(__u32 fd)
{
	struct file *file = descriptor_file(fd);
	if (!file || (BPF_CORE_READ(file, f_inode, i_mode) & S_IFMT) != S_IFSOCK)
		return NULL;
	struct socket *socket = BPF_CORE_READ(file, private_data);
	return BPF_CORE_READ(socket, sk);
}
