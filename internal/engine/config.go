package engine

import (
	"context"

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
	Record string // path of the recording to write; empty: none
	Replay string // path of the recording to read instead of the kernel; empty: the kernel
}

// Sink takes what the engine made. A signal that nobody wants is nil there and is not built.
type Sink struct {
	Metrics func(context.Context, pmetric.Metrics) error
	Logs    func(context.Context, plog.Logs) error
	Traces  func(context.Context, ptrace.Traces) error
}
