package probe

// Frees that are no loss. A drop is something that the network or the application misses; these packets
// were delivered already, were never for this host, or are told as another event. The table is part of
// the documentation (ARCHITECTURE.md, "What is not a drop").

// noiseReasons are values of enum skb_drop_reason, by name: numbers differ between kernels. A name that a
// kernel has not is ignored.
var noiseReasons = map[string]string{
	"SKB_NOT_DROPPED_YET":             "not freed",
	"SKB_CONSUMED":                    "delivered",
	"SKB_DROP_REASON_SOCKET_CLOSE":    "unread data of a socket that its owner closed",
	"SKB_DROP_REASON_QUEUE_PURGE":     "unread or unsent data of a socket or device that its owner closed",
	"SKB_DROP_REASON_UNIX_DISCONNECT": "unread data of a local socket, no packet",
	"SKB_DROP_REASON_UNIX_SKIP_OOB":   "data of a local socket, no packet",
	"SKB_DROP_REASON_TCP_OLD_DATA":    "a copy of data that was received before",
	"SKB_DROP_REASON_TCP_OFOMERGE":    "a copy of data that is queued already",
	"SKB_DROP_REASON_TCP_OLD_ACK":     "an acknowledgment that a newer one overtook",
	"SKB_DROP_REASON_TCP_RESET":       "an RST that was acted upon: reported as a reset",
	"SKB_DROP_REASON_TCP_CLOSE":       "a segment for a socket that its owner closed: nobody is left to read it",
	"SKB_DROP_REASON_OTHERHOST":       "a frame for another host, seen because the device is promiscuous",
}

// noiseFunctions free packets without giving a reason, which before 5.17 all do, in the course of what they
// are for.
var noiseFunctions = map[string]string{
	"skb_release_data":         "parts of a packet that is itself delivered or reported",
	"kfree_skb_partial":        "header of a segment whose data was merged into another",
	"skb_queue_purge":          "unread data of a socket that its owner closed",
	"skb_queue_purge_reason":   "unread data of a socket that its owner closed",
	"skb_rbtree_purge":         "out-of-order data of a socket that its owner closed",
	"sk_stream_kill_queues":    "unread data of a socket that its owner closed",
	"inet_sock_destruct":       "unread data of a socket that its owner closed",
	"tcp_rcv_state_process":    "a segment without data that changed the connection's state",
	"tcp_rcv_established":      "a segment without data that was acted upon",
	"tcp_v4_rcv":               "a segment that was answered or belongs to a closed connection",
	"tcp_v6_rcv":               "a segment that was answered or belongs to a closed connection",
	"tcp_v4_do_rcv":            "an RST or a segment for a closed connection: reported as a reset",
	"tcp_v6_do_rcv":            "an RST or a segment for a closed connection: reported as a reset",
	"tcp_data_queue":           "a copy of data that was received before",
	"tcp_validate_incoming":    "an RST that was acted upon, or a segment outside the window",
	"tcp_ack":                  "acknowledged data",
	"tcp_clean_rtx_queue":      "acknowledged data",
	"tcp_write_queue_purge":    "unsent data of a connection that ended",
	"tcp_check_req":            "a repeated segment of a handshake",
	"tcp_done":                 "data of a connection that ended",
	"inet_csk_destroy_sock":    "data of a connection that ended",
	"arp_process":              "an ARP packet that was answered",
	"arp_rcv":                  "an ARP packet for another host",
	"ndisc_rcv":                "a neighbour message that was acted upon",
	"icmpv6_rcv":               "an ICMP message that was acted upon",
	"icmp_rcv":                 "an ICMP message that was acted upon",
	"ip6_mc_input":             "a copy of a multicast packet that has no listener here",
	"ip_mr_input":              "a copy of a multicast packet that has no listener here",
	"igmp_rcv":                 "a group message that was acted upon",
	"igmp6_event_query":        "a group message that was acted upon",
	"igmp6_event_report":       "a group message that was acted upon",
	"packet_rcv":               "a copy for a packet socket",
	"tpacket_rcv":              "a copy for a packet socket",
	"dev_kfree_skb_any_reason": "a packet that its driver has sent",
	"__dev_kfree_skb_any":      "a packet that its driver has sent",
}

// noise is the table as the drops program takes it.
type noise struct {
	reasons [8]uint64 // one bit per reason
	start   [maxNoise]uint64
	end     [maxNoise]uint64
	count   uint32

	notSpecified uint32 // the reason that says that there is none
}

const maxNoise = 48 // MAX_NOISE of bpf/config.h

// newNoise resolves the table: reasons through the running kernel's enum, functions through its symbols.
func newNoise(reasons map[uint32]string, lookup func(string) (address, size uint64, ok bool)) noise {
	var n noise
	for value, name := range reasons {
		if _, ok := noiseReasons[name]; ok && value < uint32(len(n.reasons)*64) {
			n.reasons[value/64] |= 1 << (value % 64)
		}
		if name == "SKB_DROP_REASON_NOT_SPECIFIED" {
			n.notSpecified = value
		}
	}
	for function := range noiseFunctions {
		address, size, ok := lookup(function)
		if !ok || int(n.count) == maxNoise {
			continue
		}
		n.start[n.count], n.end[n.count] = address, address+size
		n.count++
	}
	return n
}

func (n *noise) constants() map[string]any {
	return map[string]any{
		"noise_reasons":        n.reasons,
		"noise_start":          n.start,
		"noise_end":            n.end,
		"noise_count":          n.count,
		"reason_not_specified": n.notSpecified,
	}
}
