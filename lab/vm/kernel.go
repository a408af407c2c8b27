package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
)

// kernelLine is a kernel version that the lab knows, and the Debian suites that carry it.
type kernelLine struct {
	name   string
	prefix string // of the full version; empty for whatever is newest
	suites []string
	// preemptible: Debian builds it to preempt itself (PREEMPT_LAZY).
	preemptible bool
	// emulator is the suite whose QEMU runs it as amd64.
	emulator string
}

// emulatorOf is the suite whose QEMU runs the kernel. What is wrong with bookworm's is of amd64 alone.
func (l kernelLine) emulatorOf(arch string) string {
	if arch == "amd64" {
		return l.emulator
	}
	return "bookworm"
}

// bookworm's QEMU (7.2) is twice as fast as trixie's (10.0) with a clock that counts instructions. But it loses processor
// flags behind cmpxchg16b, which now and then ends 6.18 in its allocator, and 6.12 with flags that no processor has. Of the
// newest that has not been seen.
var kernelLines = []kernelLine{
	{"5.10", "5.10.", []string{"bullseye"}, false, "bookworm"},
	{"6.1", "6.1.", []string{"bookworm"}, false, "bookworm"},
	{"6.12", "6.12.", []string{"trixie"}, false, "trixie"},
	{"6.18", "6.18.", []string{"trixie", "trixie-backports"}, true, "trixie"},
	{"newest", "", []string{"sid"}, true, "bookworm"},
}

func findKernelLine(name string) (kernelLine, error) {
	var names []string
	for _, line := range kernelLines {
		if line.name == name {
			return line, nil
		}
		names = append(names, line.name)
	}
	return kernelLine{}, fmt.Errorf("-kernel %q: the lab knows %s", name, strings.Join(names, ", "))
}

// kernelTree is an unpacked kernel in the cache, with the busybox of the same suite and architecture.
type kernelTree struct {
	release, image, config, modules, busybox string
}

// openKernelTree finds its way in both of Debian's layouts: /boot and /lib/modules up to 6.18, all below
// /usr/lib/modules since.
func openKernelTree(dir string) (kernelTree, error) {
	first := func(patterns ...string) string {
		for _, pattern := range patterns {
			if found, _ := filepath.Glob(filepath.Join(dir, pattern)); len(found) > 0 {
				return found[0]
			}
		}
		return ""
	}
	t := kernelTree{
		image:   first("boot/vmlinuz-*", "usr/lib/modules/*/vmlinuz"),
		config:  first("boot/config-*", "usr/lib/modules/*/config"),
		modules: first("lib/modules/*/kernel", "usr/lib/modules/*/kernel"),
		busybox: first("bin/busybox", "usr/bin/busybox"),
	}
	if t.image == "" || t.modules == "" || t.busybox == "" {
		return t, fmt.Errorf("%s holds no whole kernel (image %q, modules %q, busybox %q): remove it to fetch it again",
			dir, t.image, t.modules, t.busybox)
	}
	t.modules = filepath.Dir(t.modules)
	t.release = filepath.Base(t.modules)
	return t, nil
}

// fetchKernel returns the kernel from the cache, and puts it there first if need be. The lock that it
// returns keeps other runs out of the tree until closed: they too may want to uncompress its modules.
func fetchKernel(ctx context.Context, cache, arch, mirrorURI string, line kernelLine) (kernelTree, *os.File, error) {
	dir := filepath.Join(cache, arch, line.name)
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return kernelTree{}, nil, err
	}
	lock, err := os.OpenFile(dir+".lock", os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return kernelTree{}, nil, err
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return kernelTree{}, nil, fmt.Errorf("lock %s: %w", lock.Name(), err)
	}
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		if err := download(ctx, dir, arch, mirrorURI, line); err != nil {
			lock.Close()
			return kernelTree{}, nil, fmt.Errorf("fetch kernel %s for %s: %w", line.name, arch, err)
		}
	}
	tree, err := openKernelTree(dir)
	if err != nil {
		lock.Close()
	}
	return tree, lock, err
}

