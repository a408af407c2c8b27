//go:build linux && (amd64 || arm64)

package probe

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ebpfnet/ebpfnetreceiver/bpf"
	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

// keyedBy says what the key of each map is. A map that is not here was made without saying so: one keyed by
// packet must not exist.
var keyedBy = map[string]string{
	"records":         "nothing, a ring buffer",
	"stats":           "kind of record",
	"limits":          "kind of record",
	"counts":          "owner and reason",
	"conns":           "socket",
	"conns_by_socket": "socket",
	"conn_zero":       "nothing, a template",
	"listeners":       "namespace and port",
	"queues":          "namespace",
	"scratch":         "CPU",
	"pending_calls":   "thread",
	"stage_blocks":    "owner, direction and shard",
	"stage_losses":    "direction, stage and reason",
	"stage_zero":      "nothing, a template",
	"wait_senders":    "nothing, places of sockets",
	"stage_sockets":   "socket",

	"stage_sockets_by_address": "socket",
	"stage_clock":              "nothing, a number",
	"flows":                    "owner and peer",
	"socket_flows":             "socket and peer",
	"pending_datagrams":        "thread",
	"udp_sockets":              "socket",
	"datagram_scratch":         "CPU",
	"batches":                  "thread",
	"softirq_times":            "vector and phase",
	"softirq_cpus":             "CPU",
	"command_times":            "device and class",
	"command_zero":             "nothing, a template",
	"commands":                 "thread",
}

func objects(t *testing.T) map[string]*ebpf.CollectionSpec {
	t.Helper()
	specs := map[string]*ebpf.CollectionSpec{}
	for name, load := range map[string]func() (*ebpf.CollectionSpec, error){
		"adopt": bpf.LoadAdopt, "connections": bpf.LoadConnections, "drops": bpf.LoadDrops,
		"datagrams": bpf.LoadDatagrams, "namespaces": bpf.LoadNamespaces, "netfilter": bpf.LoadNetfilter,
		"payload": bpf.LoadPayload, "shared": bpf.LoadShared,
		"resets": bpf.LoadResets, "retransmits": bpf.LoadRetransmits, "snapshot": bpf.LoadSnapshot,
		"stages": bpf.LoadStages, "times": bpf.LoadTimes,
		"softirq": bpf.LoadSoftirq, "virtio": bpf.LoadVirtio, "waits": bpf.LoadWaits,
	} {
		spec, err := load()
		require.NoError(t, err)
		specs[name] = spec
	}
	return specs
}

// sources are the files of the kernel half. A test that was compiled and taken elsewhere has not got them.
func sources(t *testing.T, pattern string) []string {
	t.Helper()
	paths, err := filepath.Glob("../../bpf/" + pattern)
	require.NoError(t, err)
	if len(paths) == 0 {
		t.Skip("compares with the sources in bpf/, which a compiled test that is run elsewhere has not got")
	}
	return paths
}

func TestEachSourceHasAnObjectThatIsTested(t *testing.T) {
	assert.Len(t, objects(t), len(sources(t, "*.bpf.c"))-1, "all but wire.bpf.c")
}

func TestNoMapIsKeyedByPacket(t *testing.T) {
	for object, spec := range objects(t) {
		for name := range spec.Maps {
			if !strings.HasPrefix(name, ".") {
				assert.Contains(t, keyedBy, name, "a map of %s", object)
			}
		}
	}
}

func TestNoProgramWakesTheReader(t *testing.T) {
	call := regexp.MustCompile(`bpf_ringbuf_(submit|output|discard)\([^;]*;`)
	found := 0
	for _, path := range sources(t, "*.[ch]") {
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		for _, statement := range call.FindAllString(string(text), -1) {
			found++
			assert.Contains(t, statement, "BPF_RB_NO_WAKEUP", path)
		}
	}
	assert.NotZero(t, found)
}

func TestTheKernelHalfAndTheReaderAgreeOnTheStatistics(t *testing.T) {
	assert.EqualValues(t, statMax, objects(t)["drops"].Maps["stats"].MaxEntries)
}

