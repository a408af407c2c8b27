package owner

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

// host is a machine of which the test is master; it counts questions.
type host struct {
	paths     map[uint64]string
	processes map[uint32]wire.Process
	netns     map[uint32]wire.Namespace
	asked     int
}

func (h *host) Namespace(inode uint32) (wire.Namespace, bool) {
	h.asked++
	namespace, ok := h.netns[inode]
	return namespace, ok
}

func (h *host) CgroupPath(id uint64) (string, bool) {
	h.asked++
	path, ok := h.paths[id]
	return path, ok
}

func (h *host) Process(tgid uint32) (wire.Process, bool) {
	h.asked++
	process, ok := h.processes[tgid]
	return process, ok
}

const second = uint64(time.Second)

func newHost() *host {
	return &host{
		paths: map[uint64]string{
			1:  "/",
			10: in("/kubepods/burstable/pod{U}/{A}"),
			11: in("/kubepods/burstable/pod{U}/{A}/child"),
			12: in("/kubepods/burstable/pod{H}"),
			20: "/system.slice/nginx.service",
			30: "/user.slice/user-1000.slice/session-1.scope",
			40: "/init.scope",
			50: "/../child",
			51: "/../system.slice/nginx.service",
		},
		processes: map[uint32]wire.Process{
			100: {Executable: "nginx", Cgroup: "/system.slice/nginx.service", StartTicks: 500},
			101: {Executable: "curl", Cgroup: "/user.slice/user-1000.slice/session-1.scope", StartTicks: 500},
			102: {Executable: "app", Cgroup: in("/kubepods/burstable/pod{U}/{A}"), StartTicks: 500},
			103: {Executable: "systemd", Cgroup: "/init.scope", StartTicks: 1},
			104: {Executable: "tool", Cgroup: "/", StartTicks: 1},
		},
	}
}

func TestARecordBelongsToItsContainerElseItsProcess(t *testing.T) {
	container := Owner{ContainerID: idA, PodUID: uidA}
	nginx := Owner{PID: 100, Executable: "nginx", ServiceName: "nginx"}
	for _, c := range []struct {
		what string
		ref  wire.OwnerRef
		comm string
		want Owner
	}{
		{"a socket in a container", wire.OwnerRef{CgroupID: 10, Netns: 7}, "", container},
		{"by whichever process", wire.OwnerRef{CgroupID: 10, Netns: 7, TGID: 102}, "app", container},
		{"even one on the host, that was handed the socket", wire.OwnerRef{CgroupID: 10, TGID: 100}, "nginx", container},
		{"in whichever network namespace", wire.OwnerRef{CgroupID: 10, Netns: 8}, "", container},
		{"and cgroup below the container's", wire.OwnerRef{CgroupID: 11, TGID: 999}, "", container},
		{"a socket without a cgroup, by its process in a container", wire.OwnerRef{TGID: 102}, "", container},
		{"a socket of the root cgroup, likewise (cgroup v1)", wire.OwnerRef{CgroupID: 1, TGID: 102}, "", container},
		{"a socket that systemd made for a container", wire.OwnerRef{CgroupID: 40, TGID: 102}, "", container},
		{"a socket of a cgroup that is gone, by its process", wire.OwnerRef{CgroupID: 999, TGID: 102}, "", container},
		{"a system service", wire.OwnerRef{CgroupID: 20, Netns: 7, TGID: 100}, "", nginx},
		{"whose socket systemd made", wire.OwnerRef{CgroupID: 40, TGID: 100}, "", nginx},
		{"a command in a session", wire.OwnerRef{CgroupID: 30, TGID: 101}, "", Owner{PID: 101, Executable: "curl", ServiceName: "curl"}},
		{"init itself", wire.OwnerRef{CgroupID: 40, TGID: 103}, "", Owner{PID: 103, Executable: "systemd", ServiceName: "systemd"}},
		{"a process of the root cgroup", wire.OwnerRef{CgroupID: 1, TGID: 104}, "", Owner{PID: 104, Executable: "tool", ServiceName: "tool"}},
		{"a process that is gone, in a service", wire.OwnerRef{CgroupID: 20, TGID: 998}, "nginx", Owner{PID: 998, Executable: "nginx", ServiceName: "nginx"}},
		{"a process that is gone, in the root", wire.OwnerRef{CgroupID: 1, TGID: 998}, "wget", Owner{PID: 998, Executable: "wget", ServiceName: "wget"}},
		{"a process that is gone with its cgroup may have been in a container", wire.OwnerRef{CgroupID: 999, Netns: 7, TGID: 998}, "wget", Owner{Netns: 7}},
		{"a service of which no process was seen", wire.OwnerRef{CgroupID: 20, Netns: 7}, "", Owner{ServiceName: "nginx"}},
		{"a session of which no process was seen", wire.OwnerRef{CgroupID: 30, Netns: 7}, "", Owner{Netns: 7}},
		{"a process that is gone, in a cgroup of we know not whom", wire.OwnerRef{CgroupID: 50, Netns: 7, TGID: 998}, "wget", Owner{Netns: 7}},
		{"a service, seen from a cgroup namespace", wire.OwnerRef{CgroupID: 51, Netns: 7}, "", Owner{ServiceName: "nginx"}},
		{"the root cgroup alone", wire.OwnerRef{CgroupID: 1, Netns: 7}, "", Owner{Netns: 7}},
		{"a static pod outside its containers", wire.OwnerRef{CgroupID: 12, Netns: 7}, "", Owner{Netns: 7}},
		{"nothing but a network namespace", wire.OwnerRef{Netns: 7}, "", Owner{Netns: 7}},
	} {
		require.Equal(t, c.want, NewResolver(newHost()).Resolve(c.ref, c.comm, 10*second), c.what)
	}
}

