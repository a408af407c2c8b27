//go:build linux && (amd64 || arm64)

package probe

import (
	"runtime"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ebpfnet/ebpfnetreceiver/bpf"
)

// Of a table with room for more, nothing is taken, whichever CPU adds to it. Kernels that share out less, as 6.18 does,
// would take nothing from a small one either: the older ones of the lab, with their two CPUs, show it.
func TestASmallTableKeepsWhatEachCPUAdds(t *testing.T) {
	needPrivilege(t)
	spec, err := bpf.LoadConnections()
	require.NoError(t, err)
	l := newLoader(Config{MaxConnections: 8}, kernelTypes{}, nil)
	defer l.close()
	table, err := l.sharedMap(spec.Maps["conns_by_socket"], true, false)
	require.NoError(t, err)

	runtime.LockOSThread() // never unlocked: the thread ends with the test
	var cpus unix.CPUSet
	require.NoError(t, unix.SchedGetaffinity(0, &cpus))
	const each = 3
	var added []uint64
	connection := make([]byte, table.ValueSize())
	for cpu := range len(cpus) * 64 {
		if !cpus.IsSet(cpu) {
			continue
		}
		var one unix.CPUSet
		one.Set(cpu)
		require.NoError(t, unix.SchedSetaffinity(0, &one))
		for range each {
			key := uint64(len(added))
			require.NoError(t, table.Update(key, connection, ebpf.UpdateNoExist))
			added = append(added, key)
		}
	}
	for _, key := range added {
		require.NoError(t, table.Lookup(key, &connection), "entry %d of %d", key, len(added))
	}
}
