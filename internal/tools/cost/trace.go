//go:build linux

package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

const collectorConfig = `
receivers:
  ebpf_net:
    scope: {network_namespaces: [%s]}
    %s
exporters:
  debug: {verbosity: basic, sampling_initial: 1, sampling_thereafter: 1000000}
service:
  telemetry: {metrics: {level: none}}
  pipelines:
%s`

// trace switches on what the subject has on. The collector hands its data to an exporter that drops it.
func (b *bench) trace(s *subject) (stop func(), err error) {
	if s.signals == nil {
		return emptyPrograms(s.hooks)
	}
	var pipelines strings.Builder
	for _, signal := range s.signals {
		fmt.Fprintf(&pipelines, "    %s: {receivers: [ebpf_net], exporters: [debug]}\n", signal)
	}
	config := filepath.Join(b.dir, "collector.yaml")
	scope := "/var/run/netns/" + client + ", /var/run/netns/" + server
	if s.idle {
		scope = "/var/run/netns/" + idle
	}
	text := fmt.Appendf(nil, collectorConfig, scope, s.config, pipelines.String())
	if err := os.WriteFile(config, text, 0o600); err != nil {
		return nil, err
	}
	out, err := os.Create(filepath.Join(b.dir, "collector.log"))
	if err != nil {
		return nil, err
	}
	defer out.Close()
	collector, err := b.start("collector", out, s.collector, "--config", config)
	if err != nil {
		return nil, err
	}
	stop = func() {
		_ = collector.Process.Signal(os.Interrupt)
		_ = collector.Wait()
	}
	for range 200 {
		time.Sleep(50 * time.Millisecond)
		if said, _ := os.ReadFile(out.Name()); bytes.Contains(said, []byte("Everything is ready")) {
			return stop, nil
		}
	}
	stop()
	said, _ := os.ReadFile(out.Name())
	return nil, fmt.Errorf("the collector does not start: %s", said)
}

// emptyPrograms attaches programs that do nothing.
func emptyPrograms(tracepoints []string) (stop func(), err error) {
	var closers []io.Closer
	stop = func() {
		for _, closer := range closers {
			closer.Close()
		}
	}
	for _, tracepoint := range tracepoints {
		program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
			Type: ebpf.Tracing, AttachType: ebpf.AttachTraceRawTp, AttachTo: tracepoint, License: "GPL",
			Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
		})
		if errors.Is(err, ebpf.ErrNotSupported) {
			continue // this kernel has no such tracepoint
		}
		if err != nil {
			stop()
			return nil, err
		}
		attached, err := link.AttachTracing(link.TracingOptions{Program: program})
		if err != nil {
			stop()
			return nil, err
		}
		closers = append(closers, attached, program)
	}
	return stop, nil
}

// programs are the numbers of all that are loaded.
func programs() map[ebpf.ProgramID]bool {
	found := map[ebpf.ProgramID]bool{}
	for id := ebpf.ProgramID(0); ; {
		next, err := ebpf.ProgramGetNextID(id)
		if err != nil {
			return found
		}
		found[next], id = true, next
	}
}

// added are those that were loaded since.
func added(before map[ebpf.ProgramID]bool) []ebpf.ProgramID {
	var own []ebpf.ProgramID
	for id := range programs() {
		if !before[id] {
			own = append(own, id)
		}
	}
	return own
}

// countRuns has the kernel count runs and their time, which costs something itself.
func countRuns() (end func(), err error) {
	statistics, err := ebpf.EnableStats(uint32(unix.BPF_STATS_RUN_TIME))
	if err != nil {
		return nil, err
	}
	return func() { statistics.Close() }, nil
}

func printRuns(mode string, own []ebpf.ProgramID, requests float64) {
	type runs struct {
		name  string
		count uint64
		time  time.Duration
	}
	var all []runs
	var sum time.Duration
	for _, id := range own {
		program, err := ebpf.NewProgramFromID(id)
		if err != nil {
			continue
		}
		stats, err := program.Stats()
		info, infoErr := program.Info()
		program.Close()
		if err != nil || infoErr != nil || stats.RunCount == 0 {
			continue
		}
		all = append(all, runs{info.Name, stats.RunCount, stats.Runtime})
		sum += stats.Runtime
	}
	slices.SortFunc(all, func(a, b runs) int { return cmp.Compare(b.time, a.time) })
	fmt.Printf("%s\n%-20s %12s %8s %14s\n", mode, "program", "runs/request", "ns/run", "ns/request")
	for _, r := range all {
		fmt.Printf("%-20s %12.3f %8.0f %14.0f\n", r.name, float64(r.count)/requests,
			float64(r.time.Nanoseconds())/float64(r.count), float64(r.time.Nanoseconds())/requests)
	}
	fmt.Printf("%-20s %12s %8s %14.0f\n", "all", "", "", float64(sum.Nanoseconds())/requests)
}
