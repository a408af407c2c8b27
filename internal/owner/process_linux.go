package owner

import (
	"bytes"
	"cmp"
	"os"
	"path"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

// Process implements the method of wire.Facts. StartTicks is field 22 of /proc/PID/stat less the time that
// the machine was suspended, so that it compares with CLOCK_MONOTONIC. Cgroup is the path in the v2
// hierarchy or, where that does not say what a v1 hierarchy does, the path there. A process that has
// ended, waited for or not, is none.
func (p *Proc) Process(tgid uint32) (wire.Process, bool) {
	if !p.hostPIDs || tgid == 0 {
		return wire.Process{}, false
	}
	// Everything is read below one directory, which is this process's even if the pid is reused.
	dir, err := unix.Open(p.proc+"/"+pidName(tgid), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return wire.Process{}, false
	}
	defer unix.Close(dir)
	stat, ok := parseStat(p.read(dir, "stat"))
	if !ok || stat.state == 'Z' || stat.state == 'X' {
		return wire.Process{}, false
	}
	v2, v1 := parseCgroups(string(p.read(dir, "cgroup")))
	cgroup := v2
	if v2 != "" {
		cgroup = p.absolute(v2)
		p.learn(cgroup)
	}
	cgroup = telling(cgroup, v1)
	found := wire.Process{Executable: p.executable(dir), Cgroup: cgroup, StartTicks: stat.start - min(stat.start, suspendedTicks())}
	if found.Executable == "" {
		found.Executable = stat.comm
	}
	return found, true
}

// Lives says whether a process that started at startNs (CLOCK_MONOTONIC) is still there.
func Lives(procRoot string, tgid uint32, startNs uint64) bool {
	text, err := os.ReadFile(cmp.Or(procRoot, "/proc") + "/" + pidName(tgid) + "/stat")
	if err != nil {
		return false
	}
	stat, ok := parseStat(text)
	if !ok || stat.state == 'Z' || stat.state == 'X' {
		return false
	}
	started := (stat.start - min(stat.start, suspendedTicks())) * tick
	// Each of the numbers in between is rounded.
	return max(started, startNs)-min(started, startNs) <= 2*tick
}

// executable is the base name of what the process runs; empty: it cannot be read, or is not a file.
func (p *Proc) executable(dir int) string {
	n, err := unix.Readlinkat(dir, "exe", p.buffer)
	if err != nil || n <= 0 {
		return ""
	}
	exe := strings.TrimSuffix(string(p.buffer[:n]), " (deleted)")
	if exe[0] != '/' || strings.HasPrefix(exe, "/memfd:") {
		return ""
	}
	return path.Base(exe)
}

// read gives a small file of a process, valid until the next call; nil if it cannot be read.
func (p *Proc) read(dir int, name string) []byte {
	fd, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	defer unix.Close(fd)
	size := 0
	for size < len(p.buffer) {
		n, err := unix.Read(fd, p.buffer[size:])
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil
		}
		if n == 0 {
			break
		}
		size += n
	}
	return p.buffer[:size]
}

// stat reads /proc/<name>/stat.
func (p *Proc) stat(name string) (processStat, bool) {
	dir, err := unix.Open(p.proc+"/"+name, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return processStat{}, false
	}
	defer unix.Close(dir)
	return parseStat(p.read(dir, "stat"))
}

// processStat is what is needed of /proc/PID/stat.
type processStat struct {
	comm  string
	state byte
	flags uint64 // PF_*
	start uint64 // clock ticks of CLOCK_BOOTTIME
}

func parseStat(text []byte) (stat processStat, ok bool) {
	// The name stands in parentheses and may hold any.
	open, end := bytes.IndexByte(text, '('), bytes.LastIndexByte(text, ')')
	if open < 0 || end < open {
		return stat, false
	}
	fields := bytes.Fields(text[end+1:])
	if len(fields) < 20 {
		return stat, false
	}
	var errFlags, errStart error
	stat.comm, stat.state = string(text[open+1:end]), fields[0][0]
	stat.flags, errFlags = strconv.ParseUint(string(fields[6]), 10, 64)  // field 9
	stat.start, errStart = strconv.ParseUint(string(fields[19]), 10, 64) // field 22
	return stat, errFlags == nil && errStart == nil
}

// suspendedTicks is how long the machine was suspended since it booted; 0 on most servers.
func suspendedTicks() uint64 {
	var boot, monotonic unix.Timespec
	if unix.ClockGettime(unix.CLOCK_MONOTONIC, &monotonic) != nil || unix.ClockGettime(unix.CLOCK_BOOTTIME, &boot) != nil {
		return 0
	}
	suspended := time.Duration(boot.Nano() - monotonic.Nano())
	if suspended < 10*time.Millisecond { // the time between the two readings
		return 0
	}
	return uint64(suspended) / tick
}
