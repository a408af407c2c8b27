// Command vm runs a compiled Go test as root on a Debian kernel of one's choice, in a virtual machine that
// needs neither root nor KVM:
//
//	go test -c -o foo.test ./internal/foo
//	go run ./lab/vm -kernel 5.10 -program ip -- foo.test -test.v
//
// One boot may run several, with another -- before each. Output and exit status are the test's own; a kernel that
// complains fails the run as well. See lab/README.md.
package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/ebpfnet/ebpfnetreceiver/lab/internal/guest"
)

type filePair struct{ host, guest string }

type options struct {
	kernel, arch, cache, mirror, accel string
	memory, cpus                       int
	timeout                            time.Duration
	label, verbose, fetch              bool
	programs, env                      []string
	files, collect                     []filePair
	foreign                            string     // where programs of another architecture are
	tests                              [][]string // binary and arguments of each
}

// statusLab is the exit status when the lab, not the test, failed; go test itself exits with 1 or 2.
const statusLab = 125

func main() {
	opts, err := parseFlags(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		os.Exit(0)
	}
	if err != nil {
		progress("%v", err)
		os.Exit(statusLab)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	code, err := run(ctx, opts)
	stop()
	if err != nil {
		progress("%v", err)
	}
	os.Exit(code)
}

func parseFlags(args []string) (options, error) {
	opts := options{}
	f := flag.NewFlagSet("vm", flag.ContinueOnError)
	var names []string
	for _, line := range kernelLines {
		names = append(names, line.name)
	}
	f.StringVar(&opts.kernel, "kernel", "6.12", "kernel line: "+strings.Join(names, ", "))
	f.StringVar(&opts.arch, "arch", runtime.GOARCH, "architecture: amd64, arm64")
	f.StringVar(&opts.cache, "cache", "", "directory of the kernels (default: ebpfnetreceiver/kernels in the user's cache)")
	f.StringVar(&opts.mirror, "mirror", "", "URI of a Debian mirror (default: that of this machine's apt)")
	f.StringVar(&opts.accel, "accel", "auto", "auto, kvm or tcg")
	f.IntVar(&opts.memory, "mem", 1536, "guest memory in MiB")
	f.IntVar(&opts.cpus, "cpus", 2, "guest processors")
	f.DurationVar(&opts.timeout, "timeout", 5*time.Minute, "for boot and test together; fetching a kernel comes on top")
	f.BoolVar(&opts.label, "label", true, "append /kernel=VERSION to the names of tests and benchmarks")
	f.BoolVar(&opts.fetch, "fetch", false, "only see to it that the kernel and the programs are here; nothing is run")
	f.BoolVar(&opts.verbose, "v", false, "say more on standard error, and always print the end of the kernel's log")
	list := func(to *[]string) func(string) error {
		return func(s string) error { *to = append(*to, s); return nil }
	}
	f.Func("program", "program of this machine to take along with its libraries: name or path (repeatable)", list(&opts.programs))
	f.Func("env", "KEY=VALUE for the test (repeatable)", list(&opts.env))
	f.Func("file", "HOST:GUEST, file or directory to take along (repeatable)", func(s string) error {
		host, inside, ok := strings.Cut(s, ":")
		opts.files = append(opts.files, filePair{host, inside})
		return pairError(ok)
	})
	f.Func("collect", "GUEST:HOST, file to bring back after the test (repeatable)", func(s string) error {
		inside, host, ok := strings.Cut(s, ":")
		opts.collect = append(opts.collect, filePair{host, inside})
		return pairError(ok)
	})
	if err := f.Parse(args); err != nil {
		return opts, err
	}
	var err error
	if opts.tests, err = splitTests(f.Args()); err != nil {
		return opts, err
	}
	if len(opts.tests) == 0 && !opts.fetch {
		return opts, errors.New("nothing to run: … -kernel 6.12 -- foo.test -test.v")
	}
	if _, known := machines[opts.arch]; !known {
		return opts, fmt.Errorf("-arch %q: amd64 or arm64", opts.arch)
	}
	if opts.cache == "" {
		base, err := os.UserCacheDir()
		if err != nil {
			return opts, fmt.Errorf("no place for the kernels: %w: name one with -cache", err)
		}
		opts.cache = filepath.Join(base, "ebpfnetreceiver", "kernels")
	}
	opts.cache, err = filepath.Abs(opts.cache)
	return opts, err
}

// splitTests takes a.test -x -- b.test -y apart.
func splitTests(args []string) (tests [][]string, err error) {
	names := map[string]bool{}
	for len(args) > 0 {
		test := args
		if end := slices.Index(args, "--"); end >= 0 {
			test, args = args[:end], args[end+1:]
		} else {
			args = nil
		}
		if len(test) == 0 {
			return nil, errors.New("no test between -- and --")
		}
		if names[filepath.Base(test[0])] {
			return nil, fmt.Errorf("two tests are named %s, by which the guest tells them apart", filepath.Base(test[0]))
		}
		names[filepath.Base(test[0])] = true
		tests = append(tests, test)
	}
	return tests, nil
}

func pairError(ok bool) error {
	if !ok {
		return errors.New("want two paths with a colon between them")
	}
	return nil
}

func run(ctx context.Context, opts options) (int, error) {
	line, err := findKernelLine(opts.kernel)
	if err != nil {
		return statusLab, err
	}
	emulator, err := fetchEmulator(ctx, opts.cache, opts.mirror, line.emulatorOf(opts.arch), machines[opts.arch])
	if err != nil {
		return statusLab, err
	}
	tree, lock, err := fetchKernel(ctx, opts.cache, opts.arch, opts.mirror, line)
	if err != nil {
		return statusLab, err
	}
	defer lock.Close()
	if opts.arch != runtime.GOARCH && len(opts.programs) > 0 {
		if opts.foreign, err = fetchPrograms(ctx, opts.cache, opts.arch, opts.mirror); err != nil {
			return statusLab, err
		}
	}
	if opts.fetch {
		return 0, nil
	}
	for _, test := range opts.tests {
		if err := checkArch(test[0], opts.arch); err != nil {
			return statusLab, err
		}
	}
	dir, err := os.MkdirTemp("", "lab-vm-")
	if err != nil {
		return statusLab, err
	}
	defer os.RemoveAll(dir)
	config := guest.Config{
		Env:     guestEnv(opts),
		Timeout: opts.timeout,
		Token:   rand.Text(),
	}
	for _, test := range opts.tests {
		config.Tests = append(config.Tests, append([]string{"/test/" + filepath.Base(test[0])}, test[1:]...))
	}
	for _, pair := range opts.collect {
		config.Collect = append(config.Collect, pair.guest)
	}
	initrd := filepath.Join(dir, "initramfs")
	err = buildInitramfs(ctx, initrd, opts, tree, &config)
	lock.Close()
	if err != nil {
		return statusLab, err
	}

	var res result
	for _, accel := range accelerators(opts.cache, opts) {
		progress("booting %s %s, %s", opts.arch, tree.release, accel)
		res = attempt(ctx, emulator, accel, tree.image, initrd, dir, opts, config)
		if res.ready > 0 || ctx.Err() != nil {
			break
		}
		if accel == "kvm" {
			progress("this machine's KVM does not boot %s: emulating from now on", tree.release)
			rememberKVMFailure(opts.cache)
		}
	}
	return verdict(opts, res)
}

// kvmPatience is how long a first try of KVM may take to start the test; a KVM that works needs a second.
const kvmPatience = 15 * time.Second

func attempt(ctx context.Context, e emulator, accel, image, initrd, dir string, opts options, config guest.Config) result {
	ctx, cancel := context.WithTimeoutCause(ctx, opts.timeout, fmt.Errorf("still running after %v", opts.timeout))
	defer cancel()
	ctx, giveUp := context.WithCancelCause(ctx)
	defer giveUp(nil)
	patience := opts.timeout
	if accel == "kvm" && opts.accel == "auto" {
		patience = kvmPatience
	}
	timer := time.AfterFunc(patience, func() { giveUp(fmt.Errorf("no sign of life after %v", patience)) })
	defer timer.Stop()

	d := demux{out: os.Stdout, token: config.Token, collect: opts.collect}
	d.ready = func(r guest.Record) (label string) {
		timer.Stop()
		fmt.Printf("# lab: kernel=%s release=%s arch=%s accel=%s\n", opts.kernel, r.Release, opts.arch, accel)
		if opts.label {
			label = labelOf(opts, r.Release)
		}
		return label
	}
	return boot(ctx, e, accel, image, initrd, dir, opts, d)
}

var version = regexp.MustCompile(`^\d+\.\d+`)

// labelOf tells kernels apart by their versions, which a line such as "newest" is not, and machines.
func labelOf(opts options, release string) string {
	label := "kernel=" + cmp.Or(version.FindString(release), opts.kernel)
	if opts.arch == "arm64" {
		label += "/arch=" + opts.arch
	}
	return label
}

func guestEnv(opts options) []string {
	return append([]string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "TMPDIR=/tmp",
		"LAB_KERNEL=" + opts.kernel, "LAB_ARCH=" + opts.arch,
	}, opts.env...)
}

// verdict turns the end of a boot into an exit status, and says why where that is not the test's own.
func verdict(opts options, res result) (int, error) {
	faults, notes := inspectConsole(res.console)
	for _, note := range notes {
		progress("console: %s", note)
	}
	if opts.verbose {
		progress("test started after %v", res.ready.Round(10*time.Millisecond))
	}
	if len(faults) == 0 && (res.err == nil || res.code != 0) {
		// A test that failed may well not have left the files that it was to bring. What it hung on, or ran out of, the
		// kernel may know.
		if opts.verbose || res.code != 0 {
			progress("end of the kernel's log:\n%s", lastLines(res.console, 60))
		}
		return res.code, res.err
	}
	err := res.err
	if len(faults) > 0 {
		err = errors.Join(err, fmt.Errorf("the kernel complained: %s", strings.Join(faults, "\n  ")))
	}
	fmt.Printf("FAIL\tkernel=%s\n", opts.kernel)
	return statusLab, fmt.Errorf("%w\nend of the kernel's log:\n%s", err, lastLines(res.console, 80))
}

// progress speaks on standard error: standard output belongs to the test.
func progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "lab: "+format+"\n", args...)
}
