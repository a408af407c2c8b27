//go:build linux && (amd64 || arm64)

package probe

import (
	"bytes"
	"cmp"
	"errors"
	"net/netip"
	"os"
	"slices"

	"github.com/cilium/ebpf"

	"github.com/ebpfnet/ebpfnetreceiver/bpf"
	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

// functions are those of one kind of datagrams. Kprobes of those with the same arguments share a program.
type functions struct{ senders, receivers []string }

var (
	udpFunctions = functions{[]string{"udp_sendmsg", "udpv6_sendmsg"}, []string{"udp_recvmsg", "udpv6_recvmsg"}}
	// A kernel without one of these has nothing that it could be missed for.
	rawFunctions = functions{
		[]string{"raw_sendmsg", "rawv6_sendmsg", "ping_v4_sendmsg", "ping_v6_sendmsg"},
		[]string{"raw_recvmsg", "rawv6_recvmsg", "ping_recvmsg"},
	}
	sctpFunctions = functions{[]string{"sctp_sendmsg"}, []string{"sctp_recvmsg"}}
)

func (f functions) fexit() (programs []attachment) {
	for _, function := range slices.Concat(f.senders, f.receivers) {
		programs = append(programs, tracing(function+"_exit"))
	}
	return programs
}

func (f functions) kprobes() (programs []attachment) {
	add := func(program, function string) {
		programs = append(programs, kprobe(program+"_enter", function), kretprobe(program+"_return", function))
	}
	for _, function := range f.senders {
		if function == "udpv6_sendmsg" {
			add(function, function)
		} else {
			add("udp_sendmsg", function)
		}
	}
	for _, function := range f.receivers {
		if function == "sctp_recvmsg" {
			add(function, function)
		} else {
			add("udp_recvmsg", function)
		}
	}
	return programs
}

// datagrams counts what is exchanged over UDP and other protocols than TCP, and copies DNS. All hooks make the same
// of it; bpf/datagrams.bpf.c says how they differ in what they can see.
func datagrams(config Config, types kernelTypes) capability {
	wanted := udpFunctions
	if config.Datagrams.Flows {
		there := func(function string) bool { return types.arguments(function) > 0 }
		for _, function := range rawFunctions.senders {
			if there(function) {
				wanted.senders = append(slices.Clip(wanted.senders), function)
			}
		}
		for _, function := range rawFunctions.receivers {
			if there(function) {
				wanted.receivers = append(slices.Clip(wanted.receivers), function)
			}
		}
	}
	return capability{
		name: "datagrams",
		load: bpf.LoadDatagrams,
		hooks: []hook{
			{name: "fexit/udp_sendmsg+udp_recvmsg", programs: wanted.fexit()},
			{name: datagramTracepoints, programs: []attachment{tracing("datagram_sent"), tracing("datagram_received")}},
			{name: "kprobe/udp_sendmsg+udp_recvmsg", programs: wanted.kprobes()},
		},
		constants: datagramConstants(config, types),
	}
}

// datagramTracepoints is the hook that sees all protocols.
const datagramTracepoints = "tp_btf/sock_send_length+sock_recv_length"

// sctp is what SCTP takes where another hook serves datagrams.
func sctp(config Config, types kernelTypes) capability {
	return capability{
		name: "datagrams.sctp",
		load: bpf.LoadDatagrams,
		hooks: []hook{
			{name: "fexit/sctp_sendmsg+sctp_recvmsg", programs: sctpFunctions.fexit()},
			{name: "kprobe/sctp_sendmsg+sctp_recvmsg", programs: sctpFunctions.kprobes()},
		},
		constants: datagramConstants(config, types),
	}
}

// hasSCTP: nearly nobody uses it, so its module is seldom there, and to miss it is no defect.
func hasSCTP(types kernelTypes) bool {
	_, err := os.Stat("/sys/module/sctp")
	return err == nil || types.arguments("sctp_sendmsg") > 0
}

func datagramConstants(config Config, types kernelTypes) map[string]any {
	return map[string]any{
		"count_flows":           boolean(config.Datagrams.Flows),
		"count_flows_by_socket": boolean(config.Datagrams.Flows && config.Datagrams.BySocket),
		"datagram_room":         uint64(config.RingBytes) * 3 / 4,
		"recvmsg_arguments":     uint32(types.arguments("udp_recvmsg")),
	}
}

// flowTable reads a map of flows.
type flowTable[K comparable] struct {
	idleCollections int                          // after so many without a change a flow makes room for another
	flow            func(*K, *wire.DatagramFlow) // tells whose it is

	flows []wire.DatagramFlow
	last  map[K]*seenFlow
}

type seenFlow struct {
	count wire.FlowCount
	idle  int
}

func peerFlows() flowTable[wire.FlowKey] {
	return flowTable[wire.FlowKey]{
		idleCollections: countIdleCollections,
		flow:            func(key *wire.FlowKey, flow *wire.DatagramFlow) { flow.Key = *key },
	}
}

// socketFlows are many: one of each lookup of DNS.
func socketFlows() flowTable[wire.SocketFlowKey] {
	return flowTable[wire.SocketFlowKey]{flow: func(key *wire.SocketFlowKey, flow *wire.DatagramFlow) {
		flow.Key = key.Flow
		flow.Local = netip.AddrPortFrom(netip.AddrFrom16(key.Local).Unmap(), key.LocalPort)
	}}
}

// read takes what has been counted since the last reading, and takes out what has not changed for long.
func (t *flowTable[K]) read(m *ebpf.Map) error {
	if t.last == nil {
		t.last = map[K]*seenFlow{}
	}
	t.flows = t.flows[:0]
	var key K
	var count wire.FlowCount
	iterator := m.Iterate()
	for iterator.Next(&key, &count) {
		seen := t.last[key]
		if seen == nil {
			seen = &seenFlow{}
			t.last[key] = seen
		}
		if t.more(&key, seen, count) {
			continue
		}
		if seen.idle++; seen.idle > t.idleCollections {
			// From 5.14 both at once; before, what is counted between the two is lost.
			if m.LookupAndDelete(&key, &count) == nil {
				t.more(&key, seen, count)
			} else if err := m.Delete(&key); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
				return err
			}
			delete(t.last, key)
		}
	}
	if err := iterator.Err(); err != nil && !errors.Is(err, ebpf.ErrIterationAborted) {
		return err
	}
	return nil
}

