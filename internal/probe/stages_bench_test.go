//go:build linux && (amd64 || arm64)

package probe

import (
	"fmt"
	"io"
	"net"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// BenchmarkStages is what the stages cost a pair that sends a byte to and fro over loopback as fast as it can, both ends
// traced, in CPU time of the pair, against programs that do nothing at the same tracepoints: as they are by default, and
// where each packet is timed. All take turns; of each the median counts: programs lie elsewhere each time that they are
// attached, so that what they cost differs from round to round, and 50 rounds are few enough (-benchtime 50x).
// Beside it the run time of each program, by the kernel's own statistics, which cost something themselves.
// GOMAXPROCS=1 and taskset keep it on one CPU.
func BenchmarkStages(b *testing.B) {
	if err := checkPrivilege(); err != nil {
		b.Skipf("needs the privilege to load programs: %v", err)
	}
	client, server, namespace := loopbackPair(b)
	// Long enough for the kernel to have done with what was attached and freed: it patches its code for the stamps of
	// arrival after a while, and frees maps on this CPU. Without the pause that seemed to be a cost of the stages.
	const exchanges, settle = 5000, 100 * time.Millisecond
	modes := []func() (stop func() error){
		func() func() error { return func() error { return nil } },
		func() func() error { return emptyPrograms(b) },
		func() func() error { return openStages(b, namespace, 50000).Close },
		func() func() error { return openStages(b, namespace, 0).Close },
	}
	costs := make([][]time.Duration, len(modes))
	for b.Loop() {
		for i, trace := range modes {
			stop := trace()
			runtime.GC() // of what was opened and closed
			time.Sleep(settle)
			exchange(b, client, server, exchanges/10)
			before := cpuTime(b)
			exchange(b, client, server, exchanges)
			costs[i] = append(costs[i], cpuTime(b)-before)
			require.NoError(b, stop())
		}
	}
	per := func(i int) float64 {
		slices.Sort(costs[i])
		return float64(costs[i][len(costs[i])/2].Nanoseconds()) / exchanges
	}
	b.ReportMetric(0, "ns/op") // of opening and closing, mostly
	b.ReportMetric(per(0), "untraced-ns/exchange")
	b.ReportMetric(per(1)-per(0), "empty-ns/exchange")
	for i, name := range []string{"", "-all"} {
		b.ReportMetric(per(2+i)-per(0), "stages"+name+"-ns/exchange")
		b.ReportMetric((per(2+i)-per(0))/(per(1)-per(0)), "stages"+name+"/empty")
	}
	b.Log(programTimes(b, client, server, namespace))
}

func openStages(b *testing.B, namespace string, rate float64) *source {
	b.Helper()
	opened, err := Open(Config{
		Stages: true, StageRate: rate,
		Scope: Scope{NetworkNamespaces: []string{namespace}}, AvoidHooks: []string{sharedCapability},
	}, zap.NewNop())
	require.NoError(b, err)
	s := opened.(*source)
	for _, served := range s.loader.served {
		if !strings.HasPrefix(served.capability, "stages.") {
			served.detach() // what else comes with them
		}
	}
	return s
}

func programTimes(b *testing.B, client, server net.Conn, namespace string) string {
	b.Helper()
	statistics, err := ebpf.EnableStats(uint32(unix.BPF_STATS_RUN_TIME))
	require.NoError(b, err)
	defer statistics.Close()
	s := openStages(b, namespace, 0)
	defer s.Close()
	exchange(b, client, server, 5000)
	var table strings.Builder
	for _, served := range s.loader.served {
		for name, program := range served.programs {
			stats, err := program.Stats()
			require.NoError(b, err)
			if stats.RunCount > 0 {
				fmt.Fprintf(&table, "\n%-22s %6d runs, %4d ns each", name, stats.RunCount, stats.Runtime.Nanoseconds()/int64(stats.RunCount))
			}
		}
	}
	return table.String()
}

// loopbackPair is a connection in a network namespace of its own, which is given by its inode number.
func loopbackPair(b *testing.B) (client, server net.Conn, namespace string) {
	b.Helper()
	made := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		made <- func() error {
			if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
				return err
			}
			var stat unix.Stat_t
			if err := unix.Stat("/proc/thread-self/ns/net", &stat); err != nil {
				return err
			}
			namespace = fmt.Sprint(stat.Ino)
			if err := raiseLoopback(); err != nil {
				return err
			}
			listener, err := net.Listen("tcp4", "127.0.0.1:0")
			if err != nil {
				return err
			}
			defer listener.Close()
			if client, err = net.Dial("tcp4", listener.Addr().String()); err != nil {
				return err
			}
			server, err = listener.Accept()
			return err
		}()
	}()
	if err := <-made; err != nil {
		b.Skipf("cannot make a network namespace: %v", err)
	}
	b.Cleanup(func() { client.Close(); server.Close() })
	return client, server, namespace
}

func raiseLoopback() error {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(socket)
	request, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_UP)
	return unix.IoctlIfreq(socket, unix.SIOCSIFFLAGS, request)
}

func exchange(b *testing.B, client, server net.Conn, times int) {
	b.Helper()
	buffer := make([]byte, 1)
	for range times {
		for _, way := range [][2]io.ReadWriter{{client, server}, {server, client}} {
			_, err := way[0].Write(buffer)
			require.NoError(b, err)
			_, err = way[1].Read(buffer)
			require.NoError(b, err)
		}
	}
}

// cpuTime is that of this process, which is both ends.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var used unix.Rusage
	require.NoError(b, unix.Getrusage(unix.RUSAGE_SELF, &used))
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// emptyPrograms attaches programs that do nothing to the tracepoints of the stages.
func emptyPrograms(b *testing.B) (stop func() error) {
	b.Helper()
	types, err := loadKernelTypes()
	require.NoError(b, err)
	var closers []io.Closer
	for _, tracepoint := range []string{
		"netif_receive_skb", "tcp_probe", "skb_copy_datagram_iovec", "net_dev_queue", "net_dev_start_xmit",
		"net_dev_xmit", "neigh_update", "neigh_update_done", "tcp_sendmsg_locked",
	} {
		if !types.hasTracepoint(tracepoint) {
			continue
		}
		program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
			Type: ebpf.Tracing, AttachType: ebpf.AttachTraceRawTp, AttachTo: tracepoint, License: "GPL",
			Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
		})
		require.NoError(b, err)
		attached, err := link.AttachTracing(link.TracingOptions{Program: program})
		require.NoError(b, err)
		closers = append(closers, attached, program)
	}
	return func() error {
		for _, closer := range closers {
			closer.Close()
		}
		return nil
	}
}
