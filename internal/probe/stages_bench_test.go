//go:build linux && (amd64 || arm64)

package probe

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// BenchmarkStages is what stages and waits cost the CPUs per request of wrk to nginx on a kept connection over loopback,
// both ends traced, against programs that do nothing at the same tracepoints: with the default rate, with a fifth of it,
// and where each packet is timed; and, for what a rate can spare at best, programs that only look whether their CPU is
// beyond it, with the stamps of arrival that the stages need. The load goes on all the time; the programs and the stamps
// are switched on and off around it, for what else a machine does changes by the millisecond:
//
//	go test -run xxx -bench Stages -benchtime 1000x ./internal/probe
//
// A round measures each for 40 ms. What counts is by how much one differs from the untraced of its round: of rounds in which
// none took twice what is usual, as a machine that is taken away for a while adds any amount, the middle four fifths.
func BenchmarkStages(b *testing.B) {
	if err := checkPrivilege(); err != nil {
		b.Skipf("needs the privilege to load programs: %v", err)
	}
	const settle, measure = 10 * time.Millisecond, 40 * time.Millisecond
	load := startLoad(b)
	modes := []*stageMode{
		{name: "untraced", attach: func() (stop func()) { return func() {} }},
		{name: "empty", attach: programsAtHooks(b, asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()})},
		{name: "look", attach: stamped(b, programsAtHooks(b, lookAtRate(b)))},
		{name: "stages", attach: stagePrograms(b, load, 5000)},
		{name: "stages-at-1000", attach: stagePrograms(b, load, 1000)},
		{name: "stages-of-all", attach: stagePrograms(b, load, 0)},
	}
	for b.Loop() {
		for _, i := range rand.Perm(len(modes)) {
			stop := modes[i].attach()
			time.Sleep(settle)
			cpu, requests := load.cpuTime(b), load.requests(b)
			for range 100 { // once, unless the machine is kept from running
				if time.Sleep(measure); load.requests(b) != requests {
					break
				}
			}
			cpu, requests = load.cpuTime(b)-cpu, load.requests(b)-requests
			stop()
			require.Positive(b, requests, "wrk and nginx have stopped")
			modes[i].costs = append(modes[i].costs, float64(cpu)/float64(requests))
		}
	}
	untraced := slices.Sorted(slices.Values(modes[0].costs))
	usual := untraced[len(untraced)/5]
	var calm []int
	for round := range untraced {
		if !slices.ContainsFunc(modes, func(m *stageMode) bool { return m.costs[round] > 2*usual }) {
			calm = append(calm, round)
		}
	}
	require.NotEmpty(b, calm, "no round in which the machine was not taken away")
	b.ReportMetric(0, "ns/op") // of a round of all
	b.ReportMetric(float64(len(calm)), "rounds")
	b.ReportMetric(usual, "untraced-ns/request")
	empty := modes[1].adds(modes[0], calm)
	for _, mode := range modes[1:] {
		adds := mode.adds(modes[0], calm)
		b.ReportMetric(adds, mode.name+"-ns/request")
		b.ReportMetric(adds/empty, mode.name+"/empty")
	}
}

type stageMode struct {
	name   string
	attach func() (stop func())
	costs  []float64 // of each round
}

// adds is what a request costs more than in another mode.
func (m *stageMode) adds(other *stageMode, rounds []int) (mean float64) {
	var differences []float64
	for _, round := range rounds {
		differences = append(differences, m.costs[round]-other.costs[round])
	}
	slices.Sort(differences)
	middle := differences[len(differences)/10 : len(differences)-len(differences)/10]
	for _, difference := range middle {
		mean += difference / float64(len(middle))
	}
	return mean
}

// stageHooks are the tracepoints of stages and waits that a request passes, where there are no trampolines.
var stageHooks = []string{
	"netif_receive_skb", "tcp_probe", "skb_copy_datagram_iovec", "tcp_rcv_space_adjust",
	"tcp_sendmsg_locked", "net_dev_queue", "net_dev_start_xmit", "net_dev_xmit", "sock_send_length",
}

