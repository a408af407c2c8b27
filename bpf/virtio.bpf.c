//go:build ignore

/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
 *
 * Commands of the virtio-net driver to its device, by device and class: how long whoever gave one waited until the
 * host had carried it out (virtnet_send_command; in newer kernels virtnet_send_command_reply, which the other one
 * calls), the wait for other commands included. They belong to nobody, so they are watched only where the whole host
 * is.
 *
 * Memory: COMMANDS histograms of 1040 bytes, and as many commands under way for each possible CPU (sharedMap).
 */
#include "histogram.h"
#include "slow.h"

#define COMMANDS 256

/* key: device and class; value: since the start. Never deleted: devices are few. The overflow's is made by the
 * loader. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, COMMANDS);
	__type(key, struct command_key);
	__type(value, struct histogram);
} command_times SEC(".maps");

/* Of which new ones are copies: too large for the stack. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct histogram);
} command_zero SEC(".maps");

struct command {
	__u64 since_ns;
	void *private; /* address of what the driver keeps behind its struct net_device */
	__u64 class;
};

/* key: address of the task; value: the command that it is in. Not by CPU: who waits may be preempted, and sleeps in
 * newer kernels. Not by thread id: in older ones softirqs give commands too, and all idle tasks have the same. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, COMMANDS);
	__type(key, __u64);
	__type(value, struct command);
} commands SEC(".maps");

/* netdev_priv backwards. The driver's own types are not known everywhere: before 5.11 modules have none. */
static __always_inline struct net_device *device_of(void *private)
{
	__u64 size = (bpf_core_type_size(struct net_device) + 31) & ~31ULL; /* NETDEV_ALIGN */
	return (struct net_device *)(private - size);
}

static __always_inline struct histogram *command_histogram(struct command_key *key)
{
	struct histogram *histogram = bpf_map_lookup_elem(&command_times, key);
	if (histogram)
		return histogram;
	__u32 zero = 0;
	struct histogram *empty = bpf_map_lookup_elem(&command_zero, &zero);
	if (empty)
		bpf_map_update_elem(&command_times, key, empty, BPF_NOEXIST);
	histogram = bpf_map_lookup_elem(&command_times, key);
	if (histogram)
		return histogram;
	struct command_key overflow = {.overflow = 1};
	return bpf_map_lookup_elem(&command_times, &overflow);
}

static __always_inline void command_begin(void *private, __u8 class)
{
	__u64 task = bpf_get_current_task();
	struct command command = {.since_ns = bpf_ktime_get_ns(), .private = private, .class = class};
	bpf_map_update_elem(&commands, &task, &command, BPF_ANY);
}

static __always_inline void command_end(void *ctx)
{
	__u64 now = bpf_ktime_get_ns(), task = bpf_get_current_task();
	struct command *found = bpf_map_lookup_elem(&commands, &task);
	/* None: the program was attached meanwhile, or a softirq came in between that gave a command itself. */
	if (!found)
		return;
	struct command command = *found;
	bpf_map_delete_elem(&commands, &task);
	struct command_key key = {.class = command.class};
	struct net_device *device = device_of(command.private);
	/* Not the whole field: behind its end a name's predecessor is left. */
	bpf_core_read_str(key.device, sizeof(key.device), &device->name);
	struct histogram *histogram = command_histogram(&key);
	__u64 took = now - command.since_ns;
	if (histogram)
		histogram_add(histogram, took);
	struct slow_event *record = slow_begin(SLOW_COMMAND, took, now);
	if (!record)
		return;
	record->stage = key.class;
	__builtin_memcpy(record->comm, key.device, sizeof(record->comm));
	slow_submit(ctx, record);
}

SEC("fentry/virtnet_send_command_reply")
int BPF_PROG(command_reply_entry, void *private, __u8 class)
{
	command_begin(private, class);
	return 0;
}

SEC("fexit/virtnet_send_command_reply")
int BPF_PROG(command_reply_exit)
{
	command_end(ctx);
	return 0;
}

SEC("fentry/virtnet_send_command")
int BPF_PROG(command_entry, void *private, __u8 class)
{
	command_begin(private, class);
	return 0;
}

SEC("fexit/virtnet_send_command")
int BPF_PROG(command_exit)
{
	command_end(ctx);
	return 0;
}

SEC("kprobe/virtnet_send_command")
int BPF_KPROBE(command_call, void *private, __u8 class)
{
	command_begin(private, class);
	return 0;
}

SEC("kretprobe/virtnet_send_command")
int command_return(void *ctx)
{
	command_end(ctx);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
