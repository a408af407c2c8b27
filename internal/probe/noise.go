//go:build linux && (amd64 || arm64)

package probe

import (
	"cmp"
	"maps"
	"slices"
)

// Frees that are no loss. A drop is something that the network or the application misses; these packets
// were delivered already, were never for this host, or are told as another event. The table is part of
// the documentation (ARCHITECTURE.md, "What is not a drop").

// noiseReasons are values of enum skb_drop_reason, by name: numbers differ between kernels. A name that a
// kernel has not is ignored.
var noiseReasons = map[string]string{
	"SKB_NOT_DROPPED_YET":              "not freed",
	"SKB_CONSUMED":                     "delivered",
	"SKB_DROP_REASON_SOCKET_CLOSE":     "unread data of a socket that its owner closed",
	"SKB_DROP_REASON_QUEUE_PURGE":      "unread or unsent data of a socket or device that its owner closed",
	"SKB_DROP_REASON_UNIX_DISCONNECT":  "unread data of a local socket, no packet",
	"SKB_DROP_REASON_UNIX_SKIP_OOB":    "data of a local socket, no packet",
	"SKB_DROP_REASON_TCP_OLD_DATA":     "a copy of data that was received before",
	"SKB_DROP_REASON_TCP_OLD_SEQUENCE": "a copy of a segment that was received before",
	"SKB_DROP_REASON_TCP_OFOMERGE":     "a copy of data that is queued already",
	"SKB_DROP_REASON_TCP_OLD_ACK":      "an acknowledgment that a newer one overtook",
	// tcp_disordered_ack_check: no data, and before the next byte that is expected.
	"SKB_DROP_REASON_TCP_RFC7323_PAWS_ACK": "an acknowledgment that newer data overtook",
	"SKB_DROP_REASON_TCP_RESET":            "an RST that was acted upon: reported as a reset",
	"SKB_DROP_REASON_TCP_CLOSE":            "a segment for a socket that its owner closed: nobody is left to read it",
	"SKB_DROP_REASON_OTHERHOST":            "a frame for another host, seen because the device is promiscuous",
}

// noiseFunctions free packets without giving a reason, which before 5.17 all do, in the course of what they
// are for. Those of TCP are also where a connect to a port that nobody listens on ends: a SYN is no noise.
var noiseFunctions = map[string]noiseFunction{
	"sk_stream_kill_queues": {why: "unread data, or the peer's FIN, of a socket that its owner closed"},
	"inet_sock_destruct":    {why: "unread data of a socket that its owner closed"},
	"skb_queue_purge":       {why: "unread data of a socket that its owner closed"},
	"skb_rbtree_purge":      {why: "out-of-order data of a socket that its owner closed"},
	"skb_release_data":      {why: "parts of a packet that is itself delivered or reported"},
	"tcp_v4_rcv":            {why: "the last segments of a connection in TIME_WAIT", kind: noiseUnlessSYN},
	"tcp_v6_rcv":            {why: "the last segments of a connection in TIME_WAIT", kind: noiseUnlessSYN},
	"tcp_v4_do_rcv":         {why: "a segment that was answered with an RST: reported as a reset", kind: noiseUnlessSYN},
	"tcp_v6_do_rcv":         {why: "a segment that was answered with an RST: reported as a reset", kind: noiseUnlessSYN},
	"tcp_rcv_state_process": {why: "a segment that did its work by changing the connection's state", kind: noiseUnlessSYN},
	"ip_rcv_core":           {why: "a frame for another host, seen because the device is promiscuous", kind: noiseIfOtherHost},
	"ip6_rcv_core":          {why: "a frame for another host, seen because the device is promiscuous", kind: noiseIfOtherHost},
	"icmp_rcv":              {why: "an ICMP message that was acted upon"},
	"icmpv6_rcv":            {why: "an ICMP message that was acted upon"},
	"igmp_rcv":              {why: "a group message that was acted upon"},
	"ip6_mc_input":          {why: "a copy of a multicast packet that has no listener here"},
	"arp_rcv":               {why: "an ARP packet for another host"},
	"packet_rcv":            {why: "a copy for a packet socket"},
	"tpacket_rcv":           {why: "a copy for a packet socket"},
	"__dev_kfree_skb_any":   {why: "a packet that its driver has sent, as far as most drivers use it"},
	"dev_kfree_skb_any_reason": {
		why: "a packet that its driver has sent, as far as most drivers use it",
	},
}

