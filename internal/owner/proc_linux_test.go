package owner

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

// fakeProc is a procfs of plain files.
type fakeProc struct {
	t    *testing.T
	root string
}

func newFakeProc(t *testing.T) *fakeProc {
	f := &fakeProc{t, t.TempDir()}
	f.link("self/ns/cgroup", cgroupInitNS)
	f.file("2/stat", "2 (kthreadd) S 0 0 0 0 -1 2129984 0 0 0 0 0 0 0 0 20 0 1 0 21 0 0\n")
	return f
}

func inode(t *testing.T, path string) uint64 {
	info, err := os.Stat(path)
	require.NoError(t, err)
	return info.Sys().(*syscall.Stat_t).Ino
}

func (f *fakeProc) file(name, content string) {
	path := filepath.Join(f.root, name)
	require.NoError(f.t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(f.t, os.WriteFile(path, []byte(content), 0o644))
}

func (f *fakeProc) link(name, target string) {
	path := filepath.Join(f.root, name)
	require.NoError(f.t, os.MkdirAll(filepath.Dir(path), 0o755))
	_ = os.Remove(path)
	require.NoError(f.t, os.Symlink(target, path))
}

func (f *fakeProc) process(pid int, comm, exe, cgroup string, state byte, start int) {
	f.file(fmt.Sprintf("%d/stat", pid), fmt.Sprintf("%d (%s) %c 1 1 1 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 1 0 %d 0 0\n", pid, comm, state, start))
	f.file(fmt.Sprintf("%d/cgroup", pid), in(cgroup))
	if exe != "" {
		f.link(fmt.Sprintf("%d/exe", pid), exe)
	}
}

func TestAProcessIsWhatProcfsSaysOfIt(t *testing.T) {
	suspended := suspendedTicks()
	f := newFakeProc(t)
	start := int(suspended) + 4711
	f.process(100, "nginx", "/usr/sbin/nginx", "0::/system.slice/nginx.service\n", 'S', start)
	f.process(101, "old", "/usr/bin/old version (deleted)", "0::/\n", 'R', start)
	f.process(102, "a) R (b c", "", "1:name=systemd:/docker/{A}\n0::/\n", 'S', start)
	f.process(103, "gone", "/usr/bin/gone", "0::/\n", 'Z', start)
	f.process(104, "runc", "/memfd:runc_cloned:/proc/self/exe (deleted)", "0::/\n", 'S', start)
	f.file("105/stat", "105 (cut")
	p := NewProc(ProcOptions{ProcRoot: f.root, CgroupMount: t.TempDir()})
	defer p.Close()
	require.Empty(t, p.Warnings())
	for pid, want := range map[uint32]wire.Process{
		100: {Executable: "nginx", Cgroup: "/system.slice/nginx.service", StartTicks: 4711},
		101: {Executable: "old version", Cgroup: "/", StartTicks: 4711},
		102: {Executable: "a) R (b c", Cgroup: "/docker/" + idA, StartTicks: 4711},
		104: {Executable: "runc", Cgroup: "/", StartTicks: 4711},
	} {
		got, ok := p.Process(pid)
		require.True(t, ok, pid)
		require.Equal(t, want, got, pid)
	}
	for _, pid := range []uint32{0, 103, 105, 106} {
		_, ok := p.Process(pid)
		require.False(t, ok, pid)
	}
}

func TestInAnotherPidNamespaceNoProcessIsNamed(t *testing.T) {
	f := newFakeProc(t)
	f.process(2, "kthreadd", "/bin/pretender", "0::/\n", 'S', 1)
	f.process(100, "nginx", "/usr/sbin/nginx", "0::/\n", 'S', 1)
	p := NewProc(ProcOptions{ProcRoot: f.root, CgroupMount: t.TempDir()})
	defer p.Close()
	_, ok := p.Process(100)
	require.False(t, ok, "the kernel's pid 100 is another process")
	require.Len(t, p.Warnings(), 1)
	require.Contains(t, p.Warnings()[0], "hostPID")
}

func TestInACgroupNamespacePathsKeepWhatIsCertain(t *testing.T) {
	f := newFakeProc(t)
	f.link("self/ns/cgroup", "cgroup:[4026532500]")
	f.process(100, "app", "/app", "0::/../../pod{U}/{A}\n", 'S', 1)
	p := NewProc(ProcOptions{ProcRoot: f.root, CgroupMount: t.TempDir()})
	defer p.Close()
	got, ok := p.Process(100)
	require.True(t, ok)
	require.Equal(t, in("/../../pod{U}/{A}"), got.Cgroup)
	p.base = in("/kubepods/burstable/pod{V}/{B}") // as if the host's tree had been found
	got, _ = p.Process(100)
	require.Equal(t, in("/kubepods/burstable/pod{U}/{A}"), got.Cgroup)
}

func TestWithoutHandlesTheTreeIsWalkedOncePerSecond(t *testing.T) {
	f, mount := newFakeProc(t), t.TempDir()
	now := time.Unix(1000, 0)
	p := NewProc(ProcOptions{ProcRoot: f.root, CgroupMount: mount})
	defer p.Close()
	p.now = func() time.Time { return now }
	make := func(path string) uint64 {
		require.NoError(t, os.MkdirAll(mount+path, 0o755))
		return inode(t, mount+path)
	}
	deep := make(in("/kubepods/burstable/pod{U}/{A}"))
	path, ok := p.CgroupPath(deep)
	require.True(t, ok)
	require.Equal(t, in("/kubepods/burstable/pod{U}/{A}"), path)
	path, ok = p.CgroupPath(inode(t, mount))
	require.True(t, ok)
	require.Equal(t, "/", path)

	late := make("/late")
	_, ok = p.CgroupPath(late)
	require.False(t, ok, "walked less than a second ago")
	now = now.Add(walkEvery)
	path, ok = p.CgroupPath(late)
	require.True(t, ok)
	require.Equal(t, "/late", path)
}

func TestACgroupThatIsGoneIsKnownByTheProcessThatWasInIt(t *testing.T) {
	f, mount := newFakeProc(t), t.TempDir()
	p := NewProc(ProcOptions{ProcRoot: f.root, CgroupMount: mount})
	defer p.Close()
	require.NoError(t, os.MkdirAll(mount+"/job", 0o755))
	id := inode(t, mount+"/job")
	f.process(100, "job", "/job", "0::/job\n", 'S', 1)
	_, ok := p.Process(100)
	require.True(t, ok)
	require.NoError(t, os.Remove(mount+"/job"))
	path, ok := p.CgroupPath(id)
	require.True(t, ok)
	require.Equal(t, "/job", path)
}

func TestNothingMountedIsSaidNotGuessed(t *testing.T) {
	f := newFakeProc(t)
	f.file("self/mountinfo", "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n")
	p := NewProc(ProcOptions{ProcRoot: f.root})
	defer p.Close()
	_, ok := p.CgroupPath(1)
	require.False(t, ok)
	require.Len(t, p.Warnings(), 1)
	require.Contains(t, p.Warnings()[0], "mount cgroup2")
}
