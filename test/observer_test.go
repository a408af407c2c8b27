//go:build linux && (amd64 || arm64)

package kerneltest

import (
	"context"
	"math"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.uber.org/zap/zaptest"

	"github.com/ebpfnet/ebpfnetreceiver/internal/conn"
	"github.com/ebpfnet/ebpfnetreceiver/internal/engine"
	"github.com/ebpfnet/ebpfnetreceiver/internal/otlp"
	"github.com/ebpfnet/ebpfnetreceiver/internal/probe"
	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

// unlimited: where the token bucket is not what is tested, every event is to be seen.
const unlimited = 1e6

// settings watch both ends of the network with everything on.
func (n *network) settings() engine.Config {
	events := probe.Events{Enabled: true, Stack: true, PerSecond: unlimited}
	return engine.Config{
		Probe: probe.Config{
			CollectionInterval: 200 * time.Millisecond,
			FlushInterval:      50 * time.Millisecond,
			RingBytes:          scaledRing(),
			Scope:              probe.Scope{NetworkNamespaces: []string{n.client.path, n.server.path}},
			Connections:        true,
			Drops:              events,
			Resets:             events,
			Retransmits:        events,
			Payload:            probe.Payload{Enabled: true, CaptureBytes: 4096},
		},
		// One process is both ends in many tests: these tell the ends apart.
		OTLP: otlp.Options{
			Version: "test", Attributes: []string{"network.tcp.handshake.role", "server.port"},
			Limits: conn.Limits{IdleCollections: math.MaxInt}, // collections are frequent here
		},
		Trace: engine.Trace{
			Ratio: 1, PerSecond: unlimited,
			JoinNetworks: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fc00::/7")},
		},
	}
}

// scaledRing holds all of a test's records, should its reader not get to run. A virtual machine takes a second to make
// one that is four times as large.
func scaledRing() int {
	if inLab() {
		return 16 << 20
	}
	return 64 << 20
}

// readKernel reads once what each test would read anew.
var readKernel = sync.OnceValues(probe.ReadKernel)

// observer is a running engine and what it has handed over so far.
type observer struct {
	t      *testing.T
	engine *engine.Engine
	cancel context.CancelFunc
	ended  chan error
	once   sync.Once
	lossy  bool          // its ring buffer is too small, and meant to be
	skips  func() uint64 // what skipped says where there is no engine

	mu      sync.Mutex
	metrics []pmetric.Metrics
	logs    []plog.Logs
	traces  []ptrace.Traces
}

// observe starts an engine and returns when all of its probes are attached.
func observe(t *testing.T, config engine.Config) *observer {
	t.Helper()
	o := start(t, config)
	eventually(t, "a first collection", func() bool {
		select {
		case err := <-o.ended:
			require.FailNowf(t, "the engine ended", "%v", err)
		default:
		}
		return o.engine.Stats().Kernel.RingSize > 0
	})
	return o
}

func start(t *testing.T, config engine.Config) *observer {
	t.Helper()
	o := &observer{t: t, ended: make(chan error, 1)}
	var err error
	config.Probe.Kernel, err = readKernel()
	require.NoError(t, err)
	e, err := engine.New(config, o.sink(), zaptest.NewLogger(t))
	require.NoError(t, err)
	o.engine = e
	ctx, cancel := context.WithCancel(context.Background())
	o.cancel = cancel
	go func() { o.ended <- e.Run(ctx) }()
	t.Cleanup(o.stop)
	return o
}

func (o *observer) sink() engine.Sink {
	return engine.Sink{
		Metrics: func(_ context.Context, m pmetric.Metrics) error { return keep(o, &o.metrics, m) },
		Logs:    func(_ context.Context, l plog.Logs) error { return keep(o, &o.logs, l) },
		Traces:  func(_ context.Context, t ptrace.Traces) error { return keep(o, &o.traces, t) },
	}
}

func keep[T any](o *observer, to *[]T, batch T) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	*to = append(*to, batch)
	return nil
}

// stop ends the engine, which hands over what is left, and holds its books against each other. Idempotent.
func (o *observer) stop() {
	o.t.Helper()
	o.cancel()
	o.finish()
}

// finish waits for the engine's own end.
func (o *observer) finish() {
	o.t.Helper()
	o.once.Do(func() {
		require.NoError(o.t, <-o.ended)
		o.cancel()
		stats := o.engine.Stats()
		for kind, books := range stats.Kernel.Kinds {
			assert.Equalf(o.t, books.Seen, books.Submitted+books.Suppressed+books.Lost, "books of record kind %d: %+v", kind, books)
			assert.Truef(o.t, o.lossy || books.Lost == 0, "%d records of kind %d that the ring buffer had no room for", books.Lost, kind)
		}
		assert.Zero(o.t, stats.Kernel.CountsFull)
		assert.Zero(o.t, stats.Kernel.ConnsFull)
		conns := stats.Connections
		assert.Equal(o.t, conns.Seen, conns.Opened+conns.Adopted+conns.Failed+conns.Abandoned+conns.Handshaking, "%+v", conns)
		assert.Equal(o.t, conns.Opened+conns.Adopted, conns.Live+conns.Closed+conns.LostClose, "%+v", conns)
		assert.True(o.t, o.lossy || conns.LostClose <= o.skipped(), "connections whose end was not seen: %+v", conns)
		assert.Equal(o.t, stats.Spans.Calls, stats.Spans.Spans, "%+v", stats.Spans)
		for _, program := range stats.Kernel.Programs {
			if program.Misses > 0 {
				o.t.Logf("the kernel skipped %d runs of %s", program.Misses, program.Name)
			}
		}
	})
}

// skipped is how many runs of its programs the kernel left out, and has counted: it runs no program of this
// kind on a CPU where one is under way already, and where tasks can be preempted in the middle of one (7.x)
// that happens. What was not seen is missing then, but nothing may be wrong.
func (o *observer) skipped() (runs uint64) {
	if o.skips != nil {
		return o.skips()
	}
	for _, program := range o.engine.Stats().Kernel.Programs {
		runs += program.Misses
	}
	return runs
}

// assertAll: as many as there were, less at most what the kernel skipped.
func (o *observer) assertAll(want int, got int64, what ...any) {
	o.t.Helper()
	assert.LessOrEqual(o.t, got, int64(want), what...)
	assert.GreaterOrEqual(o.t, got+int64(o.skipped()), int64(want), what...)
}

// hook is the hook that serves a capability; where there is none, why.
func (o *observer) hook(capability string) (hook string, refused []wire.Refusal) {
	for _, status := range o.engine.Stats().Probes {
		if status.Capability == capability {
			return status.Hook, status.Refused
		}
	}
	return "", nil
}

// serves: does a hook serve the capability? If not, it is said why not, and the kernel is not one of the lab's, of which
// those for amd64 have a hook for everything.
func (o *observer) serves(capability string) bool {
	o.t.Helper()
	hook, refused := o.hook(capability)
	if hook == "" {
		require.NotEmpty(o.t, refused)
		require.False(o.t, inLab() && !arm64, "%v", refused)
		o.t.Logf("this kernel has no hook for %s: %v", capability, refused)
	}
	return hook != ""
}
