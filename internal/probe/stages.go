//go:build linux && (amd64 || arm64)

package probe

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"os"
	"sync"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/ebpfnet/ebpfnetreceiver/bpf"
	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

// stageWindow is for how long a CPU's allowance of packets to time lasts: a whole number of ticks at 100 Hz and more.
const stageWindow = 20 * time.Millisecond

const (
	stageOwners     = 256 // for whom the kernel's map has room: bpf/stages.h says what that costs
	stageDirections = 2   // a packet that is forwarded is in neither: few owners have any
	maxStageShards  = 4
)

// stages are a capability per way to see them: a kernel that has some of the hooks still serves those stages.
// traced: this kernel has the tracepoint tcp_sendmsg_locked. Where the state of sockets is kept by address, a
// program that knows them only so can take part.
func stages(traced, byAddress bool) []capability {
	constants := map[string]any{"stage_shard_mask": stageShardMask()}
	offered := []hook{{name: "fentry/tcp_sendmsg_locked", programs: []attachment{tracing("stage_offered_entry")}}}
	if traced { // from 6.16
		offered = append([]hook{
			{name: "tp_btf/tcp_sendmsg_locked", programs: []attachment{tracing("stage_offered_traced")}},
		}, offered...)
	}
	if byAddress {
		offered = append(offered, hook{
			name:      "kprobe/tcp_sendmsg_locked",
			programs:  []attachment{kprobe("stage_offered_probe", "tcp_sendmsg_locked")},
			byAddress: true,
		})
	}
	all := []capability{
		{name: "stages.receive", hooks: []hook{{
			name: "tp_btf/netif_receive_skb+tcp_probe+skb_copy_datagram_iovec+tcp_rcv_space_adjust",
			programs: []attachment{
				tracing("stage_receive"), tracing("stage_tcp_probe"), tracing("stage_copy"), tracing("stage_read"),
			},
		}}},
		{name: "stages.transmit", hooks: []hook{{
			name: "tp_btf/net_dev_queue+net_dev_start_xmit+net_dev_xmit",
			programs: []attachment{
				tracing("stage_queue"), tracing("stage_start_xmit"), tracing("stage_xmit"),
			},
		}}},
		{name: "stages.neighbor", hooks: []hook{{
			name:     "tp_btf/neigh_update",
			programs: []attachment{tracing("stage_neighbor"), tracing("stage_neighbor_done")},
		}}},
		{name: "stages.socket", hooks: offered},
		{name: "stages.netfilter", hooks: []hook{
			{
				name:     "fexit/nf_hook_slow",
				programs: []attachment{tracing("stage_netfilter_entry"), tracing("stage_netfilter_exit")},
			},
			{
				name: "kprobe/nf_hook_slow",
				programs: []attachment{
					kprobe("stage_netfilter_call", "nf_hook_slow"), kretprobe("stage_netfilter_return", "nf_hook_slow"),
				},
			},
		}},
	}
	for i := range all {
		all[i].load, all[i].constants = bpf.LoadStages, constants
		if all[i].name == "stages.netfilter" {
			all[i].load = bpf.LoadNetfilter
		}
	}
	return all
}

func stageShardMask() uint32 { return uint32(stageShards(ebpf.MustPossibleCPU()) - 1) }

// stageShards is how many blocks an owner has in each direction: a power of two, not more than CPUs.
func stageShards(cpus int) int {
	shards := 1
	for shards < maxStageShards && 2*shards <= cpus {
		shards *= 2
	}
	return shards
}

// stageEntries is the size of the kernel's map: bounded whatever the number of CPUs and owners.
func stageEntries(cpus int) uint32 {
	return uint32(stageOwners * stageDirections * stageShards(cpus))
}

// stageTable reads the times that the kernel counted, and keeps what the kernel needs for that.
type stageTable struct {
	blocks, losses *ebpf.Map
	cpus           *cpuData // nil: nothing that comes in packets is served
	clock          *stageClock
	stamps         int // socket for whose sake the kernel stamps packets as they arrive
	last           map[wire.StageKey]*seenBlock
	times          []wire.StageTimes
	block          wire.StageBlock // reused
	reading        uint64          // number of this reading
}

type seenBlock struct {
	stages  [wire.StagesPerDirection]seenHistogram
	idle    int
	reading uint64
}

