package receiver

import (
	"context"
	"errors"

	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.uber.org/zap"

	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

// runner is what the lifecycle needs of *engine.Engine.
type runner interface {
	Run(context.Context) error
	Stats() stats
}

// opener makes a runner that is ready to run, or fails with one error that says what is missing.
type opener func(*Config, engineSink, *zap.Logger) (runner, error)

type stats struct {
	Kernel      wire.KernelStats
	Probes      []wire.ProbeStatus
	Connections int
}

type engineSink struct {
	Metrics func(context.Context, pmetric.Metrics) error
	Logs    func(context.Context, plog.Logs) error
	Traces  func(context.Context, ptrace.Traces) error
}

func openEngine(*Config, engineSink, *zap.Logger) (runner, error) {
	return nil, errors.New("the engine is not part of this build yet")
}
