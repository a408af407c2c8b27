//go:build linux && (amd64 || arm64)

package probe

import (
	"testing"

	"github.com/cilium/ebpf"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ebpfnet/ebpfnetreceiver/bpf"
	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

func TestOfCommandsOnlyWhatWasAddedIsTold(t *testing.T) {
	needPrivilege(t)
	spec, err := bpf.LoadVirtio()
	require.NoError(t, err)
	m, err := ebpf.NewMap(spec.Maps["command_times"])
	require.NoError(t, err)
	defer m.Close()
	l := newLoader(Config{}, kernelTypes{}, nil)
	l.maps[mapKey{"command_times", m.MaxEntries()}] = m
	table, err := newCommandTable(l)
	require.NoError(t, err)
	read := func() []wire.CommandTimes {
		times, err := table.read()
		require.NoError(t, err)
		return times
	}
	assert.Empty(t, read(), "there is room for what has no room, and nothing in it")

	key := wire.CommandKey{Device: [16]uint8{'e', 't', 'h', '0'}, Class: 4}
	counted := wire.Histogram{SumNs: 30}
	counted.Slots[7], counted.Slots[9] = 1, 2
	require.NoError(t, m.Put(&key, &counted))
	assert.Equal(t, []wire.CommandTimes{{Key: key, SumNs: 30, First: 7, Counts: []uint32{1, 0, 2}}}, read())
	assert.Empty(t, read())
	counted.SumNs, counted.Slots[9] = 40, 3
	require.NoError(t, m.Put(&key, &counted))
	overflow := wire.Histogram{SumNs: 5}
	overflow.Slots[0] = 1
	require.NoError(t, m.Put(&wire.CommandKey{Overflow: 1}, &overflow))
	assert.Equal(t, []wire.CommandTimes{
		{Key: wire.CommandKey{Overflow: 1}, SumNs: 5, Counts: []uint32{1}},
		{Key: key, SumNs: 10, First: 9, Counts: []uint32{1}},
	}, read())
}

func TestWithoutTheMapThereAreNoCommands(t *testing.T) {
	table, err := newCommandTable(newLoader(Config{}, kernelTypes{}, nil))
	require.NoError(t, err)
	times, err := table.read()
	assert.NoError(t, err)
	assert.Empty(t, times)
}
