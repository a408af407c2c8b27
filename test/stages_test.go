//go:build linux && (amd64 || arm64)

package kerneltest

import (
	"context"
	"fmt"
	"io"
	"math"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"golang.org/x/sys/unix"

	"github.com/ebpfnet/ebpfnetreceiver/internal/engine"
	"github.com/ebpfnet/ebpfnetreceiver/internal/otlp"
	"github.com/ebpfnet/ebpfnetreceiver/internal/probe"
	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

// observeStages watches the stages of one namespace and nothing else.
func (n *namespace) observeStages() *observer {
	n.t.Helper()
	return observe(n.t, n.stageSettings())
}

func (n *namespace) stageSettings() engine.Config {
	return engine.Config{
		Probe: probe.Config{
			CollectionInterval: 100 * time.Millisecond,
			Scope:              probe.Scope{NetworkNamespaces: []string{n.path}},
			Stages:             true,
		},
		OTLP: otlp.Options{Version: "test"},
	}
}

// times is a distribution as a reader of the metric sees it.
type times struct {
	count   uint64
	sum     time.Duration
	scale   int32
	buckets map[int32]uint64 // by index, without the zero bucket
	zero    uint64
}

// stages are the times of all stages, by direction and name, as "transmit qdisc".
func (o *observer) stages() map[string]times {
	found := map[string]times{}
	o.each("network.stage.duration", func(metric pmetric.Metric, _ pcommon.Map) {
		for _, point := range metric.ExponentialHistogram().DataPoints().All() {
			stage := strings.TrimSpace(text(point.Attributes(), "network.io.direction") + " " +
				text(point.Attributes(), "network.stage.name"))
			of, known := found[stage]
			if !known {
				of = times{scale: point.Scale(), buckets: map[int32]uint64{}}
			}
			of.count += point.Count()
			of.sum += time.Duration(point.Sum() * float64(time.Second))
			of.zero += point.ZeroCount()
			for i, n := range point.Positive().BucketCounts().All() {
				of.buckets[point.Positive().Offset()+int32(i)] += n
			}
			found[stage] = of
		}
	})
	return found
}

// quantile is the middle of the bucket that holds it: at most 4.5 % from it, for a bucket is 9 % wide.
func (s times) quantile(q float64) time.Duration {
	rank := uint64(math.Ceil(q * float64(s.count)))
	seen := s.zero
	if seen >= rank {
		return 0
	}
	indices := make([]int32, 0, len(s.buckets))
	for index := range s.buckets {
		indices = append(indices, index)
	}
	slices.Sort(indices)
	for _, index := range indices {
		if seen += s.buckets[index]; seen >= rank {
			return time.Duration(math.Exp2((float64(index)+0.5)*math.Exp2(-float64(s.scale))) * float64(time.Second))
		}
	}
	return 0
}

func (s times) String() string {
	return fmt.Sprintf("%d times, median %v, 90 %% %v, mean %v", s.count, s.quantile(0.5), s.quantile(0.9),
		s.sum/time.Duration(max(1, s.count)))
}

// witness is what somebody else knows of times: each took at least so long and at most so long.
type witness struct{ least, most []time.Duration }

func (w *witness) add(least, most time.Duration) {
	w.least, w.most = append(w.least, least), append(w.most, most)
}

func median(of []time.Duration) time.Duration {
	of = slices.Sorted(slices.Values(of))
	return of[(len(of)-1)/2]
}

// requireStage: the median of this stage is the witness's, within 10 % or 20 µs, and that of no other comes near.
func (o *observer) requireStage(stage string, w *witness) {
	o.t.Helper()
	o.requireQuantile(stage, 0.5, w)
}

func (o *observer) requireQuantile(stage string, q float64, w *witness) {
	o.t.Helper()
	all := o.stages()
	for name, of := range all {
		o.t.Logf("%-22s %v", name, of)
	}
	o.t.Logf("%-22s %v … %v", "witness", median(w.least), median(w.most))
	least, most := median(w.least), median(w.most)
	require.EqualValues(o.t, 3, all[stage].scale)
	assert.LessOrEqual(o.t, all[stage].quantile(q), max(most+most/10, most+20*time.Microsecond), stage)
	assert.GreaterOrEqual(o.t, all[stage].quantile(q), min(least-least/10, least-20*time.Microsecond), stage)
	for name, of := range all {
		if name != stage {
			assert.Less(o.t, of.quantile(0.5), least/5, "%s shows what was put in %s", name, stage)
		}
	}
}

func TestALateReaderShowsInTCPToApp(t *testing.T) {
	const late = 50 * time.Millisecond
	n := newNetwork(t)
	p := n.connect(n.server.listen("tcp4", n.server.at4(7800)))
	o := n.server.observeStages()
	var w witness
	for range 20 {
		before := time.Now()
		_, err := p.client.Write([]byte{1})
		require.NoError(t, err)
		written := time.Now()
		time.Sleep(late)
		read := time.Now()
		_, err = p.server.Read(make([]byte, 1))
		require.NoError(t, err)
		w.add(read.Sub(written), time.Since(before))
	}
	o.stop()
	o.requireStage("receive tcp_to_app", &w)
	o.assertAll(20, int64(o.stages()["receive tcp_to_app"].count), "receive tcp_to_app")
	o.assertAll(20, int64(o.stages()["receive nic_to_tcp"].count), "receive nic_to_tcp")
}

// queue gives eth0 a queueing discipline; it skips the test where the kernel has none of that kind.
func (n *namespace) queue(discipline string) {
	n.t.Helper()
	n.queueAt("eth0", discipline)
}

func (n *namespace) queueAt(device, discipline string) {
	n.t.Helper()
	need(n.t, "tc")
	add := exec.Command("tc", strings.Fields("qdisc add dev "+device+" root "+discipline)...)
	var complaint strings.Builder
	add.Stderr = &complaint
	require.NoError(n.t, n.start(add))
	if err := add.Wait(); err != nil {
		lacks(n.t, "this kernel has no %s: %s", discipline, complaint.String())
	}
}

// stamped has the kernel say when what is read from a connection came in.
func stamped(t *testing.T, conn *net.TCPConn) syscallConn {
	t.Helper()
	raw, err := conn.SyscallConn()
	require.NoError(t, err)
	require.NoError(t, raw.Control(func(fd uintptr) {
		require.NoError(t, unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1))
	}))
	return syscallConn{t, raw}
}

