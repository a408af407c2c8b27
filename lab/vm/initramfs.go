package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/ebpfnet/ebpfnetreceiver/lab/internal/guest"
)

// launchers are programs that start others. Busybox has them all, but Debian's starts its own applets
// even where a real program is in the PATH: "sh -c 'ip netns'" would not find netns.
var launchers = strings.Fields("sh env timeout xargs nsenter unshare setsid chroot nice find")

// accounts let nginx and its like drop their privileges; hosts names what every test talks to.
var accounts = map[string]string{
	"etc/passwd": "root:x:0:0:root:/root:/bin/sh\nwww-data:x:33:33:www-data:/var/www:/bin/false\n" +
		"nobody:x:65534:65534:nobody:/nonexistent:/bin/false\n",
	"etc/group":         "root:x:0:\nwww-data:x:33:\nnogroup:x:65534:\nnobody:x:65534:\n",
	"etc/hosts":         "127.0.0.1 localhost lab\n::1 localhost\n",
	"etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
}

var emptyDirs = []string{"proc", "sys", "dev", "run", "root", "mnt", "var/log/nginx", "var/lib/nginx",
	"var/lib/haproxy", "var/www", "var/cache", "var/tmp"}

// buildInitramfs writes the guest's whole root file system. config.Modules is filled in.
func buildInitramfs(ctx context.Context, file string, opts options, tree kernelTree, config *guest.Config) error {
	init := file + ".init"
	if err := buildInit(ctx, init, opts.arch); err != nil {
		return err
	}
	modules, err := openModuleTree(tree.modules)
	if err != nil {
		return err
	}
	order, missing, err := modules.loadOrder(wantedModules, modules.dependencies)
	if err != nil {
		return err
	}
	if len(missing) > 0 {
		progress("kernel %s has no %s", tree.release, strings.Join(missing, ", "))
	}

	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer f.Close()
	buffered := bufio.NewWriterSize(f, 1<<20)
	b := &rootBuilder{cpio: newCPIOWriter(buffered)}
	// As on Debian, / is usr-merged, so that a program is found under either of its paths.
	for _, dir := range []string{"bin", "sbin", "lib", "lib64"} {
		b.cpio.dir("usr/"+dir, 0o755)
		b.cpio.symlink(dir, "usr/"+dir)
	}
	b.cpio.dir("tmp", 0o1777)
	for _, dir := range emptyDirs {
		b.cpio.dir(dir, 0o755)
	}
	b.cpio.charDevice("dev/console", 0o600, 5, 1)
	b.add("init", init)
	for _, name := range order {
		guestPath := "/modules/" + name + ".ko"
		config.Modules = append(config.Modules, guestPath)
		b.add(guestPath, modules.paths[name])
	}
	// BPF loaders look for the kernel's configuration where a distribution has it.
	if tree.config != "" {
		b.add("/boot/config-"+tree.release, tree.config)
	}
	data, err := json.Marshal(config)
	if err != nil {
		return err
	}
	b.cpio.text(guest.ConfigPath, string(data))

	for _, pair := range opts.files {
		b.addTree(pair.guest, pair.host)
	}
	for name, content := range accounts {
		b.cpio.text(name, content)
	}
	for i, test := range opts.tests {
		b.addProgram(config.Tests[i][0], test[0])
	}
	if opts.arch == runtime.GOARCH {
		for _, name := range launchers {
			if host, err := lookPath(name); err == nil {
				b.addProgram(filepath.Join("/usr/bin", name), host)
			}
		}
	}
	for _, name := range opts.programs {
		if opts.foreign != "" && programPackages[name] != "" {
			files, err := foreignProgram(opts.foreign, name)
			if err != nil {
				return err
			}
			for guestPath, host := range files {
				b.add(guestPath, host)
			}
			continue
		}
		host, err := lookPath(name)
		if err != nil {
			return fmt.Errorf("-program %s: not found on this machine: install its Debian package", name)
		}
		if err := checkArch(host, opts.arch); err != nil {
			return fmt.Errorf("-program %s: %w", name, err)
		}
		b.addProgram(host, host)
	}
	if err := b.addBusybox(ctx, tree.busybox); err != nil {
		return err
	}
	if b.err != nil {
		return b.err
	}
	if err := b.cpio.close(); err != nil {
		return err
	}
	return buffered.Flush()
}

// buildInit compiles lab/init for the guest.
func buildInit(ctx context.Context, out, arch string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", out,
		"github.com/ebpfnet/ebpfnetreceiver/lab/init")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch)
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build lab/init: %w\n%s", err, text)
	}
	return nil
}

// rootBuilder copies files of this machine into the archive. Its first error sticks.
type rootBuilder struct {
	cpio *cpioWriter
	err  error
}

// add copies one file, following links, so that the guest needs no link's target.
func (b *rootBuilder) add(guestPath, hostPath string) {
	if b.err != nil {
		return
	}
	f, err := os.Open(hostPath)
	if err != nil {
		b.err = err
		return
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		b.err = err
		return
	}
	perm := uint32(info.Mode().Perm()) | 0o444
	if guestPath == "init" {
		perm = 0o755
	}
	b.cpio.file(usrMerged(guestPath), perm, info.Size(), f)
}

func (b *rootBuilder) addTree(guestPath, hostPath string) {
	err := filepath.WalkDir(hostPath, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(hostPath, p)
		target := path.Join("/", guestPath, rel)
		if info, err := os.Stat(p); err == nil && info.IsDir() {
			b.cpio.dir(usrMerged(target), 0o755)
		} else {
			b.add(target, p)
		}
		return b.err
	})
	if b.err == nil && err != nil {
		b.err = fmt.Errorf("-file: %w", err)
	}
}

func (b *rootBuilder) addProgram(guestPath, hostPath string) {
	files, err := programFiles(hostPath)
	if err != nil && b.err == nil {
		b.err = err
	}
	b.add(guestPath, hostPath)
	for _, file := range files {
		b.add(file, file)
	}
}

// addBusybox gives the guest a shell and, for each name that is not taken by a real program, busybox's
// version of it.
func (b *rootBuilder) addBusybox(ctx context.Context, busybox string) error {
	b.add("/bin/busybox", busybox)
	for _, applet := range slices.Sorted(slices.Values(busyboxApplets)) {
		taken := false
		for _, dir := range []string{"usr/bin/", "usr/sbin/"} {
			taken = taken || b.cpio.has(dir+applet)
		}
		if !taken {
			b.cpio.symlink("usr/bin/"+applet, "busybox")
		}
	}
	return ctx.Err()
}

// busyboxApplets are named here because a foreign busybox cannot be asked for its own list.
var busyboxApplets = strings.Fields(`sh ash cat cp mv rm ls ln mkdir rmdir mknod chmod chown touch head tail
	grep egrep fgrep sed awk sort uniq wc cut tr tee xargs find env printf echo test [ true false sleep date
	dd df du free kill killall pidof ps top mount umount dmesg hostname id uname sysctl lsmod insmod rmmod
	ip ifconfig route nc ping ping6 wget httpd seq sha256sum md5sum hexdump od strings stat sync
	timeout nproc taskset chroot unshare nsenter vi less more tar gzip gunzip watch which whoami yes
	basename dirname expr readlink realpath mktemp setsid start-stop-daemon traceroute telnet`)

// usrMerged maps /bin/x to usr/bin/x, and likewise for the other directories that are links.
func usrMerged(name string) string {
	name = clean(name)
	if first, _, found := strings.Cut(name, "/"); found {
		switch first {
		case "bin", "sbin", "lib", "lib64":
			return "usr/" + name
		}
	}
	return name
}