// newStageTable makes ready what the programs need; nil where no stage is served.
func newStageTable(l *loader) (*stageTable, error) {
	t := &stageTable{
		blocks: l.shared("stage_blocks"), losses: l.shared("stage_losses"),
		stamps: -1, last: map[wire.StageKey]*seenBlock{},
	}
	if t.blocks == nil {
		return nil, nil
	}
	for direction := range len(wire.StageLosses{}) {
		for shard := range stageShards(ebpf.MustPossibleCPU()) {
			key := wire.StageKey{Direction: uint8(direction), Shard: uint8(shard), Overflow: 1}
			if err := t.blocks.Put(&key, &t.block); err != nil {
				return nil, fmt.Errorf("make the overflow block: %w", err)
			}
		}
	}
	if m := l.shared("stage_clock"); m != nil {
		t.clock = &stageClock{write: func(offset uint64) error { return m.Put(uint32(0), offset) }}
		for range 64 {
			if err := t.clock.follow(); err != nil {
				return nil, err
			}
		}
		var err error
		if t.stamps, err = stampArrivals(); err != nil {
			return nil, err
		}
	}
	if m := l.shared(stageCPUs); m != nil {
		var err error
		if t.cpus, err = mapCPUs(m); err != nil {
			t.close()
			return nil, err
		}
	}
	return t, nil
}

// stampArrivals has the kernel stamp every packet as it arrives, for as long as the socket is open.
func stampArrivals() (socket int, err error) {
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		if socket, err = unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err == nil {
			break
		}
	}
	if err != nil {
		return -1, fmt.Errorf("open a UDP socket to have arrivals stamped: %w", err)
	}
	if err := unix.SetsockoptInt(socket, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1); err != nil {
		unix.Close(socket)
		return -1, fmt.Errorf("SO_TIMESTAMPNS, to have arrivals stamped: %w", err)
	}
	return socket, nil
}

func (t *stageTable) close() {
	if t == nil {
		return
	}
	if t.stamps >= 0 {
		unix.Close(t.stamps)
		t.stamps = -1
	}
	if t.cpus != nil {
		t.cpus.close()
	}
}

// tick follows the clock. Safe on nil.
func (t *stageTable) tick() error {
	if t == nil || t.clock == nil {
		return nil
	}
	return t.clock.follow()
}

// read takes what was added to each block since the reading before, and takes out the blocks of owners of whom
// nothing has come for long. Safe on nil.
func (t *stageTable) read(losses *wire.StageLosses) ([]wire.StageTimes, error) {
	if t == nil {
		return nil, nil
	}
	t.times = t.times[:0]
	t.reading++
	var idle []wire.StageKey
	var key wire.StageKey
	iterator := t.blocks.Iterate()
	for iterator.Next(&key, &t.block) {
		seen := t.last[key]
		if seen == nil {
			seen = &seenBlock{}
			t.last[key] = seen
		}
		seen.reading = t.reading
		if seen.idle++; t.difference(&key, seen) {
			seen.idle = 0
		}
		if seen.idle > countIdleCollections && key.Overflow == 0 {
			idle = append(idle, key)
		}
	}
	if err := iterator.Err(); err != nil && !errors.Is(err, ebpf.ErrIterationAborted) {
		return t.times, err
	}
	for _, key := range idle {
		if err := t.remove(key); err != nil {
			return t.times, err
		}
	}
	for key, seen := range t.last {
		if seen.reading != t.reading && t.reading-seen.reading > countIdleCollections {
			delete(t.last, key)
		}
	}
	return t.times, t.readLosses(losses)
}

// remove gives room to another owner, after a last reading. From 5.14 both are one step; before, what is counted
// between the two is lost.
func (t *stageTable) remove(key wire.StageKey) error {
	seen := t.last[key]
	if t.blocks.LookupAndDelete(&key, &t.block) != nil {
		if err := t.blocks.Lookup(&key, &t.block); err != nil {
			return err
		}
		if err := t.blocks.Delete(&key); err != nil {
			return err
		}
	}
	t.difference(&key, seen)
	delete(t.last, key)
	return nil
}

// seenHistogram is what a histogram was: of its slots those from the first to the last that are not zero. Few are, and
// there is one of each owner and stage.
type seenHistogram struct {
	sumNs uint64
	first int
	slots []uint32
}

func (h *seenHistogram) slot(i int) uint32 {
	if i -= h.first; i >= 0 && i < len(h.slots) {
		return h.slots[i]
	}
	return 0
}

func (h *seenHistogram) keep(now *wire.Histogram) {
	first, last := 0, len(now.Slots)-1
	for first < last && now.Slots[first] == 0 {
		first++
	}
	for last > first && now.Slots[last] == 0 {
		last--
	}
	h.sumNs, h.first, h.slots = now.SumNs, first, append(h.slots[:0], now.Slots[first:last+1]...)
}

// difference is what now has more than was kept, from slot first on; counts is nil if that is nothing. What seems to be
// less has wrapped around.
func (h *seenHistogram) difference(now *wire.Histogram) (first uint32, counts []uint32, sumNs uint64) {
	from, to := -1, 0
	for i, n := range now.Slots {
		if n != h.slot(i) {
			if from < 0 {
				from = i
			}
			to = i
		}
	}
	if from < 0 {
		return 0, nil, 0
	}
	counts = make([]uint32, to-from+1)
	for i := range counts {
		counts[i] = now.Slots[from+i] - h.slot(from+i)
	}
	return uint32(from), counts, now.SumNs - h.sumNs
}