// more adds the difference to what was seen before; false: there is none.
func (t *flowTable[K]) more(key *K, seen *seenFlow, count wire.FlowCount) bool {
	if count.Packets == seen.count.Packets {
		return false
	}
	flow := wire.DatagramFlow{Count: wire.FlowCount{
		Bytes: count.Bytes - seen.count.Bytes, Packets: count.Packets - seen.count.Packets,
	}}
	t.flow(key, &flow)
	t.flows = append(t.flows, flow)
	seen.count, seen.idle = count, 0
	return true
}

// readFlows takes all flows, in an order that depends on them alone.
func (s *source) readFlows() ([]wire.DatagramFlow, error) {
	if !s.config.Datagrams.Flows {
		return nil, nil
	}
	var err error
	if m := s.loader.shared("flows"); m != nil {
		err = s.flows.read(m)
	}
	flows := s.flows.flows
	if m := s.loader.shared("socket_flows"); m != nil && s.config.Datagrams.BySocket {
		err = cmp.Or(err, s.socketFlows.read(m))
		flows = slices.Concat(flows, s.socketFlows.flows)
	}
	slices.SortFunc(flows, compareFlows)
	return flows, err
}

func compareFlows(x, y wire.DatagramFlow) int {
	a, b := &x.Key, &y.Key
	return cmp.Or(
		cmp.Compare(a.Owner.Netns, b.Owner.Netns), cmp.Compare(a.Owner.CgroupID, b.Owner.CgroupID),
		cmp.Compare(a.Owner.TGID, b.Owner.TGID), bytes.Compare(a.Peer[:], b.Peer[:]),
		cmp.Compare(a.Port, b.Port), cmp.Compare(a.Role, b.Role), cmp.Compare(a.Direction, b.Direction),
		cmp.Compare(a.Protocol, b.Protocol), x.Local.Compare(y.Local),
	)
}
