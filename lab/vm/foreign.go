package main

import (
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// Programs for a machine of another architecture than this one cannot be taken from this one: they come from
// Debian, as kernels do.

// programPackages are the Debian packages of the programs that tests run.
var programPackages = map[string]string{
	"conntrack": "conntrack", "curl": "curl", "dig": "bind9-dnsutils", "dnsmasq": "dnsmasq-base", "h2load": "nghttp2-client",
	"ip": "iproute2", "ipvsadm": "ipvsadm", "nft": "nftables", "nginx": "nginx", "nstat": "iproute2", "ss": "iproute2",
	"tc": "iproute2", "wrk": "wrk",
}

// fetchPrograms returns the root below which all of programPackages are unpacked with what they depend on.
func fetchPrograms(ctx context.Context, cache, arch, mirrorURI string) (string, error) {
	packages := slices.Compact(slices.Sorted(maps.Values(programPackages)))
	return fetchPackages(ctx, filepath.Join(cache, arch), "programs", arch, mirrorURI, "trixie", packages)
}

// fetchPackages returns a root below dir with packages of a suite and what they depend on. They are fetched if it is
// not there yet.
func fetchPackages(ctx context.Context, dir, name, arch, mirrorURI, suite string, packages []string) (string, error) {
	// Named for what it holds: another list is another root.
	dir = filepath.Join(dir, name+"+"+strings.Join(packages, "+"))
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return "", err
	}
	lock, err := os.OpenFile(dir+".lock", os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return "", err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", fmt.Errorf("lock %s: %w", lock.Name(), err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		return dir, err
	}
	m, err := findMirror("/etc/apt", mirrorURI)
	if err != nil {
		return "", err
	}
	work := dir + ".partial"
	defer os.RemoveAll(work)
	if err := os.RemoveAll(work); err != nil {
		return "", err
	}
	a, err := newApt(ctx, filepath.Join(work, "apt"), arch, m.sources([]string{suite}))
	if err != nil {
		return "", err
	}
	progress("downloading %s for %s", strings.Join(packages, " "), arch)
	updateErr := a.update(ctx) // of one suite perhaps, and the others have what is wanted
	root := filepath.Join(work, "root")
	if err := a.unpackAll(ctx, root, packages...); err != nil {
		return "", fmt.Errorf("fetch %s for %s: %w", name, arch, errors.Join(updateErr, err))
	}
	return dir, os.Rename(root, dir)
}

// unpackAll downloads packages with all that they depend on and extracts them into dir.
func (a *apt) unpackAll(ctx context.Context, dir string, packages ...string) error {
	if _, err := needTool("dpkg", "dpkg"); err != nil {
		return err
	}
	install := []string{"install", "-q", "--yes", "--download-only", "--no-install-recommends", "-o=Debug::NoLocking=1"}
	if _, err := a.run(ctx, "apt-get", append(install, packages...)...); err != nil {
		return err
	}
	debs, err := filepath.Glob(filepath.Join(a.dir, "cache/archives/*.deb"))
	if err != nil {
		return err
	}
	for _, deb := range debs {
		if _, err := a.run(ctx, "dpkg", "-x", deb, dir); err != nil {
			return err
		}
	}
	return nil
}

// foreignProgram finds a program below root, and the libraries that it needs: guest path to host path.
func foreignProgram(root, name string) (map[string]string, error) {
	files := map[string]string{}
	for _, dir := range []string{"usr/sbin", "usr/bin", "sbin", "bin"} {
		path := filepath.Join(root, dir, name)
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
			for _, pattern := range programExtras[name] {
				extras, _ := filepath.Glob(filepath.Join(root, pattern))
				for _, extra := range extras {
					if info, err := os.Stat(extra); err == nil && info.Mode().IsRegular() {
						files[strings.TrimPrefix(extra, root)] = extra
					}
				}
			}
			return files, addForeign(files, root, path)
		}
	}
	return nil, fmt.Errorf("no %s below %s: remove it to fetch it again", name, root)
}

// addForeign adds a file and, for there is no ldd that could run it, what its ELF header asks for.
func addForeign(files map[string]string, root, path string) error {
	guestPath := strings.TrimPrefix(path, root)
	if files[guestPath] != "" {
		return nil
	}
	files[guestPath] = path
	f, err := elf.Open(path)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	defer f.Close()
	libraries, err := f.ImportedLibraries()
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	interpreter, err := readInterpreter(path)
	if err != nil {
		return err
	}
	if interpreter != "" {
		loader := usrMerged(interpreter)
		files["/"+loader] = filepath.Join(root, loader)
	}
	for _, library := range libraries {
		found := ""
		for _, pattern := range []string{"usr/lib/*-linux-gnu", "lib/*-linux-gnu", "usr/lib", "lib"} {
			if at, _ := filepath.Glob(filepath.Join(root, pattern, library)); found == "" && len(at) > 0 {
				found = at[0]
			}
		}
		if found == "" {
			return fmt.Errorf("%s needs %s, which is not below %s", path, library, root)
		}
		if err := addForeign(files, root, found); err != nil {
			return err
		}
	}
	return nil
}