// difference adds what t.block has more than it had.
func (t *stageTable) difference(key *wire.StageKey, seen *seenBlock) (any bool) {
	for stage := range t.block.Stages {
		first, counts, sumNs := seen.stages[stage].difference(&t.block.Stages[stage])
		if counts == nil {
			continue
		}
		any = true
		seen.stages[stage].keep(&t.block.Stages[stage])
		t.times = append(t.times, wire.StageTimes{
			Owner:    wire.OwnerRef{CgroupID: key.CgroupID, Netns: key.Netns},
			Overflow: key.Overflow != 0, Direction: key.Direction, Stage: uint8(stage),
			SumNs: sumNs, First: first, Counts: counts,
		})
	}
	return any
}

func (t *stageTable) readLosses(losses *wire.StageLosses) error {
	var perCPU []uint64
	index := uint32(0)
	for direction := range losses {
		for stage := range losses[direction] {
			for loss := range losses[direction][stage] {
				if err := t.losses.Lookup(index, &perCPU); err != nil {
					return err
				}
				for _, n := range perCPU {
					losses[direction][stage][loss] += n
				}
				index++
			}
		}
	}
	return t.readUntimed(losses)
}

// stageCPUs is the data of the kernel half with what is under way on each CPU (stage_cpus of bpf/stage_cpu.h).
const stageCPUs = ".data.cpus"

// roomForCPUs enlarges these data: the object has one CPU's, and no room for what is known of connections.
func roomForCPUs(spec *ebpf.MapSpec, possible int) {
	spec.ValueSize = stageCPURoom(possible)*spec.ValueSize + stageLooked*stageLookedSize
	spec.Contents = nil               // zeroes
	spec.Key, spec.Value = nil, nil   // types of one CPU's
	spec.Flags |= unix.BPF_F_MMAPABLE // it begins where a page does, so that what is aligned there is
}

// stageCPUMask is one less than the power of two that there may be CPUs, or more.
func stageCPUMask(possible int) uint32 { return 1<<bits.Len(uint(possible-1)) - 1 }

// stageCPURoom is for how many CPUs there is room.
func stageCPURoom(possible int) uint32 { return stageCPUMask(possible) + 1 }

const (
	stageLooked     = 1 << 14 // STAGE_LOOKED of bpf/stage_cpu.h
	stageLookedSize = 16      // struct stage_looked
	stageUntimedAt  = 128     // in struct stage_cpu
)

// cpuData is the memory of stageCPUs, without a copy of it. It keeps the map until it is closed: ebpf.Memory would do so
// until the garbage is collected.
type cpuData struct {
	mu    sync.Mutex
	bytes []byte // nil: closed
	size  int    // of what each CPU has there
}

func mapCPUs(m *ebpf.Map) (*cpuData, error) {
	bytes, err := unix.Mmap(m.FD(), 0, int(m.ValueSize()), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map %s: %w", stageCPUs, err)
	}
	return &cpuData{bytes: bytes, size: (len(bytes) - stageLooked*stageLookedSize) / int(stageCPURoom(ebpf.MustPossibleCPU()))}, nil
}

// untimed is what a CPU has counted.
func (d *cpuData) untimed(cpu int) (n wire.StageUntimed, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.bytes == nil {
		return n, fmt.Errorf("read %s: %w", stageCPUs, os.ErrClosed)
	}
	_, err = binary.Decode(d.bytes[cpu*d.size+stageUntimedAt:], binary.NativeEndian, &n)
	return n, err
}

func (d *cpuData) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.bytes != nil {
		unix.Munmap(d.bytes)
		d.bytes = nil
	}
}

// readUntimed adds what was beyond the rate to all stages that a packet then misses.
func (t *stageTable) readUntimed(losses *wire.StageLosses) error {
	if t.cpus == nil {
		return nil
	}
	for cpu := range ebpf.MustPossibleCPU() {
		n, err := t.cpus.untimed(cpu)
		if err != nil {
			return err
		}
		received, sent := &losses[wire.DirectionReceive], &losses[wire.DirectionTransmit]
		received[wire.StageNICToTCP][wire.StageRate] += n.Received
		received[wire.StageIP][wire.StageRate] += n.Received
		received[wire.StageTCPToApp][wire.StageRate] += n.Read + n.ReadAll
		received[wire.StageWait][wire.StageRate] += n.Waited + n.ReadAll
		sent[wire.StageSocket][wire.StageRate] += n.Offered
		sent[wire.StageIP][wire.StageRate] += n.Queued
		sent[wire.StageQdisc][wire.StageRate] += n.Driven
		sent[wire.StageDriver][wire.StageRate] += n.Driven
		for direction, of := range n.Netfilter {
			losses[direction][wire.StageNetfilter][wire.StageRate] += of
		}
	}
	return nil
}
