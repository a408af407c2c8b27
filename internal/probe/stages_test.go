//go:build linux && (amd64 || arm64)

package probe

import (
	"math/big"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ebpfnet/ebpfnetreceiver/bpf"
	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

// boundary is floor(2^(k/8) s) in nanoseconds, from the eighth power: the largest n with n^8 <= 10^72 * 2^k.
func boundary(k int) uint64 {
	power := new(big.Int).Exp(big.NewInt(10), big.NewInt(72), nil)
	if k >= 0 {
		power.Lsh(power, uint(k))
	} else {
		power.Rsh(power, uint(-k)) // rounds down, and so does what follows
	}
	for range wire.HistogramScale {
		power.Sqrt(power)
	}
	return power.Uint64()
}

// slotOf runs the kernel's own program.
func slotOf(t *testing.T) func(ns uint64) uint32 {
	t.Helper()
	needPrivilege(t)
	spec, err := bpf.LoadStages()
	require.NoError(t, err)
	spec.Programs = map[string]*ebpf.ProgramSpec{"stage_slot": spec.Programs["stage_slot"]}
	spec.Maps["stage_blocks"].MaxEntries = 1
	collection, err := ebpf.NewCollection(spec)
	require.NoError(t, err)
	t.Cleanup(collection.Close)
	return func(ns uint64) uint32 {
		slot, err := collection.Programs["stage_slot"].Run(&ebpf.RunOptions{Context: []uint64{ns}})
		require.NoError(t, err)
		return slot
	}
}

func TestEveryBoundaryOfTheKernelsBucketsIsExact(t *testing.T) {
	slot := slotOf(t)
	assert.Zero(t, slot(0))
	assert.Zero(t, slot(1))
	for i := range wire.HistogramSlots {
		// The upper boundary of slot i, which belongs to it.
		at := boundary(i - wire.HistogramFinest<<wire.HistogramScale)
		assert.EqualValues(t, i, slot(at), "%d ns", at)
		assert.EqualValues(t, i+1, slot(at+1), "%d ns", at+1)
		if at-1 > boundary(i-1-wire.HistogramFinest<<wire.HistogramScale) {
			assert.EqualValues(t, i, slot(at-1), "%d ns", at-1)
		}
	}
	assert.GreaterOrEqual(t, slot(1<<63), uint32(wire.HistogramSlots))
	assert.GreaterOrEqual(t, slot(1<<64-1), uint32(wire.HistogramSlots))
}

func TestStageMemoryIsBounded(t *testing.T) {
	for cpus, shards := range map[int]int{1: 1, 2: 2, 3: 2, 4: 4, 8: 4, 64: 4, 1024: 4} {
		assert.Equal(t, shards, stageShards(cpus))
		// A hash element is its key and value and at most 64 bytes of links (struct htab_elem).
		bytes := int(stageEntries(cpus)) * (wire.StageKeySize + wire.StageBlockSize + 64)
		assert.LessOrEqual(t, bytes, 20<<20)
	}
	assert.GreaterOrEqual(t, stageOwners, 2*110, "pods of a node, and as many of the system's own owners")
}

func TestWhatIsUnderWayOnEachCPUFitsIntoOneValueOfAMap(t *testing.T) {
	const most = 4 << 20 // before 6.0: what kmalloc gives
	for _, possible := range []int{1, 2, 64, 4096} {
		spec, err := bpf.LoadShared()
		require.NoError(t, err)
		data := spec.Maps[stageCPUs]
		roomForCPUs(data, possible)
		assert.LessOrEqual(t, data.ValueSize, uint32(most), "%d CPUs", possible)
	}
}

func TestTheClockIsFollowedAcrossSteps(t *testing.T) {
	readings := [][2]int64{{100, 200}, {150, 260}, {140, 160}, {1000, 1100}, {1090, 1200}}
	var written []uint64
	clock := stageClock{
		write: func(offset uint64) error { written = append(written, offset); return nil },
		read: func() (low, high int64) {
			low, high = readings[0][0], readings[0][1]
			readings = readings[1:]
			return low, high
		},
	}
	for range 5 {
		require.NoError(t, clock.follow())
	}
	assert.Equal(t, []uint64{150, 175, 155, 1050, 1095}, written)
}

// stageMaps is a table of times as the kernel half has it, that a test fills.
func stageMaps(t *testing.T) *stageTable {
	t.Helper()
	needPrivilege(t)
	spec, err := bpf.LoadStages()
	require.NoError(t, err)
	table := &stageTable{stamps: -1, last: map[wire.StageKey]*seenBlock{}}
	for name, to := range map[string]**ebpf.Map{"stage_blocks": &table.blocks, "stage_losses": &table.losses} {
		made, err := ebpf.NewMap(spec.Maps[name])
		require.NoError(t, err)
		t.Cleanup(func() { made.Close() })
		*to = made
	}
	return table
}

func TestEachTimeIsReadOnceUntilItsOwnerIsGone(t *testing.T) {
	table := stageMaps(t)
	key := wire.StageKey{CgroupID: 7, Netns: 9, Direction: wire.DirectionTransmit, Shard: 3}
	overflow := wire.StageKey{Direction: wire.DirectionReceive, Overflow: 1}
	require.NoError(t, table.blocks.Put(&overflow, &wire.StageBlock{}))
	var block wire.StageBlock
	read := func() []wire.StageTimes {
		times, err := table.read(&wire.StageLosses{})
		require.NoError(t, err)
		return times
	}
	count := func(slot int, more uint32, ns uint64) {
		qdisc := &block.Stages[wire.StageQdisc]
		qdisc.Slots[slot] += more
		qdisc.SumNs += ns
		require.NoError(t, table.blocks.Put(&key, &block))
	}
	want := func(sum uint64, first uint32, counts ...uint32) []wire.StageTimes {
		return []wire.StageTimes{{
			Owner: wire.OwnerRef{CgroupID: 7, Netns: 9}, Direction: wire.DirectionTransmit, Stage: wire.StageQdisc,
			SumNs: sum, First: first, Counts: counts,
		}}
	}
	assert.Empty(t, read())
	count(100, 1<<32-2, 50)
	count(102, 4, 50)
	assert.Equal(t, want(100, 100, 1<<32-2, 0, 4), read())
	assert.Empty(t, read())
	count(100, 5, 30) // past the width of a slot
	assert.Equal(t, want(30, 100, 5), read())

	for range countIdleCollections {
		assert.Empty(t, read())
	}
	assert.NoError(t, table.blocks.Lookup(&key, &wire.StageBlock{}))
	assert.Empty(t, read())
	assert.ErrorIs(t, table.blocks.Lookup(&key, &wire.StageBlock{}), ebpf.ErrKeyNotExist, "it makes room")
	assert.NoError(t, table.blocks.Lookup(&overflow, &wire.StageBlock{}), "the overflow stays")

	block = wire.StageBlock{}
	count(5, 1, 1)
	assert.Equal(t, want(1, 5, 1), read(), "it comes back")
}
