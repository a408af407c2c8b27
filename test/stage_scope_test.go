//go:build linux && (amd64 || arm64)

package kerneltest

import (
	"net/netip"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/ebpfnet/ebpfnetreceiver/internal/probe"
	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

// What is out of scope is neither timed, nor counted as what could not be, nor does it take of the allowance. What is in
// scope has all of its stages, although what comes in has no socket yet where the firewall sees it.
func TestStagesOfAPortAreThoseOfThisPortAlone(t *testing.T) {
	const exchanges, wanted, other = 100, 7850, 7851
	withEachHookAndNone(t, "stages.netfilter", func(t *testing.T, avoid []string) {
		n := newNetwork(t)
		n.server.firewall("table inet rules {\nchain in {\ntype filter hook input priority 0;\ncounter\n}\n" +
			"chain out {\ntype filter hook output priority 0;\ncounter\n}\n}\n")
		in, out := n.connect(n.server.listen("tcp4", n.server.at4(wanted))), n.connect(n.server.listen("tcp4", n.server.at4(other)))
		config := avoiding(n.server.stageSettings(), avoid)
		config.Probe.Scope.IncludePorts = []uint16{wanted}
		o := observe(t, config)
		requireHook(t, o, "stages.netfilter", avoid)
		before := tcpInfo(t, in.server).Segs_in
		buffer := make([]byte, 1)
		for i := range 3 * exchanges {
			p := out
			if i%3 == 0 {
				p = in
			}
			for _, write := range []bool{true, false} {
				from, to := p.client, p.server
				if !write {
					from, to = to, from
				}
				_, err := from.Write(buffer)
				require.NoError(t, err)
				_, err = to.Read(buffer)
				require.NoError(t, err)
			}
		}
		segments := uint64(tcpInfo(t, in.server).Segs_in - before)
		o.stop()

		stages, losses := o.stages(), o.engine.Stats().Kernel.Stages
		is := func(name string, direction, stage int, least uint64) {
			t.Helper()
			var left uint64
			for _, n := range losses[direction][stage] {
				left += n
			}
			all := stages[name].count + left
			assert.GreaterOrEqual(t, all+o.skipped(), least, "%s: %v", name, losses[direction][stage])
			assert.LessOrEqual(t, all, least+segments/10, "%s: %v", name, losses[direction][stage]) // acknowledgments
			assert.GreaterOrEqual(t, stages[name].count+losses[direction][stage][wire.StageNoStamp]+o.skipped(), least*9/10, "%s: %v", name, losses[direction][stage])
		}
		is("receive nic_to_tcp", wire.DirectionReceive, wire.StageNICToTCP, segments)
		is("receive ip", wire.DirectionReceive, wire.StageIP, segments)
		is("receive tcp_to_app", wire.DirectionReceive, wire.StageTCPToApp, exchanges)
		is("transmit socket", wire.DirectionTransmit, wire.StageSocket, exchanges)
		is("transmit ip", wire.DirectionTransmit, wire.StageIP, exchanges)
		is("transmit driver", wire.DirectionTransmit, wire.StageDriver, exchanges)
		if len(avoid) < len(hooks["stages.netfilter"]) {
			// There may be more hooks than those of the rules: as many again where packets leave, and one where what comes in
			// has its socket already.
			passed, came := stages["transmit netfilter"].count, stages["receive netfilter"].count
			assert.GreaterOrEqual(t, passed+o.skipped(), uint64(exchanges))
			assert.LessOrEqual(t, passed, 2*(exchanges+segments/10))
			assert.LessOrEqual(t, came, segments+segments/10)
			for _, direction := range []int{wire.DirectionTransmit, wire.DirectionReceive} {
				lost := losses[direction][wire.StageNetfilter]
				assert.LessOrEqual(t, lost[wire.StageInterrupted], segments/10, "%v", lost)
			}
		}
	})
}

// An answer is given, and its call over, long before it is out.
func TestAnAnswerThatWaitsToGoOutIsToldWithItsTrace(t *testing.T) {
	// TCP gives the queue two segments at a time, of which the second waits for the first.
	const calls, slow = 4, 8 * time.Millisecond
	n := newNetwork(t)
	server := startNginx(t, n.server, n.server.at4(80))
	n.server.ip("link", "set", "eth0", "gso_max_segs", "1")
	n.server.queue("tbf rate 1mbit burst 1600 limit 60000") // 12 ms for each full segment
	config := n.settings()
	config.Probe.Stages = true
	config.Probe.Slow = probe.Slow{Stage: slow, PerSecond: unlimited}
	o := observe(t, config)
	browser := browse(n.client.dial(server.at))
	for i := range calls {
		_, err := browser.ask("GET", []string{"/file/a", "/file/b", "/file/c", "/file/d"}[i], "")
		require.NoError(t, err)
	}
	o.stop()

	traces := map[string]bool{}
	for _, span := range o.spans(ptrace.SpanKindServer) {
		traces[span.TraceID().String()+span.SpanID().String()] = true
	}
	o.assertAll(calls, int64(len(traces)))
	told := map[string]int{}
	for _, event := range o.events("network.stage.slow", "network.stage.name", "qdisc", "network.transport", "tcp", "source.port", 80) {
		told[event.TraceID().String()+event.SpanID().String()]++
	}
	unknown := 0
	for of := range told {
		if !traces[of] {
			unknown++
		}
	}
	assert.LessOrEqual(t, unknown, calls-len(traces), "%v", told)
	o.assertAll(calls, int64(len(told)), "each answer waited: %v", told)
}

// addDevicesOnTop gives both ends a VLAN, else a tunnel, top0, and addresses there.
func (n *network) addDevicesOnTop() (client, server netip.Addr) {
	n.client.t.Helper()
	for end, peer := range map[*namespace]*namespace{n.client: n.server, n.server: n.client} {
		if exec.Command("ip", "-n", end.name, "link", "add", "link", "eth0", "name", "top0", "type", "vlan", "id", "5").Run() != nil {
			end.ip("link", "add", "top0", "type", "vxlan", "id", "5", "dev", "eth0", "dstport", "4789", "remote", peer.at4(0).Addr().String())
		}
		end.ip("link", "set", "top0", "up")
	}
	client, server = netip.MustParseAddr("10.78.0.1"), netip.MustParseAddr("10.78.0.2")
	n.client.ip("addr", "add", client.String()+"/24", "dev", "top0")
	n.server.ip("addr", "add", server.String()+"/24", "dev", "top0")
	return client, server
}

// A device on top of another has a queue of its own, and the other one's driver.
func TestTheQueueOfADeviceOnTopOfAnotherIsMeasured(t *testing.T) {
	n := newNetwork(t)
	_, server := n.addDevicesOnTop()
	n.client.queueAt("top0", "tbf rate 500kbit burst 1600 limit 30000")
	p := n.connect(n.server.listen("tcp4", netip.AddrPortFrom(server, 7860)))
	arrivals := stamped(t, p.server)
	o := n.client.observeStages()
	var w witness
	for range 31 {
		before := time.Now()
		_, err := p.client.Write(make([]byte, 1300))
		require.NoError(t, err)
		written := time.Now()
		at := arrivals.arrival(1300)
		w.add(at.Sub(written), at.Sub(before))
	}
	o.stop()
	stages, losses := o.stages(), o.engine.Stats().Kernel.Stages[wire.DirectionTransmit]
	// Each packet passes two: the upper half are those of the one with the queue.
	count := float64(stages["transmit qdisc"].count)
	require.GreaterOrEqual(t, count+float64(2*o.skipped()), 60.0)
	o.requireQuantile("transmit qdisc", 1-15.5/count, &w)
	assert.Zero(t, losses[wire.StageDriver][wire.StageInterrupted])
	assert.GreaterOrEqual(t, stages["transmit driver"].count+o.skipped(), uint64(30))
	assert.Less(t, stages["transmit driver"].count, uint64(50), "once for each packet")
}
