// The demo behind make run: real clients and a real web server in two network namespaces, and what the
// collector says of them, for a human to read. Without the right to load BPF programs it replays the
// recording of such a run.
//
// It leaves nothing behind, however it ends.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

func main() { os.Exit(run()) }

func run() int {
	flags, err := parseFlags()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	d := &demo{
		flags: flags,
		view:  newView(&terminal{to: os.Stdout, colour: takesColour(os.Stdout)}),
	}
	ctx, patience := d.untilSignal()
	switch err := d.show(ctx, patience); {
	case errors.Is(err, context.Canceled):
		d.lines("", "Ended before there was anything to see.")
	case err != nil:
		fmt.Fprintln(os.Stderr, "demo:", err)
		return 1
	}
	return 0
}

type options struct {
	duration time.Duration // 0: until Ctrl-C
	replay   bool
	record   bool
}

func parseFlags() (o options, err error) {
	if text := os.Getenv("DURATION"); text != "" {
		if o.duration, err = time.ParseDuration(text); err != nil || o.duration < 0 {
			return o, fmt.Errorf("DURATION=%s: use a time such as 20s or 5m", text)
		}
	}
	flag.DurationVar(&o.duration, "duration", o.duration, "how long to run traffic, such as 20s; 0: until Ctrl-C")
	flag.BoolVar(&o.replay, "replay", false, "replay the recording even where programs can be loaded")
	flag.BoolVar(&o.record, "record", false, "make the recording that is replayed, "+recordingDir)
	flag.Parse()
	if flag.NArg() > 0 {
		return o, fmt.Errorf("%s: there are flags only, see -help", flag.Arg(0))
	}
	return o, nil
}

// demo is one run.
type demo struct {
	*view
	flags options
	undo  cleanup
	dir   string // for all files, removed at the end
}

// show shows a live run if that is possible, else the recording.
func (d *demo) show(ctx, patience context.Context) (err error) {
	defer func() { err = errors.Join(append(d.undo.run(), err)...) }()
	if err := built(); err != nil {
		return err
	}
	why := lacksPrivilege()
	if d.flags.replay {
		why = "-replay asks for it"
	}
	if why == "" {
		err := d.live(ctx, patience)
		if !errors.Is(err, errRefused) {
			return err
		}
		if left := d.undo.run(); len(left) > 0 {
			return errors.Join(append(left, err)...)
		}
		why = err.Error()
	}
	return d.replay(ctx, why)
}

// makeDir makes the folder of all files of the run.
func (d *demo) makeDir() (err error) {
	if d.dir, err = os.MkdirTemp("", "ebpfnet-demo-"); err != nil {
		return err
	}
	d.undo.add(d.dir, func() error { return os.RemoveAll(d.dir) })
	return nil
}

// untilSignal gives a context that ends with the first signal or when nobody reads any more, and one that
// ends with the second. Neither skips the clean-up: the second only stops waiting for what is under way.
func (d *demo) untilSignal() (ctx, patience context.Context) {
	ctx, stop := context.WithCancel(context.Background())
	patience, hurry := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 8)
	// SIGPIPE is caught so that a write to a closed pipe fails instead of ending the demo.
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
	d.failed = stop
	go func() {
		for got := range signals {
			switch {
			case got == syscall.SIGPIPE:
			case ctx.Err() == nil:
				d.lines("", "Ending: waiting for what is under way …")
			default:
				hurry()
			}
			stop()
		}
	}()
	go d.followGo(stop)
	return ctx, patience
}

// followGo ends the demo with go run, which passes no signal on.
func (d *demo) followGo(stop func()) {
	parent := os.Getppid()
	name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", parent))
	if strings.TrimSpace(string(name)) != "go" {
		return
	}
	for os.Getppid() == parent {
		time.Sleep(200 * time.Millisecond)
	}
	stop()
}

// takesColour: see no-color.org.
func takesColour(file *os.File) bool {
	_, err := unix.IoctlGetTermios(int(file.Fd()), unix.TCGETS)
	return err == nil && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}

// lacksPrivilege says what this process may not do of what a live run needs: namespaces, and the programs.
func lacksPrivilege() string {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return ""
	}
	var effective uint64
	for line := range strings.Lines(string(status)) {
		if text, found := strings.CutPrefix(line, "CapEff:"); found {
			fmt.Sscanf(strings.TrimSpace(text), "%x", &effective)
		}
	}
	var lacks []string
	for _, capability := range []struct {
		bit  uint
		name string
	}{{unix.CAP_SYS_ADMIN, "CAP_SYS_ADMIN"}, {unix.CAP_NET_ADMIN, "CAP_NET_ADMIN"}, {unix.CAP_BPF, "CAP_BPF"}, {unix.CAP_PERFMON, "CAP_PERFMON"}} {
		if effective&(1<<capability.bit) == 0 {
			lacks = append(lacks, capability.name)
		}
	}
	if len(lacks) == 0 {
		return ""
	}
	return "this process has not " + strings.Join(lacks, ", ") + "; as root: sudo env PATH=\"$PATH\" make run"
}