func TestEveryProgramIsReachedThroughAHook(t *testing.T) {
	served := map[string]bool{}
	capabilities := slices.Concat(resets(), retransmits(), stages(true, true), waits(true), both(times()), []capability{softirqs(Scope{}), virtio(Scope{}), connections(), drops(noise{}),
		adoption(true), snapshot(false, true), snapshot(true, true), namespaces(), listeners()})
	for _, c := range capabilities {
		for _, h := range c.hooks {
			for _, a := range h.programs {
				served[a.program] = true
			}
		}
	}
	// The payload's depend on the kernel: all that any may have.
	for _, name := range []string{
		"tcp_sendmsg_start", "tcp_sendmsg_exit", "tcp_recvmsg_exit", "sendpages_exit",
		"sock_send_length", "sock_recv_length", "tcp_sendmsg_locked",
		"tcp_sendmsg_enter", "tcp_sendmsg_return", "tcp_recvmsg_enter", "tcp_recvmsg_return",
		"sendpages_enter", "sendpages_return", "sys_exit_send", "sys_exit_receive",
		"stage_slot", // by a test
	} {
		served[name] = true
	}
	for _, h := range sharedHooks {
		served[h.program] = true
	}
	for _, f := range []functions{udpFunctions, rawFunctions, sctpFunctions} {
		for _, a := range slices.Concat(f.fexit(), f.kprobes()) {
			served[a.program] = true
		}
	}
	served["datagram_sent"], served["datagram_received"] = true, true
	for object, spec := range objects(t) {
		for name := range spec.Programs {
			assert.True(t, served[name], "%s of %s is used by no hook", name, object)
		}
	}
}

func TestNoiseIsFoundByNameWhateverItsNumber(t *testing.T) {
	n := newNoise(map[uint32]string{
		1: "SKB_DROP_REASON_NOT_SPECIFIED", 2: "SKB_DROP_REASON_NO_SOCKET", 70: "SKB_DROP_REASON_TCP_OLD_DATA",
	}, func(name string) (uint64, uint64, bool) { return 0x1000, 0x100, name == "tcp_v4_rcv" })
	assert.EqualValues(t, 1, n.notSpecified)
	assert.EqualValues(t, 2, n.noSocket)
	assert.Equal(t, uint64(1)<<(70-64), n.reasons[1])
	assert.Zero(t, n.reasons[0])
	assert.EqualValues(t, 1, n.count)
	assert.EqualValues(t, 0x1100, n.end[0])
	assert.Equal(t, noiseAlways, n.kind[0], "a kernel with reasons has one for a refused SYN")
}

func TestWithoutReasonsARefusedSYNIsNoNoise(t *testing.T) {
	n := newNoise(nil, func(name string) (uint64, uint64, bool) { return 0x1000, 0x100, name == "tcp_v4_rcv" })
	assert.Equal(t, noiseUnlessSYN, n.kind[0])
}

func TestTheTableOfNoiseFitsTheKernelHalf(t *testing.T) {
	assert.LessOrEqual(t, len(noiseFunctions), maxNoise)
}

func TestAZeroRateReportsNothingAndAFractionOneAtATime(t *testing.T) {
	constants := map[string]any{}
	Config{Drops: Events{PerSecond: 0}, Resets: Events{PerSecond: 0.5}, Retransmits: Events{PerSecond: 50}}.addLimits(constants)
	interval := constants["limit_interval_ns"].([wire.RecordKindMax]uint64)
	burst := constants["limit_burst_ns"].([wire.RecordKindMax]uint64)
	assert.Zero(t, interval[wire.RecordDrop])
	assert.EqualValues(t, 2e9, interval[wire.RecordReset])
	assert.EqualValues(t, 2e9, burst[wire.RecordReset])
	assert.EqualValues(t, 50, burst[wire.RecordRetransmit]/interval[wire.RecordRetransmit])
}
