package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/ebpfnet/ebpfnetreceiver/lab/internal/guest"
)

// machine is how QEMU imitates an architecture.
type machine struct {
	program, pkg string
	args         []string
	console      string
}

var machines = map[string]machine{
	"amd64": {"qemu-system-x86_64", "qemu-system-x86", []string{"-M", "pc", "-cpu", "max"}, "ttyS0"},
	// The architected pointer authentication costs more to emulate than all else together.
	"arm64": {"qemu-system-aarch64", "qemu-system-arm", []string{"-M", "virt", "-cpu", "max,pauth-impdef=on"}, "ttyAMA0"},
}

// kernelArgs beside the console:
//   - warnings reach the console, where inspectConsole looks for them; what is milder does not
//   - an oops or a panic ends the machine instead of leaving a hanging test
//   - emulation is slow and shares its processors: patience with stalls
const kernelArgs = "loglevel=5 panic=-1 oops=panic mitigations=off cgroup_no_v1=all " +
	"watchdog_thresh=30 rcupdate.rcu_cpu_stall_timeout=60"

func qemuArgs(m machine, accel, image, initrd, console string, opts options) []string {
	cpu, clock := m.args, []string(nil)
	if accel == "kvm" {
		cpu = []string{m.args[0], m.args[1], "-cpu", "host"}
	} else {
		// One thread for all processors: with more, one of them may still run the old translation of an
		// instruction that another has patched, and an int3 that was taken back ends the kernel.
		accel = "tcg,thread=single"
	}
	if line, err := findKernelLine(opts.kernel); err == nil && line.preemptible && accel != "kvm" {
		// The guest's clock counts instructions, one per nanosecond, and jumps when there is nothing to do. By
		// the wall's clock ticks would come a dozen times as often in the course of a BPF program, or all at
		// once after this machine did something else: tasks would be preempted inside of programs, and the
		// kernel then skips these programs for all others on that processor. Not for older kernels: they do
		// not preempt themselves, and their processors wait for each other in ways that take forever so.
		clock = []string{"-icount", "shift=0,sleep=off"}
	}
	return append(slices.Concat(cpu, clock), "-accel", accel,
		"-smp", strconv.Itoa(opts.cpus), "-m", strconv.Itoa(opts.memory),
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-nic", "none",
		"-kernel", image, "-initrd", initrd,
		"-append", "console="+m.console+" "+kernelArgs,
		"-serial", "file:"+console,
		"-device", "virtio-rng-pci", "-device", "virtio-serial-pci",
		// A network device whose driver can be watched. Its cable leads to a hub where nothing else is.
		"-netdev", "hubport,id=hub,hubid=0", "-device", "virtio-net-pci,netdev=hub,romfile=",
		"-chardev", "stdio,id=out,signal=off", "-device", "virtserialport,chardev=out,name=out")
}

// result is how one boot ended.
type result struct {
	code    int
	ready   time.Duration // until the test started; 0 if it did not
	console string
	err     error // why code says nothing about the test
}

// boot runs the machine once. It returns when QEMU has ended: by itself or, once the context is done, killed.
func boot(ctx context.Context, e emulator, accel, image, initrd, dir string, opts options, d demux) result {
	m := machines[opts.arch]
	console := filepath.Join(dir, "console.log")
	cmd := e.command(ctx, qemuArgs(m, accel, image, initrd, console, opts)...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	cmd.WaitDelay = 5 * time.Second
	// Nobody must be left to burn a processor if this process is killed. The signal comes when the thread
	// that started QEMU ends, hence the lock.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	// The guest's port counts as unplugged while QEMU's standard input is at its end: keep it open.
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return result{err: err}
	}
	defer stdin.Close()
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return result{err: err}
	}
	start := time.Now()
	if err := cmd.Start(); err != nil {
		return result{err: fmt.Errorf("start %s: %w", e.program, err)}
	}
	var res result
	header := d.ready
	d.ready = func(r guest.Record) (label string) {
		res.ready = time.Since(start)
		return header(r)
	}
	record, err := d.run(stdout)
	_, _ = stdin.Write([]byte{'\n'}) // init waits for it before it powers off
	_, _ = io.Copy(io.Discard, stdout)
	waitErr := cmd.Wait()
	log, _ := os.ReadFile(console)
	res.console = string(log)
	switch {
	case record.Exit != nil:
		res.code = *record.Exit
		if record.Error != "" {
			err = errors.Join(fmt.Errorf("start the test: %s", record.Error), err)
		}
		res.err = err
		if err == nil && res.code == 0 {
			res.err = d.checkRan(len(opts.tests))
		}
	case ctx.Err() != nil:
		res.err = fmt.Errorf("killed: %w", context.Cause(ctx))
	case res.ready == 0:
		res.err = fmt.Errorf("the machine ended before the test started (%v) %s", waitErr, stderr.String())
	default:
		res.err = fmt.Errorf("the machine ended before the test did: %w %s", err, stderr.String())
	}
	return res
}

// accelerators lists what to try, best first: KVM if it may work, then emulation. Not every /dev/kvm can
// run these kernels; where it has failed once since this machine was booted it is not tried again.
func accelerators(cache string, opts options) []string {
	if opts.accel != "auto" {
		return []string{opts.accel}
	}
	if opts.arch == runtime.GOARCH && !kvmFailed(cache) {
		if f, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0); err == nil {
			f.Close()
			return []string{"kvm", "tcg"}
		}
	}
	return []string{"tcg"}
}

func bootID() string {
	id, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return string(id)
}

func kvmFailed(cache string) bool {
	id, err := os.ReadFile(filepath.Join(cache, "kvm-failed"))
	return err == nil && string(id) == bootID()
}

func rememberKVMFailure(cache string) {
	_ = os.WriteFile(filepath.Join(cache, "kvm-failed"), []byte(bootID()), 0o644)
}
