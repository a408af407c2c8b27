//go:build linux && (amd64 || arm64)

package probe

import (
	"testing"

	"github.com/cilium/ebpf"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

func TestACountThatMadeRoomAndComesBackGoesOn(t *testing.T) {
	if err := checkPrivilege(); err != nil {
		t.Skipf("needs the privilege to make a map: %v", err)
	}
	m, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Hash, KeySize: wire.CountKeySize, ValueSize: 8, MaxEntries: 4})
	require.NoError(t, err)
	defer m.Close()
	key := wire.CountKey{Reason: 7}
	require.NoError(t, m.Put(key, uint64(5)))
	var table countTable
	for range countIdleCollections + 1 {
		require.NoError(t, table.read(m))
		require.Len(t, table.counts, 1)
		assert.EqualValues(t, 5, table.counts[0].Value)
	}
	require.NoError(t, table.read(m)) // takes it out, and still tells of it
	assert.EqualValues(t, 5, table.counts[0].Value)
	var value uint64
	assert.ErrorIs(t, m.Lookup(key, &value), ebpf.ErrKeyNotExist)

	require.NoError(t, m.Put(key, uint64(5))) // as many again as before
	require.NoError(t, table.read(m))
	assert.EqualValues(t, 10, table.counts[0].Value)

	require.NoError(t, m.Delete(key))
	require.NoError(t, table.read(m))
	assert.Empty(t, table.counts, "a count that stays away has ended")
	assert.Empty(t, table.last)
}
