package receiver

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/receiver"
	"go.uber.org/zap"
)

// instance runs one engine for up to three signals. Each signal's component is the instance itself, so
// Start and Shutdown are called once per signal.
//
// The first Start starts the engine: by then every signal has registered its consumer, because the
// Collector makes all components before it starts any, and starts receivers after everything else.
//
// The first Shutdown stops it, not the last: the Collector may stop the consumers of the signal that it shut
// down before it turns to the next signal, but at the first Shutdown the consumers of all signals still
// run. So the engine's last collection and whatever it still holds reach all of them.
type instance struct {
	set    receiver.Settings
	config *Config
	open   opener
	forget func()

	telemetry *telemetry
	status    status

	mu        sync.Mutex
	next      consumers
	started   bool // Start or Shutdown was called: the consumers are fixed
	startOnce sync.Once
	startErr  error
	stopOnce  sync.Once
	cancel    context.CancelFunc
	done      chan struct{}
	runErr    error // why Run ended while it was being stopped; valid when done is closed
}

func newInstance(set receiver.Settings, config *Config, open opener) (*instance, error) {
	telemetry, err := newTelemetry(set)
	if err != nil {
		return nil, fmt.Errorf("set up the receiver's own telemetry: %w", err)
	}
	return &instance{set: set, config: config, open: open, telemetry: telemetry}, nil
}

// setConsumer reports false if it is too late for another signal.
func (in *instance) setConsumer(set func(*consumers)) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.started {
		return false
	}
	set(&in.next)
	return true
}

func (in *instance) fixConsumers() consumers {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.started = true
	return in.next
}

// Start opens the engine at the first call. Later calls return what the first one returned, without another
// try: a signal that reported success while nothing runs would be a lie.
func (in *instance) Start(_ context.Context, host component.Host) error {
	in.status.add(host)
	in.startOnce.Do(func() { in.startErr = in.start() })
	return in.startErr
}

func (in *instance) start() error {
	next := in.fixConsumers()
	sink, err := newSink(in.set, next, in.telemetry)
	if err != nil {
		return err
	}
	running, err := in.open(engineConfig(in.config, in.set.BuildInfo.Version), sink, in.set.Logger)
	if err != nil {
		return err
	}
	if err := in.telemetry.observe(running.Stats); err != nil {
		// The measuring is worth more than the metrics about it.
		in.set.Logger.Warn("The receiver's metrics about itself are not available", zap.Error(err))
	}

	// Not the context of Start: that one ends when starting does.
	ctx, cancel := context.WithCancel(context.Background())
	in.cancel, in.done = cancel, make(chan struct{})
	go in.run(ctx, running)
	return nil
}

// probesInterval is how often the engine is asked, after its start, whether it knows its hooks by now.
const probesInterval = 50 * time.Millisecond

// run runs the engine and reports what becomes of it: once which hooks it has, and its end.
func (in *instance) run(ctx context.Context, running runner) {
	defer close(in.done)
	ended := make(chan error, 1)
	go func() { ended <- running.Run(ctx) }()
	ticker := time.NewTicker(probesInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			if in.reportProbes(running) {
				ticker.Stop()
			}
		case err := <-ended:
			in.ended(ctx, err)
			return
		}
	}
}

// reportProbes reports false while the engine does not know its hooks.
func (in *instance) reportProbes(running runner) bool {
	probes := running.Stats().Probes
	if len(probes) == 0 {
		return false
	}
	in.status.report(probesEvent(probes))
	return true
}

func (in *instance) ended(ctx context.Context, err error) {
	switch {
	case ctx.Err() != nil:
		in.runErr = err
	case err != nil:
		message := "The receiver stopped; nothing is measured until the Collector restarts"
		if in.config.Replay.path() != "" {
			message = "The replay stopped before the end of the recording"
		}
		in.set.Logger.Error(message, zap.Error(err))
		in.status.report(diedEvent(err))
	default:
		in.set.Logger.Info("The recording was replayed to its end", zap.String("path", in.config.Replay.path()))
	}
}

var errShutDown = errors.New("the receiver was shut down before it started")

// Shutdown stops the engine at the first call, in whatever state the instance is, and waits until its last
// data were handed on or ctx ends.
func (in *instance) Shutdown(ctx context.Context) error {
	var err error
	in.stopOnce.Do(func() {
		in.fixConsumers()
		in.forget()
		in.startOnce.Do(func() { in.startErr = errShutDown })
		err = errors.Join(in.stop(ctx), in.telemetry.stop())
	})
	return err
}

func (in *instance) stop(ctx context.Context) error {
	if in.done == nil {
		return nil
	}
	in.cancel()
	select {
	case <-in.done:
		return in.runErr
	case <-ctx.Done():
		return fmt.Errorf("the next consumers did not take the last data in time: %w", context.Cause(ctx))
	}
}
