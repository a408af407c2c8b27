//go:build linux && (amd64 || arm64)

package probe

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ebpfnet/ebpfnetreceiver/internal/owner"
)

const (
	maxScope = 8  // MAX_SCOPE of bpf/config.h
	maxPorts = 16 // MAX_PORTS of bpf/config.h
)

// constants resolves the scope to what the kernel half compares: inode numbers and ports.
func (s Scope) constants() (map[string]any, error) {
	if len(s.NetworkNamespaces) > maxScope {
		return nil, fmt.Errorf("scope.network_namespaces: %d given, %d is the most", len(s.NetworkNamespaces), maxScope)
	}
	if len(s.Cgroups) > maxScope {
		return nil, fmt.Errorf("scope.cgroups: %d given, %d is the most", len(s.Cgroups), maxScope)
	}
	var netns [maxScope]uint32
	for i, namespace := range s.NetworkNamespaces {
		inode, err := namespaceInode(namespace)
		if err != nil {
			return nil, fmt.Errorf("scope.network_namespaces: %q: %w", namespace, err)
		}
		netns[i] = inode
	}
	var ids [maxScope]uint64
	var levels [maxScope]uint32
	for i, path := range s.Cgroups {
		id, level, err := cgroupIdentity(path)
		if err != nil {
			return nil, fmt.Errorf("scope.cgroups: %q: %w", path, err)
		}
		ids[i], levels[i] = id, level
	}
	include, err := portArray("include", s.IncludePorts)
	if err != nil {
		return nil, err
	}
	exclude, err := portArray("exclude", s.ExcludePorts)
	if err != nil {
		return nil, err
	}
	return map[string]any{
		"scope_netns":         netns,
		"scope_netns_count":   uint32(len(s.NetworkNamespaces)),
		"scope_cgroup_id":     ids,
		"scope_cgroup_level":  levels,
		"scope_cgroup_count":  uint32(len(s.Cgroups)),
		"scope_include":       include,
		"scope_include_count": uint32(len(s.IncludePorts)),
		"scope_exclude":       exclude,
		"scope_exclude_count": uint32(len(s.ExcludePorts)),
	}, nil
}

func portArray(key string, ports []uint16) (array [maxPorts]uint16, err error) {
	if len(ports) > maxPorts {
		return array, fmt.Errorf("scope.ports.%s: %d given, %d is the most", key, len(ports), maxPorts)
	}
	copy(array[:], ports)
	return array, nil
}

// namespaceInode takes "self", the number of a namespace, or a file that is one.
func namespaceInode(namespace string) (uint32, error) {
	if inode, err := strconv.ParseUint(namespace, 10, 32); err == nil {
		return uint32(inode), nil
	}
	path := namespace
	if namespace == "self" {
		path = "/proc/self/ns/net"
	}
	var file unix.Stat_t
	if err := unix.Stat(path, &file); err != nil {
		return 0, fmt.Errorf("cannot read this network namespace: %w (give \"self\", a path such as "+
			"/var/run/netns/NAME or /proc/PID/ns/net, or its inode number)", err)
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(path, &fs); err != nil || fs.Type != unix.NSFS_MAGIC {
		return 0, errors.New("is a file, but not a network namespace (ip netns add mounts one under /var/run/netns)")
	}
	return uint32(file.Ino), nil
}

// cgroupIdentity finds a cgroup v2 directory, given below the mount or with it, and says how deep it lies.
func cgroupIdentity(path string) (id uint64, level uint32, err error) {
	mount, err := cgroupMount()
	if err != nil {
		return 0, 0, err
	}
	below := strings.TrimPrefix(filepath.Clean("/"+path), mount)
	full := filepath.Join(mount, below)
	var stat unix.Stat_t
	if err := unix.Stat(full, &stat); err != nil {
		return 0, 0, fmt.Errorf("no such cgroup: %w (give its path below %s)", err, mount)
	}
	for part := range strings.SplitSeq(below, "/") {
		if part != "" {
			level++
		}
	}
	return stat.Ino, level, nil
}

// cgroupMount is where the cgroup v2 hierarchy is mounted, as a whole: how deep a cgroup lies in a part of it cannot
// be told.
func cgroupMount() (string, error) {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", err
	}
	mount, ok := owner.CgroupMount(string(mounts))
	if !ok {
		return "", errors.New("no cgroup v2 hierarchy is mounted (mount -t cgroup2 none /sys/fs/cgroup)")
	}
	var root unix.Stat_t
	if err := unix.Stat(mount, &root); err != nil {
		return "", fmt.Errorf("cgroup v2 hierarchy: %w", err)
	}
	if root.Ino != 1 { // kernfs numbers from its root on
		return "", fmt.Errorf("%s shows only a part of the cgroup v2 hierarchy (mount the host's /sys/fs/cgroup)", mount)
	}
	return mount, nil
}
