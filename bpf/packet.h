/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
 *
 * What a packet tells about itself: device, network namespace, addresses, ports, TCP header. Its headers
 * are read by offset from skb->head, as far as the stack has set the offsets.
 */
#pragma once

#include "event.h"

struct ports {
	__be16 source;
	__be16 destination;
};

struct tcp_header {
	struct ports ports;
	__be32 sequence;
	__be32 acknowledgment;
	__u8 data_offset;
	__u8 flags;
	__be16 window;
};

#define OFFSET_UNSET 0xffff
#define IPV6_HEADER 40

/* TCP takes the device off a packet (tcp_v4_rcv), the route stays for a while. */
static __always_inline __u32 packet_route_netns(struct sk_buff *skb)
{
	__u32 netns = 0;
	if (!bpf_core_field_exists(((struct dst_entry *)0)->dev))
		return 0;
	struct dst_entry *route = (struct dst_entry *)(BPF_CORE_READ(skb, _skb_refdst) & ~1UL); /* SKB_DST_NOREF */
	if (!route || BPF_CORE_READ_INTO(&netns, route, dev, nd_net.net, ns.inum))
		return 0;
	return netns;
}

/* The device, where skb->dev holds one: TCP and UDP keep other things there once a packet is theirs
 * (dev_scratch), which then is no address that can be read or no device with an index. */
static __always_inline __u32 packet_device(struct packet_facts *event, struct sk_buff *skb)
{
	struct net_device *device = BPF_CORE_READ(skb, dev);
	__u32 netns = 0;
	if (!bpf_core_field_exists(((possible_net_t *)0)->net))
		return 0;
	if (!device || BPF_CORE_READ_INTO(&netns, device, nd_net.net, ns.inum))
		return packet_route_netns(skb);
	int ifindex = BPF_CORE_READ(device, ifindex);
	if (ifindex <= 0)
		return 0;
	event->ifindex = ifindex;
	BPF_CORE_READ_STR_INTO(&event->ifname, device, name);
	return netns;
}

static __always_inline void packet_ports(struct packet_facts *event, unsigned char *head, __u32 offset)
{
	struct tcp_header header = {};
	if (event->pair.protocol == IPPROTO_TCP) {
		if (bpf_probe_read_kernel(&header, sizeof(header), head + offset))
			return;
		event->sequence = bpf_ntohl(header.sequence);
		event->acknowledgment = bpf_ntohl(header.acknowledgment);
		event->tcp_flags = header.flags;
		event->has_tcp = TCP_SEQUENCE | TCP_HEADER;
	} else if (event->pair.protocol != IPPROTO_UDP ||
		   bpf_probe_read_kernel(&header.ports, sizeof(header.ports), head + offset)) {
		return;
	}
	event->pair.local_port = bpf_ntohs(header.ports.source);
	event->pair.remote_port = bpf_ntohs(header.ports.destination);
}

/* Addresses, ports and TCP header from the packet's own bytes. False: there is no IP header (yet). */
static __always_inline bool packet_headers(struct packet_facts *event, struct sk_buff *skb)
{
	unsigned char *head = BPF_CORE_READ(skb, head);
	__u32 network = BPF_CORE_READ(skb, network_header);
	__u32 transport = BPF_CORE_READ(skb, transport_header);
	__u32 header_length;

	event->ether_type = bpf_ntohs(BPF_CORE_READ(skb, protocol));
	event->length = BPF_CORE_READ(skb, len);
	if (!head || !network || network == OFFSET_UNSET)
		return false;
	if (event->ether_type == ETH_P_IP) {
		struct iphdr ip;
		if (bpf_probe_read_kernel(&ip, sizeof(ip), head + network) || ip.version != 4)
			return false;
		address_from_v4(event->pair.local, ip.saddr);
		address_from_v4(event->pair.remote, ip.daddr);
		event->pair.protocol = ip.protocol;
		header_length = ip.ihl * 4;
		if (ip.frag_off & bpf_htons(0x1fff)) /* a later fragment has no ports */
			return true;
	} else if (event->ether_type == ETH_P_IPV6) {
		__u8 ip[IPV6_HEADER];
		if (bpf_probe_read_kernel(&ip, sizeof(ip), head + network) || ip[0] >> 4 != 6)
			return false;
		__builtin_memcpy(event->pair.local, &ip[8], 16);
		__builtin_memcpy(event->pair.remote, &ip[24], 16);
		event->pair.protocol = ip[6];
		header_length = IPV6_HEADER;
	} else {
		return false;
	}
	/* The transport offset is a left-over of the MAC header's until the stack has set it. */
	if (transport == OFFSET_UNSET || transport < network + header_length)
		transport = network + header_length;
	packet_ports(event, head, transport);
	return true;
}
