package engine

import (
	"context"
	"net/netip"
	"time"

	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/ebpfnet/ebpfnetreceiver/internal/l7"
	"github.com/ebpfnet/ebpfnetreceiver/internal/otlp"
	"github.com/ebpfnet/ebpfnetreceiver/internal/probe"
)

// Config is everything that the engine needs to know, validated by its caller.
type Config struct {
	Probe  probe.Config
	L7     l7.Options
	OTLP   otlp.Options
	Trace  Trace
	DNS    DNS
	Record string // path of the recording to write; empty: none
	Replay string // path of the recording to read instead of the kernel; empty: the kernel
}

// DNS says what becomes of lookups.
type DNS struct {
	Timeout   time.Duration // after which a lookup has failed; 0: 5 s
	PerSecond float64       // how many failed lookups become log records at most; 0: none
}

// Trace says which calls become spans and whose child each is.
type Trace struct {
	// Ratio of calls that become spans, 0 to 1. Chosen by trace id, so that both ends of a call and all
	// that belongs to its trace fare alike.
	Ratio float64
	// PerSecond is how many calls become spans at most, those that are kept included; 0: none.
	PerSecond float64
	// KeepErrors makes spans of calls that failed, whatever Ratio says: see failed.
	KeepErrors bool
	// KeepSlowerThan makes spans of calls that took longer, whatever Ratio says; 0: of none.
	KeepSlowerThan time.Duration
	// JoinNetworks are where a peer's client span can be expected to exist: a server span names the
	// derived client span as its parent only for clients from there.
	JoinNetworks []netip.Prefix
}

// Sink takes what the engine made. A signal that nobody wants is nil there and is not built. The engine
// calls each function from one goroutine, the three at the same time.
type Sink struct {
	Metrics func(context.Context, pmetric.Metrics) error
	Logs    func(context.Context, plog.Logs) error
	Traces  func(context.Context, ptrace.Traces) error
}