func TestAnAnswerIsAskedForOnceNotPerEvent(t *testing.T) {
	h := newHost()
	r := NewResolver(h)
	refs := []wire.OwnerRef{{CgroupID: 10}, {CgroupID: 20, TGID: 100}, {CgroupID: 999, TGID: 998}, {CgroupID: 1}}
	for range 1000 {
		for _, ref := range refs {
			r.Resolve(ref, "x", 10*second)
		}
	}
	require.Equal(t, 6, h.asked)
	require.Zero(t, testing.AllocsPerRun(1000, func() {
		for _, ref := range refs {
			r.Resolve(ref, "x", 10*second)
		}
	}))
}

func TestWhatIsNotKnownIsAskedForAgainEverLessOften(t *testing.T) {
	h := newHost()
	r := NewResolver(h)
	ref := wire.OwnerRef{CgroupID: 999, Netns: 7}
	for now := range uint64(300_000) {
		require.Equal(t, Owner{Netns: 7}, r.Resolve(ref, "", 10*second+now*second/1000))
	}
	require.Less(t, h.asked, 24, "questions about two things in five minutes of an event per millisecond")
	h.paths[999] = h.paths[10]
	require.Equal(t, idA, r.Resolve(ref, "", 400*second).ContainerID)
}

func TestAPidThatIsReusedIsAnotherProcess(t *testing.T) {
	h := newHost()
	r := NewResolver(h)
	ref := wire.OwnerRef{CgroupID: 30, TGID: 101}
	require.Equal(t, "curl", r.Resolve(ref, "curl", 10*second).Executable)
	h.processes[101] = wire.Process{Executable: "wget", Cgroup: "/init.scope", StartTicks: 2000} // at 20 s
	require.Equal(t, "wget", r.Resolve(ref, "wget", 21*second).Executable)
	require.Equal(t, Owner{PID: 101, Executable: "curl", ServiceName: "curl"}, r.Resolve(ref, "curl", 15*second),
		"a record from before is not the new process's")
}