// Of which packets a function's frees are noise: enum noise of bpf/drops.bpf.c.
const (
	noiseAlways uint8 = 1 + iota
	noiseUnlessSYN
	noiseIfOtherHost
)

type noiseFunction struct {
	why  string
	kind uint8 // of packets; noiseAlways is the zero value's meaning
}

// noise is the table as the drops program takes it.
type noise struct {
	reasons [8]uint64 // one bit per reason
	start   [maxNoise]uint64
	end     [maxNoise]uint64
	kind    [maxNoise]uint8
	count   uint32

	notSpecified uint32 // the reason that says that there is none
	noSocket     uint32
	invalidSYN   uint32
}

const maxNoise = 48 // MAX_NOISE of bpf/config.h

// newNoise resolves the table: reasons through the running kernel's enum, functions through its symbols.
func newNoise(reasons map[uint32]string, lookup func(string) (address, size uint64, ok bool)) noise {
	var n noise
	// Before 6.6 it is what a copy of a segment has too, or a keep-alive probe: what lies outside of the window in earnest
	// is rare, and not told of then.
	hasOldSequence := slices.Contains(slices.Collect(maps.Values(reasons)), "SKB_DROP_REASON_TCP_OLD_SEQUENCE")
	for value, name := range reasons {
		_, ok := noiseReasons[name]
		ok = ok || name == "SKB_DROP_REASON_TCP_INVALID_SEQUENCE" && !hasOldSequence
		if ok && value < uint32(len(n.reasons)*64) {
			n.reasons[value/64] |= 1 << (value % 64)
		}
		switch name {
		case "SKB_DROP_REASON_NOT_SPECIFIED":
			n.notSpecified = value
		case "SKB_DROP_REASON_NO_SOCKET":
			n.noSocket = value
		case "SKB_DROP_REASON_TCP_INVALID_SYN":
			n.invalidSYN = value
		}
	}
	type resolved struct {
		noiseFunction
		start, end uint64
	}
	var functions []resolved
	for name, function := range noiseFunctions {
		// Where there are reasons, one of them tells packets for other hosts apart.
		if address, size, ok := lookup(name); ok && (len(reasons) == 0 || function.kind != noiseIfOtherHost) {
			functions = append(functions, resolved{function, address, address + size})
		}
	}
	// By address: how far the verifier has to walk depends on the order.
	slices.SortFunc(functions, func(a, b resolved) int { return cmp.Compare(a.start, b.start) })
	for i, function := range functions[:min(len(functions), maxNoise)] {
		n.start[i], n.end[i], n.kind[i] = function.start, function.end, noiseAlways
		if len(reasons) == 0 { // with reasons, a refused SYN has one
			n.kind[i] = max(noiseAlways, function.kind)
		}
		n.count++
	}
	return n
}

// blind says that there is nothing to tell noise by: neither reasons nor symbols.
func (n *noise) blind() bool { return n.count == 0 && n.notSpecified == 0 && n.noSocket == 0 }

func (n *noise) constants() map[string]any {
	return map[string]any{
		"noise_reasons":        n.reasons,
		"noise_start":          n.start,
		"noise_end":            n.end,
		"noise_kind":           n.kind,
		"noise_count":          n.count,
		"noise_unnamed":        boolean(n.count == 0), // without symbols, what has no reason cannot be told
		"reason_no_socket":     n.noSocket,
		"reason_invalid_syn":   n.invalidSYN,
		"reason_not_specified": n.notSpecified,
	}
}
