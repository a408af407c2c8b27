package main

import (
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
)

// programExtras are files that a program reads at run time and ldd does not know about. What this
// machine does not have is left out.
var programExtras = map[string][]string{
	"nginx":    {"/etc/nginx/mime.types"},
	"tc":       {"/usr/lib/tc/*"},
	"ip":       {"/etc/iproute2/*", "/usr/share/iproute2/*"},
	"nft":      {"/etc/protocols", "/etc/services"},
	"iptables": {"/etc/protocols", "/etc/services", "/usr/lib/*-linux-gnu/xtables/*.so"},
	"haproxy":  {"/usr/share/haproxy/*"},
	"openssl":  {"/usr/lib/ssl/openssl.cnf", "/etc/ssl/openssl.cnf"},
}

// needTool finds a program of this machine, or says which Debian package has it.
func needTool(name, pkg string) (string, error) {
	path, err := lookPath(name)
	if err != nil {
		return "", fmt.Errorf("%s is not installed: apt-get install %s", name, pkg)
	}
	return path, nil
}

// lookPath also looks where only root's PATH leads: nginx, nft and ip live there.
func lookPath(name string) (string, error) {
	path, err := exec.LookPath(name)
	for _, dir := range []string{"/usr/sbin", "/sbin"} {
		if err != nil && !strings.Contains(name, "/") {
			path, err = exec.LookPath(filepath.Join(dir, name))
		}
	}
	return path, err
}

// programFiles returns what a dynamically linked program needs beside itself: loader, libraries, extras.
func programFiles(path string) ([]string, error) {
	libraries, err := sharedLibraries(path)
	if err != nil {
		return nil, err
	}
	files := libraries
	for _, pattern := range programExtras[filepath.Base(path)] {
		found, _ := filepath.Glob(pattern)
		for _, extra := range found {
			if info, err := os.Stat(extra); err == nil && info.Mode().IsRegular() {
				files = append(files, extra)
			}
		}
	}
	return files, nil
}

func sharedLibraries(path string) ([]string, error) {
	f, err := elf.Open(path)
	if err != nil {
		var format *elf.FormatError
		if errors.As(err, &format) {
			return nil, nil // a script
		}
		return nil, err
	}
	defer f.Close()
	dynamic := false
	for _, segment := range f.Progs {
		dynamic = dynamic || segment.Type == elf.PT_INTERP
	}
	if !dynamic {
		return nil, nil
	}
	if _, err := needTool("ldd", "libc-bin"); err != nil {
		return nil, err
	}
	out, err := exec.Command("ldd", path).CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("ldd %s: %w: %s", path, err, out)
	}
	libraries, err := parseLdd(string(out))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return libraries, nil
}

var lddLine = regexp.MustCompile(`^\s*(?:\S+ => )?(/\S+) \(0x[0-9a-f]+\)$`)

func parseLdd(out string) ([]string, error) {
	var libraries []string
	for _, line := range strings.Split(out, "\n") {
		if strings.HasSuffix(line, "=> not found") {
			return nil, fmt.Errorf("shared library%s", strings.ReplaceAll(line, "\t", " "))
		}
		if match := lddLine.FindStringSubmatch(line); match != nil {
			libraries = append(libraries, match[1])
		}
	}
	return libraries, nil
}

// elfMachines are the ELF machines of the architectures, under Debian's names, which are Go's too.
var elfMachines = map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}

// checkArch refuses a program that could not run in the guest, with the way to build one that can.
func checkArch(path, arch string) error {
	f, err := elf.Open(path)
	if err != nil {
		var format *elf.FormatError
		if errors.As(err, &format) {
			return nil // a script: the guest has sh
		}
		return err
	}
	defer f.Close()
	if f.Machine != elfMachines[arch] {
		return fmt.Errorf("%s is for %v, the machine is %s: build with CGO_ENABLED=0 GOARCH=%s", path, f.Machine, arch, arch)
	}
	if arch != runtime.GOARCH {
		for _, segment := range f.Progs {
			if segment.Type == elf.PT_INTERP {
				return fmt.Errorf("%s is dynamically linked and its libraries are not here: build with CGO_ENABLED=0", path)
			}
		}
	}
	return nil
}