type syscallConn struct {
	t   *testing.T
	raw interface {
		Read(func(uintptr) bool) error
	}
}

// arrival reads bytes and says when the last of them came in.
func (c syscallConn) arrival(bytes int) (at time.Time) {
	c.t.Helper()
	buffer, control := make([]byte, bytes), make([]byte, 128)
	for bytes > 0 {
		var n, controls int
		var err error
		require.NoError(c.t, c.raw.Read(func(fd uintptr) bool {
			n, controls, _, _, err = unix.Recvmsg(int(fd), buffer, control, unix.MSG_DONTWAIT)
			return err != unix.EAGAIN
		}))
		require.NoError(c.t, err)
		require.Positive(c.t, n)
		bytes -= n
		messages, err := unix.ParseSocketControlMessage(control[:controls])
		require.NoError(c.t, err)
		for _, message := range messages {
			if message.Header.Level == unix.SOL_SOCKET && message.Header.Type == unix.SCM_TIMESTAMPNS {
				stamp := (*unix.Timespec)(unsafe.Pointer(&message.Data[0]))
				at = time.Unix(stamp.Unix())
			}
		}
	}
	require.False(c.t, at.IsZero(), "the kernel said no time of arrival")
	return at
}

func TestAQueueingDisciplineShowsInQdisc(t *testing.T) {
	for _, discipline := range []string{
		"tbf rate 500kbit burst 1600 limit 30000", // 23 ms for a frame of 1466 bytes
		"netem delay 20ms",
	} {
		kind, _, _ := strings.Cut(discipline, " ")
		t.Run(kind, func(t *testing.T) {
			n := newNetwork(t)
			n.client.queue(discipline)
			p := n.connect(n.server.listen("tcp4", n.server.at4(7801)))
			arrivals := stamped(t, p.server)
			o := n.client.observeStages()
			var w witness
			for range 31 { // the last may arrive before its sender is done with it; those before it do not
				before := time.Now()
				_, err := p.client.Write(make([]byte, 1400))
				require.NoError(t, err)
				written := time.Now()
				at := arrivals.arrival(1400)
				w.add(at.Sub(written), at.Sub(before))
			}
			o.stop()
			o.requireStage("transmit qdisc", &w)
			// And what is nobody's, such as ARP.
			unmeasured := uint64(0)
			for _, times := range o.engine.Stats().Kernel.Stages[wire.DirectionTransmit][wire.StageQdisc] {
				unmeasured += times
			}
			assert.GreaterOrEqual(t, o.stages()["transmit qdisc"].count+unmeasured+o.skipped(), uint64(30))
		})
	}
}

