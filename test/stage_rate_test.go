//go:build linux && (amd64 || arm64)

package kerneltest

import (
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ebpfnet/ebpfnetreceiver/internal/probe"
	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

// fewTimed is what the least rate that is accepted comes to: 20 in each window.
const fewTimed = 1000

func TestPacketsBeyondTheRateAreLeftOutAndCounted(t *testing.T) {
	const exchanges = 2000
	n := newNetwork(t)
	p := n.connect(n.server.listen("tcp4", n.server.at4(7830)))
	config := (&network{client: n.server, server: n.server}).settings()
	config.Probe.Stages, config.Probe.StageRate = true, fewTimed
	received := func() int { return int(tcpInfo(t, p.server).Segs_in) }
	earlier := received()
	o := observe(t, config)
	before, buffer := received(), make([]byte, 2)
	copies := 0
	for i := range exchanges {
		_, err := p.client.Write(buffer)
		require.NoError(t, err)
		part := buffer
		if i%2 == 0 { // three copies of a wait that ends with the first
			part = buffer[:1]
			peek(t, p.server, part)
			copies++
		}
		for range len(buffer) / len(part) {
			_, err = io.ReadFull(p.server, part)
			require.NoError(t, err)
			copies++
		}
		_, err = p.server.Write(buffer)
		require.NoError(t, err)
		_, err = p.client.Read(buffer)
		require.NoError(t, err)
	}
	segments := received() - before
	o.stop()
	mostSegments := received() - earlier // acknowledgments may come a little later

	stages := o.stages()
	for _, of := range []struct {
		name             string
		direction, stage int
		least, most      int
	}{
		{"receive nic_to_tcp", wire.DirectionReceive, wire.StageNICToTCP, segments, mostSegments},
		{"receive ip", wire.DirectionReceive, wire.StageIP, segments, mostSegments},
		{"receive tcp_to_app", wire.DirectionReceive, wire.StageTCPToApp, copies, copies},
		{"transmit socket", wire.DirectionTransmit, wire.StageSocket, exchanges, exchanges},
		{"transmit ip", wire.DirectionTransmit, wire.StageIP, exchanges, exchanges},
	} {
		if of.name == "transmit socket" && !o.serves("stages.socket") {
			continue
		}
		timed, losses := int(stages[of.name].count), o.engine.Stats().Kernel.Stages[of.direction][of.stage]
		t.Logf("%-20s %5d of %d timed, left out %v", of.name, timed, of.most, losses)
		assert.Positive(t, timed+int(losses[wire.StageNoStamp]), of.name) // it takes a while until packets are stamped
		assert.Positive(t, losses[wire.StageRate], of.name)
		all := timed
		for _, left := range losses {
			all += int(left)
		}
		assert.LessOrEqual(t, all, of.most, of.name)
		assert.GreaterOrEqual(t, all+int(o.skipped()), of.least, of.name)
	}
	waits, _ := o.distribution("network.socket.read.wait")
	leftWaits := o.engine.Stats().Kernel.Stages[wire.DirectionReceive][wire.StageWait][wire.StageRate]
	assert.Positive(t, leftWaits)
	o.assertAll(exchanges, int64(waits+leftWaits), "waits of readers")
	for name, stage := range map[string]int{"transmit qdisc": wire.StageQdisc, "transmit driver": wire.StageDriver} {
		left := o.engine.Stats().Kernel.Stages[wire.DirectionTransmit][stage][wire.StageRate]
		assert.GreaterOrEqual(t, left+stages[name].count+o.skipped(), uint64(exchanges), name)
		assert.Positive(t, stages[name].count, name)
	}
}

// peek waits for what comes, and leaves it.
func peek(t *testing.T, conn *net.TCPConn, buffer []byte) {
	t.Helper()
	raw, err := conn.SyscallConn()
	require.NoError(t, err)
	var failed error
	require.NoError(t, raw.Read(func(fd uintptr) (done bool) {
		_, _, failed = unix.Recvfrom(int(fd), buffer, unix.MSG_PEEK)
		return failed != unix.EAGAIN
	}))
	require.NoError(t, failed)
}

func TestWhatIsSlowIsToldOfWhetherItIsTimedOrNot(t *testing.T) {
	const delay, connections, rounds = 80 * time.Millisecond, 64, 3
	n := newNetwork(t)
	_, server := n.addDevicesOnTop()
	n.client.queueAt("top0", "netem delay 80ms limit 10000")
	var pairs []pair
	for i := range connections {
		pairs = append(pairs, n.connect(n.server.listen("tcp4", netip.AddrPortFrom(server, uint16(7840+i)))))
	}
	sent := func() (packets int) { // keepalive probes are among them: it takes a while to get here
		for _, p := range pairs {
			packets += int(tcpInfo(t, p.client).Segs_out)
		}
		return packets
	}
	config := (&network{client: n.client, server: n.client}).settings()
	config.Probe.Stages, config.Probe.StageRate = true, fewTimed
	config.Probe.Slow = probe.Slow{Stage: delay / 2, PerSecond: unlimited}
	before := sent()
	o := observe(t, config)
	for range rounds {
		for _, p := range pairs {
			_, err := p.client.Write([]byte{1})
			require.NoError(t, err)
		}
		for _, p := range pairs {
			_, err := p.server.Read(make([]byte, 1))
			require.NoError(t, err)
		}
	}
	o.stop()
	packets := sent() - before
	stages, left := o.stages(), o.engine.Stats().Kernel.Stages[wire.DirectionTransmit]
	assert.Less(t, stages["transmit qdisc"].count, uint64(2*connections*rounds), "each packet passes two devices")
	// That a packet passes two devices, with others of its CPU in between, is known.
	assert.Less(t, stages["transmit ip"].sum, delay/2)
	all := stages["transmit ip"].count + left[wire.StageIP][wire.StageRate]
	assert.LessOrEqual(t, all, uint64(connections*rounds))
	assert.GreaterOrEqual(t, all+o.skipped(), uint64(connections*rounds-1))
	events := o.events("network.stage.slow", "network.stage.name", "qdisc", "network.transport", "tcp")
	for _, event := range events {
		took, _ := event.Attributes().Get("network.slow.duration")
		assert.GreaterOrEqual(t, took.Double(), (delay - delay/20).Seconds())
	}
	assert.LessOrEqual(t, len(events), packets, "of a packet that passes two devices one tells")
	// The last may arrive before its sender is done with it.
	assert.GreaterOrEqual(t, len(events)+int(o.skipped()), connections*rounds-1)
}

// Each wait is told of once, though there are two packets, and their bytes are read one by one; also one that begins just
// after one that was short, of which on connections without calls only the packet itself tells, and where the reader does
// not copy.
func TestASlowReadIsToldOfWhetherItIsCountedOrNot(t *testing.T) {
	t.Run("with calls", func(t *testing.T) { testSlowReads(t, true, 0, read) })
	t.Run("without", func(t *testing.T) { testSlowReads(t, false, 0, read) })
	t.Run("after others", func(t *testing.T) { testSlowReads(t, false, 3, read) })
	t.Run("after others with splice", func(t *testing.T) { testSlowReads(t, false, 3, spliced) })
	t.Run("with splice of whole packets", func(t *testing.T) {
		testSlowReads(t, false, 0, func(t *testing.T, conn *net.TCPConn) { splice(t, conn, 2, false) })
	})
}

// A reader who takes a part at once and the rest later was not late, by what a wait is. Nor was one who takes at once what
// comes long after, where that is not seen to come: once its own end is closed. Nor who looks long after, and finds nothing.
func TestWhatAPromptReaderLeavesIsNoSlowRead(t *testing.T) {
	const late, connections, rounds = 80 * time.Millisecond, 128, 3
	pairs, o := observeReads(t, connections, false, late/2)
	heldUp := 0 // exchanges, by the machine: these may have been slow
	exchange := func(p pair, packet []byte) {
		began := time.Now()
		_, err := p.client.Write(packet)
		require.NoError(t, err)
		read(t, p.server)
		if time.Since(began) >= late/4 {
			heldUp++
		}
	}
	for range rounds {
		for _, p := range pairs {
			for _, packet := range [][]byte{{0}, {0}, {1, 2}} {
				exchange(p, packet)
			}
		}
		time.Sleep(late)
		for _, p := range pairs {
			read(t, p.server)
		}
	}
	for _, p := range pairs {
		exchange(p, []byte{0})
	}
	time.Sleep(late)
	for _, p := range pairs {
		splice(t, p.server, 1, false)
		require.NoError(t, p.server.CloseWrite())
	}
	time.Sleep(late)
	for _, p := range pairs {
		exchange(p, []byte{0})
	}
	o.stop()
	t.Logf("%d exchanges were held up", heldUp)
	assert.LessOrEqual(t, len(o.events("network.socket.read.slow")), heldUp)
}

// observeReads watches the readers' ends of connections, of which few packets are timed.
func observeReads(t *testing.T, connections int, calls bool, slow time.Duration) ([]pair, *observer) {
	t.Helper()
	n := newNetwork(t)
	var pairs []pair
	for i := range connections {
		pairs = append(pairs, n.connect(n.server.listen("tcp4", n.server.at4(uint16(7840+i)))))
	}
	config := (&network{client: n.server, server: n.server}).settings()
	config.Probe.Stages, config.Probe.StageRate = true, fewTimed
	config.Probe.Payload.Enabled = calls
	config.Probe.Slow = probe.Slow{Read: slow, PerSecond: unlimited}
	return pairs, observe(t, config)
}

func read(t *testing.T, conn *net.TCPConn) {
	t.Helper()
	_, err := conn.Read(make([]byte, 1))
	require.NoError(t, err)
}

// spliced reads a byte by moving it into a pipe.
func spliced(t *testing.T, conn *net.TCPConn) {
	t.Helper()
	require.EqualValues(t, 1, splice(t, conn, 1, true))
}

// splice moves what there is into a pipe, up to so many bytes, or waits for some.
func splice(t *testing.T, conn *net.TCPConn, bytes int, waits bool) (moved int64) {
	t.Helper()
	var pipe [2]int
	require.NoError(t, unix.Pipe(pipe[:]))
	defer unix.Close(pipe[0])
	defer unix.Close(pipe[1])
	raw, err := conn.SyscallConn()
	require.NoError(t, err)
	var failed error
	require.NoError(t, raw.Read(func(fd uintptr) (done bool) {
		moved, failed = unix.Splice(int(fd), nil, pipe[1], nil, bytes, unix.SPLICE_F_NONBLOCK)
		return failed != unix.EAGAIN || !waits
	}))
	if failed != unix.EAGAIN {
		require.NoError(t, failed)
	}
	return moved
}

// testSlowReads has each connection's reader be late, right after it has not been `before` times.
func testSlowReads(t *testing.T, calls bool, before int, read func(*testing.T, *net.TCPConn)) {
	const late, connections, rounds = 80 * time.Millisecond, 128, 3
	pairs, o := observeReads(t, connections, calls, late/2)
	var most time.Duration
	for range rounds {
		began := time.Now()
		for _, p := range pairs {
			for range before {
				_, err := p.client.Write([]byte{0})
				require.NoError(t, err)
				read(t, p.server)
			}
			for _, packet := range [][]byte{{1, 2}, {3}} {
				_, err := p.client.Write(packet)
				require.NoError(t, err)
			}
		}
		time.Sleep(late)
		for range 3 {
			for _, p := range pairs {
				read(t, p.server)
			}
		}
		most = max(most, time.Since(began))
	}
	o.stop()
	counted, _ := o.distribution("network.socket.read.wait")
	left := o.engine.Stats().Kernel.Stages[wire.DirectionReceive][wire.StageWait][wire.StageRate]
	assert.Positive(t, counted)
	if !inLab() { // an emulated machine may be too slow to get beyond the rate
		assert.Positive(t, left)
	}
	o.assertAll(connections*rounds*(before+1), int64(counted+left))
	events := o.events("network.socket.read.slow")
	o.assertAll(connections*rounds, int64(len(events)))
	for _, event := range events {
		took, _ := event.Attributes().Get("network.slow.duration")
		assert.GreaterOrEqual(t, took.Double(), (late - late/20).Seconds())
		assert.LessOrEqual(t, took.Double(), most.Seconds())
	}
}
