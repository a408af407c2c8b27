package owner

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

const (
	hostNS = 4026531840
	podNS  = 4026532001
	sideNS = 4026532002
)

// village is a host with pods; a process's cgroup is numbered, and has a path.
func village() *host {
	h := newHost()
	h.paths[13] = in("/kubepods/burstable/pod{U}/{B}") // another container of the same pod
	h.paths[14] = in("/kubepods/pod{V}/{A}")
	h.paths[15] = in("/kubepods/pod{U}/{A}/docker/{B}")
	h.paths[16] = in("/docker/{A}")
	h.paths[17] = in("/kubepods/burstable/pod{H}/{B}")
	return h
}

func task(tgid uint32, netns uint32, cgroup, startNs uint64) wire.TaskRecord {
	return wire.TaskRecord{TGID: tgid, Netns: netns, CgroupID: cgroup, StartNs: startNs, NetnsCookie: uint64(netns) << 8}
}

func kthreadd() wire.TaskRecord {
	record := task(2, hostNS, 1, 0)
	record.Flags = wire.TaskKernel
	return record
}

func TestANamespaceIsThePodsWhoseFirstProcessLivesThere(t *testing.T) {
	for _, c := range []struct {
		what  string
		tasks []wire.TaskRecord
		pod   string // at home in podNS
		side  string // at home in sideNS
	}{
		{"a pod of two containers", []wire.TaskRecord{task(10, podNS, 10, 5), task(11, podNS, 13, 6)}, uidA, ""},
		{"and whoever entered it", []wire.TaskRecord{task(10, podNS, 10, 5), task(104, podNS, 1, 6)}, uidA, ""},
		{"even before it came", []wire.TaskRecord{task(104, podNS, 1, 4), task(10, podNS, 10, 5)}, uidA, ""},
		{"two pods in one are neither's", []wire.TaskRecord{task(10, podNS, 10, 5), task(11, podNS, 14, 6)}, "", ""},
		{"a pod that looks into another's", []wire.TaskRecord{task(10, podNS, 10, 5), task(11, sideNS, 14, 4), task(12, podNS, 14, 6)}, uidA, uidB},
		{"a pod of the host network has none", []wire.TaskRecord{task(10, hostNS, 10, 5)}, "", ""},
		{"nor what it makes for itself", []wire.TaskRecord{task(10, hostNS, 10, 5), task(11, sideNS, 10, 6)}, "", ""},
		{"a runtime in a pod", []wire.TaskRecord{task(10, podNS, 10, 5), task(11, sideNS, 15, 6)}, uidA, ""},
		{"a container outside pods", []wire.TaskRecord{task(10, podNS, 16, 5), task(11, podNS, 16, 6)}, idA, ""},
		{"a static pod's containers share it", []wire.TaskRecord{task(10, podNS, 12, 5), task(11, podNS, 17, 6)}, idB, ""},
		{"a service of the host", []wire.TaskRecord{task(100, podNS, 20, 5)}, "", ""},
		{"a container that cgroup v1 tells", []wire.TaskRecord{task(102, podNS, 1, 5)}, uidA, ""},
	} {
		n := NewNamespaces(village())
		n.Update(append([]wire.TaskRecord{kthreadd()}, c.tasks...))
		for inode, want := range map[uint32]string{podNS: c.pod, sideNS: c.side} {
			got := ""
			if found, ok := n.Get(inode); ok {
				identity := Parse(found.Cgroup)
				if got = identity.PodUID; got == "" {
					got = identity.ContainerID
				}
				require.False(t, found.Host, c.what)
			}
			require.Equal(t, want, got, c.what)
		}
		found, _ := n.Get(hostNS)
		require.True(t, found.Host, c.what)
		require.Empty(t, found.Cgroup, c.what)
	}
}

func TestANumberThatIsGivenToAnotherNamespaceIsAnother(t *testing.T) {
	n := NewNamespaces(village())
	first, second := task(10, podNS, 10, 5), task(11, podNS, 14, 50)
	second.NetnsCookie++
	n.Update([]wire.TaskRecord{first})
	before, _ := n.Get(podNS)
	n.Update([]wire.TaskRecord{second})
	after, _ := n.Get(podNS)
	require.NotEqual(t, before.Identity, after.Identity)
	require.EqualValues(t, 5, before.StartNs)
	require.EqualValues(t, 50, after.StartNs)
	first.NetnsCookie, second.NetnsCookie = 0, 0 // before 5.12
	n.Update([]wire.TaskRecord{first})
	before, _ = n.Get(podNS)
	n.Update([]wire.TaskRecord{second})
	after, _ = n.Get(podNS)
	require.NotEqual(t, before.Identity, after.Identity)
}

func TestAProcessIsAskedForOnceNotPerList(t *testing.T) {
	h := village()
	n := NewNamespaces(h)
	now := time.Unix(0, 0)
	n.now = func() time.Time { return now }
	list := []wire.TaskRecord{task(10, podNS, 10, 5), task(100, hostNS, 20, 5)}
	n.Update(list)
	asked := h.asked
	for range 10 {
		n.Update(list)
	}
	require.Equal(t, asked, h.asked)
	list[1].CgroupID = 10 // moved into the container
	n.Update(list)
	require.Equal(t, asked+1, h.asked)
	now = now.Add(time.Hour)
	n.Update(list)
	require.Equal(t, asked+1, h.asked, "what is in a container stays there")
}

func BenchmarkNamespaces(b *testing.B) {
	h := village()
	n := NewNamespaces(h)
	tasks := []wire.TaskRecord{kthreadd()}
	for i := range uint32(2000) {
		tasks = append(tasks, task(1000+i, podNS+i%110, []uint64{10, 13, 14, 16}[i%4], uint64(i)))
	}
	b.ReportAllocs()
	for b.Loop() {
		n.Update(tasks)
	}
}