func TestWhatTCPHoldsBackShowsInSocket(t *testing.T) {
	withEachHookAndNone(t, "stages.socket", testWhatTCPHoldsBack)
}

func testWhatTCPHoldsBack(t *testing.T, avoid []string) {
	const held = 50 * time.Millisecond // TCP itself sends what is corked after 200 ms
	n := newNetwork(t)
	p := n.connect(n.server.listen("tcp4", n.server.at4(7802)))
	raw, err := p.client.SyscallConn()
	require.NoError(t, err)
	cork := func(on int) {
		require.NoError(t, raw.Control(func(fd uintptr) {
			require.NoError(t, unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_CORK, on))
		}))
	}
	config := avoiding(n.client.stageSettings(), avoid)
	if len(avoid)+1 == len(hooks["stages.socket"]) { // the last one knows sockets by their address only
		config.Probe.Payload = probe.Payload{Enabled: true, CaptureBytes: 1}
		config = avoiding(config, hooks["payload"][:2])
	}
	o := observe(t, config)
	requireHook(t, o, "stages.socket", avoid)
	none := len(avoid) == len(hooks["stages.socket"])
	var w witness
	for range 20 {
		cork(1)
		before := time.Now()
		_, err := p.client.Write([]byte{1})
		require.NoError(t, err)
		written := time.Now()
		time.Sleep(held)
		pulled := time.Now()
		cork(0)
		w.add(pulled.Sub(written), time.Since(before))
		_, err = p.server.Read(make([]byte, 1))
		require.NoError(t, err)
	}
	o.stop()
	if none {
		assert.NotContains(t, o.stages(), "transmit socket")
		assert.Contains(t, o.stages(), "transmit ip", "the others are there")
		return
	}
	o.requireStage("transmit socket", &w)
	o.assertAll(20, int64(o.stages()["transmit socket"].count), "transmit socket")
	assert.GreaterOrEqual(t, o.stages()["transmit ip"].count+o.skipped(), uint64(20)) // more, where something is sent again
}

func TestAFullSendBufferShowsInSocket(t *testing.T) {
	const stopped = 300 * time.Millisecond
	n := newNetwork(t)
	p := n.connect(n.server.listen("tcp4", n.server.at4(7803)))
	require.NoError(t, p.client.SetWriteBuffer(64<<10))
	o := n.client.observeStages()
	began := time.Now()
	require.NoError(t, p.client.SetWriteDeadline(began.Add(stopped)))
	total := 0
	var full time.Time
	for chunk := make([]byte, 4096); ; {
		sent, err := p.client.Write(chunk)
		if total += sent; err != nil {
			require.ErrorIs(t, err, os.ErrDeadlineExceeded)
			break
		}
		full = time.Now()
	}
	reading := time.Now()
	_, err := io.CopyN(io.Discard, onlyReader{p.server}, int64(total))
	require.NoError(t, err)
	read := time.Now()
	o.stop()
	if !o.serves("stages.socket") {
		assert.NotContains(t, o.stages(), "transmit socket")
		assert.Contains(t, o.stages(), "transmit ip", "the others are there")
		return
	}
	of := o.stages()["transmit socket"]
	t.Logf("%v; longest %v; the peer read nothing for %v, its window was closed for %v at least", of, of.quantile(1),
		reading.Sub(began), reading.Sub(full))
	// The window closes at some time while the buffer is filled, and opens at some time while the peer reads.
	least, most := reading.Sub(full), read.Sub(began)
	assert.LessOrEqual(t, of.quantile(1), most+most/10)
	assert.GreaterOrEqual(t, of.quantile(1), least-least/10)
}

