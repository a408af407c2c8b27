//go:build linux && (amd64 || arm64)

package kerneltest

import (
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"golang.org/x/sys/unix"

	"github.com/ebpfnet/ebpfnetreceiver/internal/engine"
	"github.com/ebpfnet/ebpfnetreceiver/internal/probe"
)

// observeWaits watches one namespace, and reports what waits longer than that.
func (n *namespace) observeWaits(slow time.Duration) *observer {
	n.t.Helper()
	return observe(n.t, n.waitSettings(slow))
}

func (n *namespace) waitSettings(slow time.Duration) engine.Config {
	config := (&network{client: n, server: n}).settings()
	config.Probe.Stages = true
	config.Probe.Slow = probe.Slow{Read: slow, Write: slow, Stage: slow, PerSecond: unlimited}
	return config
}

func TestALateReaderMakesDataWait(t *testing.T) {
	const late, times = 50 * time.Millisecond, 10
	n := newNetwork(t)
	p := n.connect(n.server.listen("tcp4", n.server.at4(7810)))
	o := n.server.observeWaits(late / 2)
	var least, most time.Duration
	for range times {
		before := time.Now()
		_, err := p.client.Write([]byte{1})
		require.NoError(t, err)
		for unread(t, p.server) == 0 { // a machine that is busy may bring it after the call
			time.Sleep(10 * time.Microsecond)
		}
		written := time.Now()
		time.Sleep(late)
		least += time.Since(written)
		_, err = p.server.Read(make([]byte, 1))
		require.NoError(t, err)
		most += time.Since(before)
		// What the reader has been waiting for does not wait for the reader.
		go func() { _, _ = p.server.Write([]byte{1}) }()
		_, err = p.client.Read(make([]byte, 1))
		require.NoError(t, err)
	}
	o.stop()

	count, sum := o.distribution("network.socket.read.wait")
	o.assertAll(times, int64(count))
	if count < times {
		least = time.Duration(count) * late
	}
	assert.GreaterOrEqual(t, sum, least.Seconds()*0.99)
	assert.LessOrEqual(t, sum, most.Seconds())
	events := o.events("network.socket.read.slow")
	o.assertAll(times, int64(len(events)))
	for _, event := range events {
		took, _ := event.Attributes().Get("network.slow.duration")
		assert.GreaterOrEqual(t, took.Double(), (late / 2).Seconds())
		port, _ := event.Attributes().Get("destination.port")
		assert.EqualValues(t, 7810, port.Int())
		assert.Contains(t, event.Body().Str(), "slow read, ")
	}
}

func TestAFullSocketMakesSendersWait(t *testing.T) {
	t.Run("in poll", func(t *testing.T) {
		testSenderWaits(t, "", func(conn *net.TCPConn, data []byte) error {
			_, err := conn.Write(data)
			return err
		})
	})
	t.Run("in send", func(t *testing.T) {
		testSenderWaits(t, "tcp_sendmsg_locked", func(conn *net.TCPConn, data []byte) error {
			file, err := conn.File()
			if err != nil {
				return err
			}
			defer file.Close()
			for err = unix.SetNonblock(int(file.Fd()), false); err == nil && len(data) > 0; {
				var n int
				n, err = unix.Write(int(file.Fd()), data)
				data = data[max(n, 0):]
			}
			return err
		})
	})
}

// testSenderWaits: what the sender waits for room is told of by hooks whose name contains this, and by no others.
func testSenderWaits(t *testing.T, by string, send func(conn *net.TCPConn, data []byte) error) {
	withEachHookAndNone(t, "waits.write", func(t *testing.T, avoid []string) { testSenderWaitsBy(t, by, send, avoid) })
}

