//go:build linux && (amd64 || arm64)

package probe

import (
	"bytes"
	"cmp"
	"errors"
	"slices"

	"github.com/cilium/ebpf"

	"github.com/ebpfnet/ebpfnetreceiver/bpf"
	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

var datagramHooks = []hook{
	{name: "fexit/udp_sendmsg+udp_recvmsg", programs: []attachment{
		tracing("udp_sendmsg_exit"), tracing("udpv6_sendmsg_exit"),
		tracing("udp_recvmsg_exit"), tracing("udpv6_recvmsg_exit"),
	}},
	{name: "tp_btf/sock_send_length+sock_recv_length", programs: []attachment{
		tracing("datagram_sent"), tracing("datagram_received"),
	}},
}

// datagrams counts what is exchanged over UDP, and copies DNS. Both hooks make the same of it;
// bpf/datagrams.bpf.c says how they differ in what they can see.
func datagrams(config Config, types kernelTypes) capability {
	return capability{
		name:  "datagrams",
		load:  bpf.LoadDatagrams,
		hooks: datagramHooks,
		constants: map[string]any{
			"count_flows":           boolean(config.Datagrams.Flows),
			"datagram_room":         uint64(config.RingBytes) * 3 / 4,
			"udp_recvmsg_arguments": uint32(types.arguments("udp_recvmsg")),
		},
	}
}

// flowTable reads the flows map.
type flowTable struct {
	flows []wire.DatagramFlow
	last  map[wire.FlowKey]*seenFlow
}

type seenFlow struct {
	count wire.FlowCount
	idle  int
}

// read takes what has been counted since the last reading, and takes out what has not changed for long.
func (t *flowTable) read(m *ebpf.Map) error {
	if t.last == nil {
		t.last = map[wire.FlowKey]*seenFlow{}
	}
	t.flows = t.flows[:0]
	var key wire.FlowKey
	var count wire.FlowCount
	iterator := m.Iterate()
	for iterator.Next(&key, &count) {
		seen := t.last[key]
		if seen == nil {
			seen = &seenFlow{}
			t.last[key] = seen
		}
		if t.more(key, seen, count) {
			continue
		}
		if seen.idle++; seen.idle > countIdleCollections {
			// From 5.14 both at once; before, what is counted between the two is lost.
			if m.LookupAndDelete(&key, &count) == nil {
				t.more(key, seen, count)
			} else if err := m.Delete(&key); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
				return err
			}
			delete(t.last, key)
		}
	}
	if err := iterator.Err(); err != nil && !errors.Is(err, ebpf.ErrIterationAborted) {
		return err
	}
	slices.SortFunc(t.flows, func(a, b wire.DatagramFlow) int { return compareFlows(&a.Key, &b.Key) })
	return nil
}

// more adds the difference to what was seen before; false: there is none.
func (t *flowTable) more(key wire.FlowKey, seen *seenFlow, count wire.FlowCount) bool {
	if count.Packets == seen.count.Packets {
		return false
	}
	t.flows = append(t.flows, wire.DatagramFlow{Key: key, Count: wire.FlowCount{
		Bytes: count.Bytes - seen.count.Bytes, Packets: count.Packets - seen.count.Packets,
	}})
	seen.count, seen.idle = count, 0
	return true
}

func compareFlows(a, b *wire.FlowKey) int {
	return cmp.Or(
		cmp.Compare(a.Owner.Netns, b.Owner.Netns), cmp.Compare(a.Owner.CgroupID, b.Owner.CgroupID),
		cmp.Compare(a.Owner.TGID, b.Owner.TGID), bytes.Compare(a.Peer[:], b.Peer[:]),
		cmp.Compare(a.Port, b.Port), cmp.Compare(a.Role, b.Role), cmp.Compare(a.Direction, b.Direction),
	)
}
