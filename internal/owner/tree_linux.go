package owner

import (
	"encoding/binary"
	"errors"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// fileIDKernfs is FILEID_KERNFS of include/linux/exportfs.h: a file handle that is a node's id alone
	// (kernfs_encode_fh in fs/kernfs/mount.c, Linux 5.5).
	fileIDKernfs = 0xfe

	walkEvery = time.Second
	maxTree   = 32768 // cgroups
)

var errGone = errors.New("no such cgroup")

// CgroupPath implements the method of wire.Facts. With CAP_DAC_READ_SEARCH the kernel opens a cgroup by its
// id; without it the tree is walked, at most once per second and for at most 32768 cgroups. The path
// of a cgroup that is gone is known if it was asked for, or a process in it, before.
func (p *Proc) CgroupPath(id uint64) (string, bool) {
	if p.handles {
		found, err := p.openCgroup(id)
		if err == nil {
			p.seen.put(id, found)
			return found, true
		}
		p.handles = !errors.Is(err, unix.EPERM)
	}
	if found, ok := p.seen.get(id); ok {
		return found, true
	}
	if p.handles || p.fd < 0 {
		return "", false
	}
	if found, ok := p.tree[id]; ok {
		return found, true
	}
	if now := p.now(); now.Sub(p.walkedAt) >= walkEvery {
		p.walkedAt = now
		p.walk()
	}
	found, ok := p.tree[id]
	return found, ok
}

// openCgroup finds the path of a cgroup by opening its id.
func (p *Proc) openCgroup(id uint64) (string, error) {
	handle := unix.NewFileHandle(fileIDKernfs, binary.NativeEndian.AppendUint64(nil, id))
	fd, err := unix.OpenByHandleAt(p.fd, handle, unix.O_PATH|unix.O_CLOEXEC)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	// Ids are shared with the files in cgroups, and of two 32-bit halves only one may have been looked at.
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil || stat.Ino != id || stat.Mode&unix.S_IFMT != unix.S_IFDIR {
		return "", errGone
	}
	full, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd))
	if err != nil {
		return "", err
	}
	return p.below(strings.TrimSuffix(full, " (deleted)")), nil
}

// below makes a path in the mount one of the hierarchy.
func (p *Proc) below(full string) string {
	if path := p.prefix + strings.TrimPrefix(full, strings.TrimSuffix(p.mount, "/")); path != "" {
		return path
	}
	return "/"
}

// walk reads the tree anew. A cgroup that is in neither reading stays unknown.
func (p *Proc) walk() {
	p.tree = make(map[uint64]string, len(p.tree)+16)
	queue := []string{""}
	var root unix.Stat_t
	if unix.Fstat(p.fd, &root) == nil {
		p.tree[root.Ino] = p.below(p.mount)
	}
	for len(queue) > 0 && len(p.tree) < maxTree {
		directory := p.mount + queue[0]
		below := queue[0]
		queue = queue[1:]
		entries, _ := os.ReadDir(directory) // what there is until an error
		for _, entry := range entries {
			if !entry.IsDir() {
				continue
			}
			info, err := entry.Info()
			if err != nil {
				continue // removed meanwhile
			}
			name := below + "/" + entry.Name()
			p.tree[info.Sys().(*syscall.Stat_t).Ino] = p.below(p.mount + name)
			queue = append(queue, name)
		}
	}
}

// learn remembers the id of a cgroup that a process is in.
func (p *Proc) learn(cgroup string) {
	if !p.whole || cgroup == "/" || strings.HasPrefix(cgroup, "/..") {
		return
	}
	var stat unix.Stat_t
	if unix.Fstatat(p.fd, "."+cgroup, &stat, unix.AT_SYMLINK_NOFOLLOW) == nil && stat.Mode&unix.S_IFMT == unix.S_IFDIR {
		p.seen.put(stat.Ino, cgroup)
	}
}
