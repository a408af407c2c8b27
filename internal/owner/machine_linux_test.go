package owner

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

// These tests ask the running machine.

// newCgroup makes a cgroup v2 directory, and those above it, until the test ends.
func newCgroup(t *testing.T, p *Proc, path string) string {
	if p.CgroupMount() == "" {
		t.Skip("no cgroup v2 hierarchy")
	}
	full := p.CgroupMount()
	for name := range strings.SplitSeq(strings.Trim(path, "/"), "/") {
		full += "/" + name
		if err := os.Mkdir(full, 0o755); errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.EROFS) {
			t.Skip(err)
		} else {
			require.NoError(t, err)
		}
		made := full
		t.Cleanup(func() { _ = unix.Rmdir(made) })
	}
	return full
}

func TestALivingContainerIsFoundByItsSocketsCgroupAndItsProcess(t *testing.T) {
	for _, handles := range []bool{true, false} {
		t.Run(fmt.Sprintf("handles %v", handles), func(t *testing.T) {
			p := NewProc(ProcOptions{})
			defer p.Close()
			if handles && !p.handles {
				require.NotZero(t, os.Geteuid(), "root may open cgroups by id")
				t.Skip("needs CAP_DAC_READ_SEARCH")
			}
			p.handles = handles
			want := in(fmt.Sprintf("/ebpfnet-test-%d/kubepods/burstable/pod{U}/{A}", os.Getpid()))
			full := newCgroup(t, p, want)
			id := inode(t, full)
			path, ok := p.CgroupPath(id)
			require.True(t, ok)
			require.Equal(t, want, path)

			dir, err := os.Open(full)
			require.NoError(t, err)
			defer dir.Close()
			command := exec.Command("sleep", "60")
			command.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd())}
			require.NoError(t, command.Start())
			defer func() { _ = command.Process.Kill(); _ = command.Wait() }()
			process, ok := p.Process(uint32(command.Process.Pid))
			require.True(t, ok)
			require.Equal(t, want, process.Cgroup)
			require.NotZero(t, process.StartTicks)

			container := Owner{ContainerID: idA, PodUID: uidA}
			r := NewResolver(withoutNamespaces{p})
			require.Equal(t, container, r.Resolve(wire.OwnerRef{CgroupID: id}, "", 1))
			require.Equal(t, container, r.Resolve(wire.OwnerRef{TGID: uint32(command.Process.Pid)}, "", 0))

			require.NoError(t, command.Process.Kill())
			_ = command.Wait()
			require.NoError(t, unix.Rmdir(full))
			path, ok = p.CgroupPath(id)
			require.True(t, ok, "known from before it was removed")
			require.Equal(t, want, path)
			_, ok = p.Process(uint32(command.Process.Pid))
			require.False(t, ok)
		})
	}
}

type withoutNamespaces struct{ *Proc }

func (withoutNamespaces) Namespace(uint32) (wire.Namespace, bool) { return wire.Namespace{}, false }

func TestWhatIsNoCgroupHasNoPath(t *testing.T) {
	p := NewProc(ProcOptions{})
	defer p.Close()
	full := newCgroup(t, p, fmt.Sprintf("/ebpfnet-test-%d", os.Getpid()))
	file := inode(t, full+"/cgroup.procs")
	id := inode(t, full)
	require.NoError(t, unix.Rmdir(full))
	for what, id := range map[string]uint64{"0": 0, "a file": file, "a removed cgroup": id, "a large number": 1 << 60} {
		_, ok := p.CgroupPath(id)
		require.False(t, ok, what)
	}
}

func TestThisProcessKnowsItself(t *testing.T) {
	p := NewProc(ProcOptions{})
	defer p.Close()
	if !p.hostPIDs {
		t.Skip(p.Warnings())
	}
	got, ok := p.Process(uint32(os.Getpid()))
	require.True(t, ok)
	exe, err := os.Executable()
	require.NoError(t, err)
	require.Equal(t, filepath.Base(exe), got.Executable)
	var now unix.Timespec
	require.NoError(t, unix.ClockGettime(unix.CLOCK_MONOTONIC, &now))
	age := uint64(now.Nano()) - got.StartTicks*tick
	require.Less(t, age, uint64(10*time.Minute), "started after the test binary was built")
	t.Logf("%+v, %s old", got, time.Duration(age))
}

func BenchmarkCgroupPathByHandle(b *testing.B) {
	p := NewProc(ProcOptions{})
	defer p.Close()
	if !p.handles {
		b.Skip("needs CAP_DAC_READ_SEARCH")
	}
	b.ReportAllocs()
	for b.Loop() {
		p.CgroupPath(1)
	}
}

func BenchmarkProcess(b *testing.B) {
	p := NewProc(ProcOptions{})
	defer p.Close()
	b.ReportAllocs()
	for b.Loop() {
		p.Process(uint32(os.Getpid()))
	}
}