// lookAtRate asks what its CPU has left, and until when, as the programs of the stages do first, and returns.
func lookAtRate(b *testing.B) asm.Instructions {
	b.Helper()
	cpus, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.PerCPUArray, KeySize: 4, ValueSize: 16, MaxEntries: 1})
	require.NoError(b, err)
	b.Cleanup(func() { cpus.Close() })
	return asm.Instructions{
		asm.StoreImm(asm.RFP, -4, 0, asm.Word),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, -4),
		asm.LoadMapPtr(asm.R1, cpus.FD()),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, "return"),
		asm.LoadMem(asm.R6, asm.R0, 0, asm.DWord), // the allowance
		asm.JNE.Imm(asm.R6, 0, "return"),
		asm.LoadMem(asm.R6, asm.R0, 8, asm.DWord), // when the window began
		asm.FnJiffies64.Call(),
		asm.JGE.Reg(asm.R0, asm.R6, "return"),
		asm.Mov.Imm(asm.R0, 0).WithSymbol("return"),
		asm.Return(),
	}
}

// stamped has arrivals stamped while programs are attached.
func stamped(b *testing.B, attach func() (stop func())) func() (stop func()) {
	b.Helper()
	return func() func() {
		detach := attach()
		socket, err := stampArrivals()
		require.NoError(b, err)
		return func() {
			detach()
			unix.Close(socket)
		}
	}
}

func programsAtHooks(b *testing.B, instructions asm.Instructions) (attach func() (stop func())) {
	b.Helper()
	types, err := loadKernelTypes()
	require.NoError(b, err)
	var programs []*ebpf.Program
	for _, tracepoint := range stageHooks {
		if !types.hasTracepoint(tracepoint) {
			continue
		}
		program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
			Type: ebpf.Tracing, AttachType: ebpf.AttachTraceRawTp, AttachTo: tracepoint, License: "GPL",
			Instructions: instructions,
		})
		require.NoError(b, err)
		b.Cleanup(func() { program.Close() })
		programs = append(programs, program)
	}
	return func() func() {
		var links []io.Closer
		for _, program := range programs {
			attached, err := link.AttachTracing(link.TracingOptions{Program: program})
			require.NoError(b, err)
			links = append(links, attached)
		}
		return func() {
			for _, attached := range links {
				attached.Close()
			}
		}
	}
}

func stagePrograms(b *testing.B, load *load, rate float64) (attach func() (stop func())) {
	b.Helper()
	const slow = 100 * time.Millisecond
	opened, err := Open(Config{
		Stages: true, StageRate: rate, Slow: Slow{Read: slow, Write: slow, Stage: slow, ZeroWindow: slow, PerSecond: 50},
		Scope: Scope{NetworkNamespaces: []string{load.namespace}}, AvoidHooks: []string{"fentry", "fexit", "kprobe"},
	}, zap.NewNop())
	require.NoError(b, err)
	b.Cleanup(func() { opened.Close() })
	s := opened.(*source)
	for _, status := range s.loader.statuses {
		if strings.HasPrefix(status.Capability, "waits.") || status.Capability == "stages.receive" {
			require.NotEmpty(b, status.Hook, "%+v", status)
		}
	}
	s.detach()
	s.stages.close()
	return stamped(b, func() func() {
		for _, served := range s.loader.served {
			require.NoError(b, served.attach())
		}
		return s.detach
	})
}

// load is nginx and wrk in a network namespace of their own, each on a CPU of its own if there are two.
type load struct {
	namespace string // a path
	processes []int
}

const loadConfig = `
daemon off;
master_process off;
pid nginx.pid;
events {}
http {
	access_log off;
	keepalive_requests 1000000000;
	server {
		listen 127.0.0.1:8080;
		location / { return 200 "hello\n"; }
	}
}
`

