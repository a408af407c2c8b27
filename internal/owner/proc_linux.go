package owner

import (
	"os"
	"path"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// cgroupInitNS and pfKthread tell the initial namespaces: PROC_CGROUP_INIT_INO of
	// include/linux/proc_ns.h, and PF_KTHREAD of include/linux/sched.h.
	cgroupInitNS = "cgroup:[4026531835]"
	pfKthread    = 0x00200000

	maxSeen = 4096
)

// Proc answers the questions of wire.Facts about cgroups and processes from procfs and the cgroup tree
// of the running machine. For one goroutine.
type Proc struct {
	proc     string
	mount    string // of the cgroup v2 hierarchy; empty: none
	prefix   string // what precedes a path below mount in the hierarchy
	whole    bool   // mount shows the hierarchy from its root
	fd       int    // of mount; -1: not open
	handles  bool   // cgroups can be opened by id
	base     string // of the reader's cgroup namespace; empty: not known
	hostPIDs bool   // pids in procfs are those of the kernel

	seen     *cache[uint64, string] // paths of cgroups that may be gone since
	tree     map[uint64]string      // as last walked
	walkedAt time.Time
	now      func() time.Time
	buffer   []byte
	warnings []string
}

// NewProc looks for procfs and the cgroup v2 hierarchy. What it does not find it cannot tell later;
// Warnings says what that is.
func NewProc(options ProcOptions) *Proc {
	p := &Proc{
		proc: options.ProcRoot, mount: options.CgroupMount, fd: -1,
		seen: newCache[uint64, string](maxSeen), now: time.Now, buffer: make([]byte, 32<<10),
	}
	if p.proc == "" {
		p.proc = "/proc"
	}
	private := p.findMount()
	p.openMount()
	p.findBase(private)
	// Process 2 is kthreadd in the initial pid namespace and in no other: kernel threads are only there.
	if stat, ok := p.stat("2"); ok && stat.flags&pfKthread != 0 {
		p.hostPIDs = true
	} else {
		p.warn(p.proc + " does not show the host's processes: process attributes are absent; run in the host's pid " +
			"namespace (hostPID: true) or mount the host's /proc")
	}
	return p
}

// CgroupMount is where the cgroup v2 hierarchy is mounted; empty: nowhere.
func (p *Proc) CgroupMount() string { return p.mount }

// Warnings says what cannot be told on this machine, with its remedy.
func (p *Proc) Warnings() []string { return p.warnings }

func (p *Proc) warn(text string) { p.warnings = append(p.warnings, text) }

// Close closes what NewProc opened. Idempotent.
func (p *Proc) Close() error {
	if p.fd < 0 {
		return nil
	}
	err := unix.Close(p.fd)
	p.fd, p.handles = -1, false
	return err
}

// findMount finds the mount that shows most of the hierarchy, and the one, if there is another, that
// shows just the reader's own cgroup namespace.
func (p *Proc) findMount() (private string) {
	var mounts []mount
	if text, err := os.ReadFile(p.proc + "/self/mountinfo"); err == nil {
		mounts = cgroup2Mounts(string(text))
	}
	for _, m := range mounts {
		if p.mount == "" {
			p.mount = m.point
		}
		if m.point == p.mount && m.root != "/" && m.root[:min(3, len(m.root))] != "/.." {
			p.prefix = m.root
		}
		if m.root == "/" {
			private = m.point
		}
	}
	return private
}

func (p *Proc) openMount() {
	if p.mount == "" {
		p.warn("no cgroup v2 hierarchy is mounted: containers are only known by their processes; mount cgroup2")
		return
	}
	fd, err := unix.Open(p.mount, unix.O_DIRECTORY|unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		p.warn("cgroup v2 hierarchy at " + p.mount + " cannot be opened: " + err.Error())
		return
	}
	p.fd = fd
	var fs unix.Statfs_t
	var root unix.Stat_t
	isCgroup := unix.Fstatfs(fd, &fs) == nil && fs.Type == unix.CGROUP2_SUPER_MAGIC
	if err := unix.Fstat(fd, &root); err != nil || !isCgroup {
		p.whole = err == nil // a directory that stands in for the hierarchy
		return
	}
	p.whole = root.Ino == 1 // kernfs numbers from its root on
	if !p.whole {
		if p.prefix == "" {
			p.prefix = "/.." // nobody knows what is above
		}
		p.warn(p.mount + " shows only a part of the cgroup hierarchy: other containers are only known by their " +
			"processes; mount the host's /sys/fs/cgroup")
	}
	// Below a mount of a part the kernel gives every cgroup outside of it the path of the mount.
	_, err = p.openCgroup(root.Ino)
	p.handles = p.whole && err == nil
}

// findBase finds where in the hierarchy the reader's cgroup namespace is: paths in /proc/PID/cgroup
// are relative to it.
func (p *Proc) findBase(private string) {
	if ns, err := os.Readlink(p.proc + "/self/ns/cgroup"); err == nil && ns == cgroupInitNS {
		p.base = "/"
		return
	}
	var root unix.Stat_t
	if p.whole && private != "" && private != p.mount && unix.Stat(private, &root) == nil {
		p.base, _ = p.CgroupPath(root.Ino)
	}
}

// absolute makes a v2 path of /proc/PID/cgroup one from the root of the hierarchy, if it can. Where the
// reader's own place is not known, a path out of it keeps its "/..": Parse knows what that means.
func (p *Proc) absolute(relative string) string {
	if p.base == "" {
		return relative
	}
	return path.Join(p.base, relative)
}

func pidName(tgid uint32) string { return strconv.FormatUint(uint64(tgid), 10) }
