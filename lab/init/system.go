package main

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"unsafe"
)

// prepare gives the kernel's file systems their usual places. Nothing in it is fatal: a kernel without
// one of them should still run the tests that do not need it.
func prepare() {
	for _, m := range []struct{ source, target, kind, data string }{
		{"proc", "/proc", "proc", ""},
		{"sysfs", "/sys", "sysfs", ""},
		{"devtmpfs", "/dev", "devtmpfs", ""},
		{"devpts", "/dev/pts", "devpts", "mode=620,ptmxmode=666"},
		{"tmpfs", "/dev/shm", "tmpfs", ""},
		{"tmpfs", "/tmp", "tmpfs", "mode=1777"},
		{"tmpfs", "/run", "tmpfs", "mode=755"},
		{"cgroup2", "/sys/fs/cgroup", "cgroup2", ""},
		{"bpf", "/sys/fs/bpf", "bpf", "mode=700"},
		{"tracefs", "/sys/kernel/tracing", "tracefs", ""},
		{"debugfs", "/sys/kernel/debug", "debugfs", ""},
		{"securityfs", "/sys/kernel/security", "securityfs", ""},
	} {
		_ = os.MkdirAll(m.target, 0o755)
		if err := syscall.Mount(m.source, m.target, m.kind, 0, m.data); err != nil {
			logf("mount %s: %v", m.target, err)
		}
	}
	for link, target := range map[string]string{
		"/dev/fd": "/proc/self/fd", "/dev/stdin": "/proc/self/fd/0",
		"/dev/stdout": "/proc/self/fd/1", "/dev/stderr": "/proc/self/fd/2",
		"/etc/mtab": "/proc/self/mounts", "/var/run": "/run",
	} {
		_ = os.Symlink(target, link)
	}
	// The kernel makes its first root world-writable, at which daemons that drop privileges balk.
	_ = os.Chmod("/", 0o755)
	_ = os.MkdirAll("/run/netns", 0o755)
	_ = os.MkdirAll("/run/lock", 0o755)
	_ = syscall.Sethostname([]byte("lab"))

	// Before 5.11 BPF maps count against the locked-memory limit.
	const rlimitMemlock = 8
	infinity := ^uint64(0)
	_ = syscall.Setrlimit(rlimitMemlock, &syscall.Rlimit{Cur: infinity, Max: infinity})
	_ = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: 1 << 20, Max: 1 << 20})
	_ = syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{})

	// Let a test make cgroups with limits, as a node's init would.
	if controllers, err := os.ReadFile("/sys/fs/cgroup/cgroup.controllers"); err == nil {
		for _, name := range strings.Fields(string(controllers)) {
			_ = os.WriteFile("/sys/fs/cgroup/cgroup.subtree_control", []byte("+"+name), 0)
		}
	}
}

// setSysctls runs after the modules are in, since some of the keys come with them.
func setSysctls() {
	for key, value := range map[string]string{
		// A burst of kernel warnings is what one wants to read in full.
		"kernel/printk_ratelimit": "0",
		"kernel/kptr_restrict":    "0",
	} {
		_ = os.WriteFile(filepath.Join("/proc/sys", key), []byte(value), 0)
	}
}

func loadModule(path string) error {
	image, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	params := []byte{0}
	_, _, errno := syscall.Syscall(syscall.SYS_INIT_MODULE, uintptr(unsafe.Pointer(&image[0])),
		uintptr(len(image)), uintptr(unsafe.Pointer(&params[0])))
	// The initramfs lives in memory, which the tests can use better.
	_ = os.Remove(path)
	if errno != 0 && !errors.Is(errno, syscall.EEXIST) {
		return errno
	}
	return nil
}

func loopbackUp() error {
	flags := make([]byte, 2)
	binary.NativeEndian.PutUint16(flags, syscall.IFF_UP|syscall.IFF_RUNNING)
	return setDevice("lo", syscall.SIOCSIFFLAGS, flags)
}

// rename is for the machine's own device: tests make devices named eth0, for which the kernel looks here first.
func rename(device, name string) error { return setDevice(device, syscall.SIOCSIFNAME, []byte(name)) }

// setDevice does what netdevice(7) describes.
func setDevice(device string, what uintptr, value []byte) error {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_DGRAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer syscall.Close(fd)
	var request struct { // struct ifreq
		name  [syscall.IFNAMSIZ]byte
		value [24]byte
	}
	copy(request.name[:], device)
	copy(request.value[:], value)
	_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), what, uintptr(unsafe.Pointer(&request)))
	if errno != 0 {
		return errno
	}
	return nil
}

func release() string {
	text, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	return strings.TrimSpace(string(text))
}