func TestAReusedPidInAContainerDoesNotTakeOverEarlierRecords(t *testing.T) {
	h := newHost()
	r := NewResolver(h)
	h.processes[101] = wire.Process{Executable: "app", Cgroup: h.paths[10], StartTicks: 2000}
	require.Equal(t, Owner{PID: 101, Executable: "curl", ServiceName: "curl"}, r.Resolve(wire.OwnerRef{CgroupID: 30, TGID: 101}, "curl", 15*second))
}

func TestAProcessThatIsGoneKeepsItsOwnerForAMinute(t *testing.T) {
	h := newHost()
	h.processes[101] = wire.Process{Executable: "python3.11", Cgroup: "/", StartTicks: 500}
	r := NewResolver(h)
	ref := wire.OwnerRef{CgroupID: 1, TGID: 101}
	require.Equal(t, "python3.11", r.Resolve(ref, "python3", 10*second).Executable)
	delete(h.processes, 101)
	require.Equal(t, "python3.11", r.Resolve(ref, "python3", 60*second).Executable)
	require.Equal(t, "python3", r.Resolve(ref, "python3", 80*second).Executable, "by then the pid may be another's")
	require.Equal(t, "python3.11", r.Resolve(ref, "python3", 20*second).Executable, "but not that of an earlier record")
}

func TestExecIsSeen(t *testing.T) {
	h := newHost()
	r := NewResolver(h)
	ref := wire.OwnerRef{CgroupID: 1, TGID: 104}
	require.Equal(t, "tool", r.Resolve(ref, "", 10*second).Executable)
	h.processes[104] = wire.Process{Executable: "server", Cgroup: "/", StartTicks: 1}
	require.Equal(t, "server", r.Resolve(ref, "", 12*second).Executable)
}

func TestAPacketWithoutASocketBelongsToThePodOfItsNamespace(t *testing.T) {
	h := newHost()
	h.netns = map[uint32]wire.Namespace{
		1: {Host: true},
		7: {Cgroup: h.paths[10], StartNs: 5 * second},
		8: {Cgroup: in("/docker/{A}"), StartNs: 5 * second},
		9: {}, // of two pods, or none
	}
	pod := Owner{PodUID: uidA}
	nginx := Owner{PID: 100, Executable: "nginx", ServiceName: "nginx"}
	for _, c := range []struct {
		what   string
		ref    wire.OwnerRef
		timeNs uint64
		want   Owner
	}{
		{"no socket", wire.OwnerRef{Netns: 7}, 10 * second, pod},
		{"no socket, before the pod was there", wire.OwnerRef{Netns: 7}, 4 * second, Owner{Netns: 7}},
		{"no socket, a container outside pods", wire.OwnerRef{Netns: 8}, 10 * second, Owner{ContainerID: idA, Runtime: "docker"}},
		{"no socket, nobody's namespace", wire.OwnerRef{Netns: 9}, 10 * second, Owner{Netns: 9}},
		{"no socket, a namespace that is gone", wire.OwnerRef{Netns: 10}, 10 * second, Owner{Netns: 10}},
		{"no socket, the host's", wire.OwnerRef{Netns: 1}, 10 * second, Owner{Netns: 1, Host: true}},
		{"a socket of the pod's container is the container's", wire.OwnerRef{Netns: 7, CgroupID: 10}, 10 * second, Owner{ContainerID: idA, PodUID: uidA}},
		{"a socket of the host network's pod, by its cgroup", wire.OwnerRef{Netns: 1, CgroupID: 10}, 10 * second, Owner{ContainerID: idA, PodUID: uidA}},
		{"a socket of a container that is gone", wire.OwnerRef{Netns: 7, CgroupID: 999}, 10 * second, pod},
		{"a socket of the root cgroup (cgroup v1)", wire.OwnerRef{Netns: 7, CgroupID: 1}, 10 * second, pod},
		{"a socket of a session on the host", wire.OwnerRef{Netns: 7, CgroupID: 30}, 10 * second, Owner{Netns: 7}},
		{"a socket of the host's service that entered", wire.OwnerRef{Netns: 7, CgroupID: 20, TGID: 100}, 10 * second, nginx},
	} {
		require.Equal(t, c.want, NewResolver(h).Resolve(c.ref, "", c.timeNs), c.what)
	}
}