func TestAnUnresolvedNeighborShowsInNeighbor(t *testing.T) {
	const unresolved = 150 * time.Millisecond
	n := newNetwork(t)
	need(t, "ip")
	listener := n.server.listen("tcp4", n.server.at4(7804))
	var server *net.Interface
	n.server.do(func() {
		var err error
		server, err = net.InterfaceByName("eth0")
		assert.NoError(t, err)
	})
	n.server.set("ipv4/conf/eth0/arp_ignore", "8") // no answers
	o := n.client.observeStages()
	var w witness
	for range 7 {
		n.client.ip("neigh", "flush", "dev", "eth0", "nud", "all")
		connected := make(chan error)
		before := time.Now()
		go func() {
			conn, err := n.client.tryDial(context.WithoutCancel(t.Context()), n.server.at4(7804))
			if err == nil {
				conn.Close()
			}
			connected <- err
		}()
		eventually(t, "the neighbor is asked for", func() bool {
			return strings.Contains(n.client.run("ip", "neigh", "show", "dev", "eth0"), "INCOMPLETE")
		})
		asked := time.Now()
		time.Sleep(unresolved)
		answer := time.Now()
		n.client.ip("neigh", "replace", n.server.v4.String(), "lladdr", server.HardwareAddr.String(), "dev", "eth0")
		w.add(answer.Sub(asked), time.Since(before))
		require.NoError(t, <-connected)
		accepted, err := listener.Accept()
		require.NoError(t, err)
		accepted.Close()
	}
	o.stop()
	o.requireStage("transmit neighbor", &w)
	assert.GreaterOrEqual(t, o.stages()["transmit neighbor"].count+o.skipped(), uint64(7)) // more, where something is sent again
}

func TestManyRulesShowInNetfilter(t *testing.T) {
	withEachHookAndNone(t, "stages.netfilter", testManyRules)
}

func testManyRules(t *testing.T, avoid []string) {
	const many, few = 7805, 7806
	n := newNetwork(t)
	n.server.swallow(many)
	n.server.swallow(few)
	n.client.firewall("table inet rules {\nchain many {\n" + strings.Repeat("ip saddr 192.0.2.1 counter\n", 2000) + "}\n" +
		"chain out {\ntype filter hook output priority 0;\nudp dport 7805 jump many\n}\n}\n")
	o := observe(t, avoiding(n.client.stageSettings(), avoid))
	requireHook(t, o, "stages.netfilter", avoid)
	const pairs = 101
	took := n.client.sendTimes(pairs, n.server.at4(many), n.server.at4(few))
	o.stop()
	if len(avoid) == len(hooks["stages.netfilter"]) {
		assert.NotContains(t, o.stages(), "transmit netfilter")
		assert.Contains(t, o.stages(), "transmit qdisc", "the others are there")
		return
	}
	// What a datagram through all rules takes longer than the one that was sent right after it. Emulated machines take one of
	// two times, a fifth apart, for the same rules: the median of what two calls differ by may be the other one, so that it
	// is known only to lie among the middle fifth.
	var longer []time.Duration
	for i := range pairs {
		longer = append(longer, took[2*i]-took[2*i+1])
	}
	slices.Sort(longer)
	var w witness
	w.add(longer[pairs*2/5], longer[pairs*3/5])
	// All pass this hook, and some kernels have another for them to pass, which is fast: the slowest are those of the rules.
	count := float64(o.stages()["transmit netfilter"].count)
	require.GreaterOrEqual(t, count+float64(o.skipped()), float64(2*pairs))
	o.requireQuantile("transmit netfilter", 1-pairs/2/count, &w)
}

// sendTimes is how long the system calls took that sent datagrams, in turns to each of these.
func (n *namespace) sendTimes(rounds int, to ...netip.AddrPort) (took []time.Duration) {
	n.t.Helper()
	n.do(func() {
		socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
		if !assert.NoError(n.t, err) {
			return
		}
		defer unix.Close(socket)
		for range rounds {
			for _, address := range to {
				before := time.Now()
				err := unix.Sendto(socket, []byte{1}, 0, &unix.SockaddrInet4{Port: int(address.Port()), Addr: address.Addr().As4()})
				took = append(took, time.Since(before))
				if !assert.NoError(n.t, err) {
					return
				}
			}
		}
	})
	return took
}
