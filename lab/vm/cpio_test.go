package main

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"testing"
)

func TestCPIOProgramReadsOurArchives(t *testing.T) {
	if _, err := exec.LookPath("cpio"); err != nil {
		t.Skip("cpio is not installed")
	}
	var archive bytes.Buffer
	w := newCPIOWriter(&archive)
	w.text("/etc/deep/hosts", "127.0.0.1 localhost\n")
	w.symlink("bin/sh", "busybox")
	w.file("init", 0o755, 3, strings.NewReader("abc"))
	w.text("init", "a second entry of a name is left out")
	w.dir("tmp", 0o1777)
	if err := w.close(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cmd := exec.Command("cpio", "-idm", "--quiet")
	cmd.Dir, cmd.Stdin = dir, &archive
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Fatalf("cpio: %v: %s", err, out)
	}
	for name, want := range map[string]string{"etc/deep/hosts": "127.0.0.1 localhost\n", "init": "abc"} {
		if got, err := os.ReadFile(dir + "/" + name); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if target, err := os.Readlink(dir + "/bin/sh"); err != nil || target != "busybox" {
		t.Errorf("bin/sh: %q, %v", target, err)
	}
	if info, err := os.Stat(dir + "/init"); err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("init: %v, %v", info.Mode(), err)
	}
}

func TestCPIOWriterRefusesAFileThatShrank(t *testing.T) {
	var archive bytes.Buffer
	w := newCPIOWriter(&archive)
	w.file("short", 0o644, 10, strings.NewReader("abc"))
	if err := w.close(); err == nil || !strings.Contains(err.Error(), "short") {
		t.Errorf("want an error that names the file, got %v", err)
	}
}