func TestANamespacesNumberThatIsReusedIsNotThePodBefores(t *testing.T) {
	h := newHost()
	h.netns = map[uint32]wire.Namespace{7: {Cgroup: h.paths[10], StartNs: 5 * second}}
	r := NewResolver(h)
	ref := wire.OwnerRef{Netns: 7}
	require.Equal(t, uidA, r.Resolve(ref, "", 10*second).PodUID)
	require.Equal(t, uidA, r.ResolveCount(ref, 6*second, 10*second).PodUID)
	h.netns[7] = wire.Namespace{Cgroup: in("/kubepods/pod{V}/{B}"), StartNs: 15 * second}
	require.Equal(t, uidB, r.Resolve(ref, "", 16*second).PodUID)
	require.Equal(t, Owner{Netns: 7}, r.Resolve(ref, "", 14*second), "who it was then is not known any more")
	require.Equal(t, Owner{Netns: 7}, r.ResolveCount(ref, 10*second, 20*second), "some of it may be the pod's before")
	require.Equal(t, uidB, r.ResolveCount(ref, 20*second, 30*second).PodUID)
}

func TestAnExecutableIsOfTheProcessThatWasMeant(t *testing.T) {
	h := newHost()
	r := NewResolver(h)
	require.Equal(t, "app", r.Executable(102, 10*second), "in a container too")
	require.Equal(t, "curl", r.Executable(101, 10*second))
	require.Empty(t, r.Executable(101, 4*second), "the pid was another's then")
	require.Empty(t, r.Executable(998, 10*second))
	delete(h.processes, 101)
	require.Equal(t, "curl", r.Executable(101, 20*second), "its sockets may say something after it")
	require.Empty(t, r.Executable(101, 90*second))
}

func TestMemoryIsBounded(t *testing.T) {
	r := NewResolver(newHost())
	for i := range uint32(100_000) {
		r.Resolve(wire.OwnerRef{CgroupID: uint64(i) + 1000, TGID: i + 1000}, "x", 10*second)
	}
	require.LessOrEqual(t, r.cgroups.len(), 2*maxCgroups)
	require.LessOrEqual(t, r.processes.len(), 2*maxProcesses)
	for i := range uint32(10_000) {
		r.Resolve(wire.OwnerRef{Netns: i + 1}, "", 10*second)
	}
	require.LessOrEqual(t, r.namespaces.len(), 2*maxNamespaces)
}

func TestTheCacheForgetsWhatIsNotUsed(t *testing.T) {
	c := newCache[int, int](10)
	for i := range 100 {
		c.put(i, i)
		_, ok := c.get(0)
		require.True(t, ok, "used all along, with %d others since", i)
	}
	_, ok := c.get(50)
	require.False(t, ok)
	_, ok = c.get(99)
	require.True(t, ok)
	require.LessOrEqual(t, c.len(), 20)
}

func BenchmarkResolveContainer(b *testing.B) {
	r := NewResolver(newHost())
	b.ReportAllocs()
	for b.Loop() {
		r.Resolve(wire.OwnerRef{CgroupID: 10, TGID: 5}, "app", second)
	}
}

func BenchmarkResolveProcess(b *testing.B) {
	r := NewResolver(newHost())
	b.ReportAllocs()
	for b.Loop() {
		r.Resolve(wire.OwnerRef{CgroupID: 20, TGID: 100}, "nginx", 10*second)
	}
}

func BenchmarkParse(b *testing.B) {
	path := in("/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{u}.slice/cri-containerd-{A}.scope")
	b.ReportAllocs()
	for b.Loop() {
		Parse(path)
	}
}