// download puts a kernel and busybox into dir.
func download(ctx context.Context, dir, arch, mirrorURI string, line kernelLine) error {
	m, err := findMirror("/etc/apt", mirrorURI)
	if err != nil {
		return err
	}
	work := dir + ".partial"
	defer os.RemoveAll(work)
	err = downloadFrom(ctx, m, work, dir, arch, line)
	if err != nil && m.security != "" && ctx.Err() == nil {
		// The security archive of an old suite goes on listing packages that it has no longer. The
		// suite itself still has the kernel of its last point release.
		progress("%v\ntrying without security updates", err)
		m.security = ""
		err = downloadFrom(ctx, m, work, dir, arch, line)
	}
	return err
}

func downloadFrom(ctx context.Context, m mirror, work, dir, arch string, line kernelLine) error {
	if err := os.RemoveAll(work); err != nil {
		return err
	}
	a, err := newApt(ctx, filepath.Join(work, "apt"), arch, m.sources(line.suites))
	if err != nil {
		return err
	}
	progress("reading the package lists of %s", strings.Join(line.suites, ", "))
	// A suite that has moved elsewhere fails here although the others may have what is wanted.
	updateErr := a.update(ctx)
	names, err := a.names(ctx, "linux-")
	if err != nil {
		return errors.Join(updateErr, err)
	}
	candidates := kernelPackages(names, line.prefix, arch)
	if len(candidates) == 0 {
		return errors.Join(updateErr, fmt.Errorf("no linux-image package for %s in %s", line.name, strings.Join(line.suites, ", ")))
	}
	// Should one package be gone already, then the next older will do.
	for _, packages := range candidates[:min(3, len(candidates))] {
		progress("downloading %s", strings.Join(packages, " "))
		tree := filepath.Join(work, "tree")
		if err = a.unpack(ctx, tree, append(packages, "busybox-static")...); err == nil {
			if _, err = openKernelTree(tree); err == nil {
				return os.Rename(tree, dir)
			}
		}
		if ctx.Err() != nil {
			return err
		}
		_ = os.RemoveAll(tree)
	}
	return errors.Join(updateErr, err)
}

var kernelABI = regexp.MustCompile(`^\d+\.\d+\.\d+(-\d+)?(\+[a-z0-9.+]+)?$`)

// kernelPackages picks from package names the kernels whose version begins with prefix, newest first:
// for each the packages to unpack together. The cloud flavour comes before the generic one, because it is
// smaller and has everything that network tests need.
func kernelPackages(names []string, prefix, arch string) [][]string {
	all := map[string]bool{}
	var abis []string
	for _, name := range names {
		all[name] = true
		abi, isImage := strings.CutPrefix(name, "linux-image-")
		abi, isArch := strings.CutSuffix(abi, "-"+arch)
		abi = strings.TrimSuffix(abi, "-cloud")
		if isImage && isArch && strings.HasPrefix(abi, prefix) && kernelABI.MatchString(abi) {
			abis = append(abis, abi)
		}
	}
	slices.SortFunc(abis, func(a, b string) int { return compareVersions(b, a) })
	var result [][]string
	for _, abi := range slices.Compact(abis) {
		for _, flavour := range []string{"-cloud-", "-"} {
			suffix := abi + flavour + arch
			if !all["linux-image-"+suffix] {
				continue
			}
			var packages []string
			// One package up to 6.18; image, modules and their index apart since.
			for _, part := range []string{"image", "binary", "modules", "base"} {
				if name := "linux-" + part + "-" + suffix; all[name] {
					packages = append(packages, name)
				}
			}
			result = append(result, packages)
		}
	}
	return result
}

var digits = regexp.MustCompile(`\d+|\D+`)

// compareVersions orders "6.12.9" before "6.12.10": runs of digits compare as numbers.
func compareVersions(a, b string) int {
	x, y := digits.FindAllString(a, -1), digits.FindAllString(b, -1)
	return slices.CompareFunc(x, y, func(p, q string) int {
		isNumber := p[0] >= '0' && p[0] <= '9' && q[0] >= '0' && q[0] <= '9'
		if isNumber && len(p) != len(q) {
			return len(p) - len(q)
		}
		return strings.Compare(p, q)
	})
}
