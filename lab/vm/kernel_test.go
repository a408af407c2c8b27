package main

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func TestKernelPackagesNewestFirstAndComplete(t *testing.T) {
	names := strings.Fields(`linux-image-6.1-cloud-amd64 linux-image-6.1.0-9-cloud-amd64 linux-image-6.1.0-46-amd64
		linux-image-6.1.0-46-cloud-amd64 linux-image-6.1.0-46-rt-amd64 linux-image-6.1.0-46-cloud-amd64-unsigned
		linux-image-6.1.0-46-cloud-amd64-dbg linux-image-6.1.0-0.deb11.52-amd64 linux-image-6.12.9+deb13-amd64
		linux-image-7.2.13+deb14-cloud-amd64 linux-binary-7.2.13+deb14-cloud-amd64
		linux-modules-7.2.13+deb14-cloud-amd64 linux-base-7.2.13+deb14-cloud-amd64
		linux-modules-7.3.4+deb13-cloud-amd64 linux-image-6.1.0-46-cloud-arm64`)
	want := [][]string{{"linux-image-6.1.0-46-cloud-amd64"}, {"linux-image-6.1.0-46-amd64"}, {"linux-image-6.1.0-9-cloud-amd64"}}
	if got := kernelPackages(names, "6.1.", "amd64"); !reflect.DeepEqual(got, want) {
		t.Errorf("6.1: %q", got)
	}
	newest := []string{"linux-image-7.2.13+deb14-cloud-amd64", "linux-binary-7.2.13+deb14-cloud-amd64",
		"linux-modules-7.2.13+deb14-cloud-amd64", "linux-base-7.2.13+deb14-cloud-amd64"}
	if got := kernelPackages(names, "", "amd64"); !slices.Equal(got[0], newest) {
		t.Errorf("newest: %q", got[0])
	}
}

func TestTheEmulatorIsThatOfTheKernelAndOfTheProcessor(t *testing.T) {
	for _, wanted := range [][3]string{
		{"5.10", "amd64", "bookworm"}, {"6.12", "amd64", "trixie"}, {"6.12", "arm64", "bookworm"}, {"newest", "amd64", "bookworm"},
	} {
		line, err := findKernelLine(wanted[0])
		if err != nil || line.emulatorOf(wanted[1]) != wanted[2] {
			t.Errorf("%s on %s: %q, %v", wanted[0], wanted[1], line.emulatorOf(wanted[1]), err)
		}
	}
}

func TestMirrorComesFromAptsOwnSources(t *testing.T) {
	const deb822 = `# a comment: with a colon
Types: deb
URIs: http://other.example/node
Suites: nodistro

Types: deb
# also a comment
URIs: http://mirror.example/debian/
Suites: bookworm
  bookworm-updates
Components: main

Types: deb
URIs: http://mirror.example/debian-security
Suites: bookworm-security
`
	const oneLine = "# deb http://no.example/debian bookworm main\n" +
		"deb [arch=amd64 signed-by=/x] http://mirror.example/debian bookworm main\n" +
		"deb http://mirror.example/debian-security bookworm-security main\n"
	for name, content := range map[string]string{"sources.list.d/debian.sources": deb822, "sources.list": oneLine} {
		dir := t.TempDir()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		m, err := findMirror(dir, "")
		if err != nil {
			t.Skip(err)
		}
		if m.archive != "http://mirror.example/debian" || m.security != "http://mirror.example/debian-security" {
			t.Errorf("%s: %+v", name, m)
		}
		sources := m.sources([]string{"trixie", "trixie-backports"})
		if !strings.Contains(sources, "Suites: trixie trixie-backports\n") || !strings.Contains(sources, "Suites: trixie-security\n") {
			t.Errorf("%s: %s", name, sources)
		}
	}
}

func TestLibrariesComeFromLdd(t *testing.T) {
	got, err := parseLdd("\tlinux-vdso.so.1 (0x00007ffc)\n\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f)\n" +
		"\t/lib64/ld-linux-x86-64.so.2 (0x00007f01)\n")
	if err != nil || !slices.Equal(got, []string{"/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"}) {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := parseLdd("\tlibx.so.1 => not found\n"); err == nil || !strings.Contains(err.Error(), "libx.so.1") {
		t.Errorf("want an error that names the library, got %v", err)
	}
}