func testSenderWaitsBy(t *testing.T, by string, send func(conn *net.TCPConn, data []byte) error, avoid []string) {
	const late = 80 * time.Millisecond
	n := newNetwork(t)
	p := n.connect(n.server.listen("tcp4", n.server.at4(7811)))
	o := observe(t, avoiding(n.client.waitSettings(late/2), avoid))
	requireHook(t, o, "waits.write", avoid)
	const bytes = 16 << 20 // more than both sockets hold
	sent := make(chan error, 1)
	go func() { sent <- send(p.client, make([]byte, bytes)) }()
	last := int64(-1)
	eventually(t, "nothing more is sent", func() bool {
		before := last
		last = n.ends(7811)["client"]().BytesSent
		return last > 0 && last == before
	})
	time.Sleep(late)
	read := 0
	for buffer := make([]byte, 1<<20); read < bytes; {
		got, err := p.server.Read(buffer)
		require.NoError(t, err)
		read += got
	}
	require.NoError(t, <-sent)
	o.stop()

	count, sum := o.distribution("network.socket.write.wait")
	if hook, _ := o.hook("waits.write"); hook == "" || !strings.Contains(hook, by) {
		assert.Zero(t, count)
		assert.Empty(t, o.events("network.socket.write.slow"))
		return
	}
	assert.Positive(t, count)
	assert.GreaterOrEqual(t, sum, (late * 9 / 10).Seconds())
	events := o.events("network.socket.write.slow")
	require.NotEmpty(t, events)
	assert.Contains(t, events[0].Body().Str(), "slow write, ")
}

func TestASlowStageIsToldOf(t *testing.T) {
	n := newNetwork(t)
	p := n.connect(n.server.listen("tcp4", n.server.at4(7813)))
	n.client.ip("link", "set", "eth0", "gso_max_segs", "1")
	n.client.queue("tbf rate 500kbit burst 1600 limit 30000") // 24 ms for each full segment
	const slow = 60 * time.Millisecond
	o := n.client.observeWaits(slow)
	require.NoError(t, move(p.client, p.server, 12_000))
	o.stop()

	// What has no connection may wait in the same queue: the reports by which a fresh device joins its IPv6 groups.
	events := o.events("network.stage.slow", "network.stage.name", "qdisc", "network.transport", "tcp")
	require.NotEmpty(t, events)
	for _, event := range events {
		took, _ := event.Attributes().Get("network.slow.duration")
		assert.GreaterOrEqual(t, took.Double(), slow.Seconds())
		port, _ := event.Attributes().Get("destination.port")
		assert.EqualValues(t, 7813, port.Int())
		assert.Contains(t, event.Body().Str(), "slow stage qdisc, ")
	}
	count, _ := o.distribution("network.stage.duration")
	assert.Greater(t, count, uint64(len(events)))
}

// softirqs is how often each CPU ran softirqs of a kind, as /proc/softirqs has it.
func softirqs(t *testing.T, kind string) (total uint64) {
	t.Helper()
	table, err := os.ReadFile("/proc/softirqs")
	require.NoError(t, err)
	for line := range strings.Lines(string(table)) {
		if name, counts, ok := strings.Cut(strings.TrimSpace(line), ":"); ok && name == kind {
			for _, field := range strings.Fields(counts) {
				n, err := strconv.ParseUint(field, 10, 64)
				require.NoError(t, err)
				total += n
			}
		}
	}
	return total
}

func TestSoftirqsAgreeWithTheKernelsOwnCount(t *testing.T) {
	n := newNetwork(t)
	config := n.settings()
	config.Probe.Stages = true
	if !inLab() {
		o := observe(t, config)
		hook, refused := o.hook("softirq")
		require.Empty(t, hook)
		require.Len(t, refused, 1)
		require.Contains(t, refused[0].Reason, "whole host")
		t.Skip("softirqs belong to the whole host, and only the lab's are all ours")
	}
	config.Probe.Scope = probe.Scope{}
	first := softirqs(t, "NET_RX")
	o := observe(t, config)
	begun := softirqs(t, "NET_RX")
	p := n.connect(n.server.listen("tcp4", n.server.at4(7812)))
	require.NoError(t, move(p.client, p.server, 2_000_000))
	ended := softirqs(t, "NET_RX")
	o.stop()
	last := softirqs(t, "NET_RX")

	ran := map[string]uint64{}
	o.each("network.softirq.duration", func(metric pmetric.Metric, resource pcommon.Map) {
		for _, point := range metric.ExponentialHistogram().DataPoints().All() {
			_, ok := point.Attributes().Get("cpu.logical_number")
			require.True(t, ok)
			if text(point.Attributes(), "network.softirq.vector") == "net_rx" {
				ran[text(point.Attributes(), "network.softirq.phase")] += point.Count()
			}
		}
	})
	require.Positive(t, ended-begun)
	assert.GreaterOrEqual(t, ran["run"]+o.skipped(), ended-begun)
	assert.LessOrEqual(t, ran["run"], last-first)
	assert.LessOrEqual(t, ran["wait"], last-first)
	assert.Positive(t, ran["wait"])
}
