package main

import (
	"context"
	"debug/elf"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// emulator is QEMU as a Debian suite has it, whatever this machine has: emulations have faults, and all who run the
// lab should meet the same.
type emulator struct {
	program string
	loader  string // its dynamic linker: its libraries are not this machine's
	root    string // where it is unpacked
}

func fetchEmulator(ctx context.Context, cache, mirrorURI, suite string, m machine) (emulator, error) {
	root, err := fetchPackages(ctx, filepath.Join(cache, "emulator"), suite+"-"+runtime.GOARCH, runtime.GOARCH, mirrorURI, suite,
		[]string{m.pkg})
	if err != nil {
		return emulator{}, err
	}
	e := emulator{program: filepath.Join(root, "usr/bin", m.program), root: root}
	interpreter, err := readInterpreter(e.program)
	if err != nil {
		return e, fmt.Errorf("%w: remove %s to fetch it again", err, root)
	}
	for _, name := range []string{usrMerged(interpreter), interpreter} {
		e.loader = filepath.Join(root, name)
		if _, err = os.Stat(e.loader); err == nil {
			return e, nil
		}
	}
	return e, fmt.Errorf("%w: remove %s to fetch it again", err, root)
}

// command runs the emulator with its own libraries, firmware and modules.
func (e emulator) command(ctx context.Context, args ...string) *exec.Cmd {
	libraries, _ := filepath.Glob(filepath.Join(e.root, "usr/lib/*-linux-gnu"))
	unmerged, _ := filepath.Glob(filepath.Join(e.root, "lib/*-linux-gnu")) // before /lib was /usr/lib
	own := []string{"--library-path", strings.Join(append(libraries, unmerged...), ":"), e.program}
	for _, firmware := range []string{"qemu", "seabios"} {
		own = append(own, "-L", filepath.Join(e.root, "usr/share", firmware))
	}
	cmd := exec.CommandContext(ctx, e.loader, append(own, args...)...)
	modules, _ := filepath.Glob(filepath.Join(e.root, "usr/lib/*-linux-gnu/qemu"))
	cmd.Env = append(os.Environ(), "QEMU_MODULE_DIR="+strings.Join(modules, ":"))
	return cmd
}

// readInterpreter is the dynamic linker that a program names, or empty.
func readInterpreter(path string) (string, error) {
	f, err := elf.Open(path)
	if err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	defer f.Close()
	for _, segment := range f.Progs {
		if segment.Type != elf.PT_INTERP {
			continue
		}
		name, err := io.ReadAll(segment.Open())
		if err != nil {
			return "", fmt.Errorf("%s: %w", path, err)
		}
		return strings.TrimRight(string(name), "\x00"), nil
	}
	return "", nil
}