func startLoad(b *testing.B) *load {
	b.Helper()
	for _, program := range []string{"nginx", "wrk"} {
		if _, err := exec.LookPath(program); err != nil {
			b.Skipf("needs the program %s, which make deps installs: %v", program, err)
		}
	}
	dir := b.TempDir()
	require.NoError(b, os.WriteFile(filepath.Join(dir, "nginx.conf"), []byte(loadConfig), 0o600))
	server := exec.Command("nginx", "-p", dir, "-c", "nginx.conf", "-e", "error.log")
	client := exec.Command("wrk", "-t1", "-c8", "-d1h", "http://127.0.0.1:8080/")
	client.Dir = dir
	// Both end with the thread that has started them.
	for _, process := range []*exec.Cmd{server, client} {
		process.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL}
	}
	started, done := make(chan error), make(chan struct{})
	b.Cleanup(func() {
		close(done)
		for _, process := range []*exec.Cmd{server, client} {
			if process.Process != nil {
				_ = process.Process.Kill() // the thread may be the first one, which does not end
				_ = process.Wait()         // says that it was killed
			}
		}
	})
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		defer func() { <-done }()
		started <- func() error {
			if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
				return os.NewSyscallError("unshare", err)
			}
			if err := raiseLoopback(); err != nil {
				return err
			}
			if err := server.Start(); err != nil {
				return err
			}
			time.Sleep(500 * time.Millisecond) // nginx listens at once
			return client.Start()
		}()
	}()
	err := <-started
	var refused *os.SyscallError
	if errors.As(err, &refused) && refused.Syscall == "unshare" && errors.Is(err, unix.EPERM) {
		b.Skipf("needs CAP_SYS_ADMIN for a network namespace of its own: %v", err)
	}
	require.NoError(b, err)
	l := &load{namespace: fmt.Sprintf("/proc/%d/ns/net", server.Process.Pid)}
	for i, process := range []*exec.Cmd{server, client} {
		l.processes = append(l.processes, process.Process.Pid)
		l.pin(b, process.Process.Pid, i)
	}
	time.Sleep(100 * time.Millisecond)
	return l
}

// pin holds all threads of a process to one of the CPUs that this process may use.
func (l *load) pin(b *testing.B, process, number int) {
	b.Helper()
	var mine, one unix.CPUSet
	require.NoError(b, unix.SchedGetaffinity(0, &mine))
	number %= mine.Count()
	for cpu := 0; ; cpu++ {
		if !mine.IsSet(cpu) {
			continue
		}
		if number == 0 {
			one.Set(cpu)
			break
		}
		number--
	}
	time.Sleep(100 * time.Millisecond) // until it has its threads
	for _, thread := range l.threads(b, process) {
		id, err := strconv.Atoi(filepath.Base(thread))
		require.NoError(b, err)
		require.NoError(b, unix.SchedSetaffinity(id, &one))
	}
}

func (l *load) threads(b *testing.B, process int) []string {
	b.Helper()
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", process))
	require.NoError(b, err)
	require.NotEmpty(b, threads)
	return threads
}

// cpuTime is that of both ends, in nanoseconds.
func (l *load) cpuTime(b *testing.B) (sum uint64) {
	b.Helper()
	for _, process := range l.processes {
		for _, thread := range l.threads(b, process) {
			text, err := os.ReadFile(thread + "/schedstat")
			require.NoError(b, err)
			ran, err := strconv.ParseUint(strings.Fields(string(text))[0], 10, 64)
			require.NoError(b, err)
			sum += ran
		}
	}
	return sum
}

// requests is how many there have been: two segments for each.
func (l *load) requests(b *testing.B) uint64 {
	b.Helper()
	file, err := os.Open(fmt.Sprintf("/proc/%d/net/snmp", l.processes[0]))
	require.NoError(b, err)
	defer file.Close()
	var names []string
	for lines := bufio.NewScanner(file); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if fields[0] != "Tcp:" {
			continue
		}
		if names == nil {
			names = fields
			continue
		}
		segments, err := strconv.ParseUint(fields[slices.Index(names, "OutSegs")], 10, 64)
		require.NoError(b, err)
		return segments / 2
	}
	require.Fail(b, "no counters of TCP")
	return 0
}
