package main

import (
	"context"
	"encoding/json"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.uber.org/zap"

	"github.com/ebpfnet/ebpfnetreceiver/internal/engine"
	"github.com/ebpfnet/ebpfnetreceiver/internal/recording"
	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

const committed = "../../" + recordingDir

// The recording must yield the numbers that nginx, curl, wrk and the kernel gave for the same run. Where it
// did not when it was made, the difference must not grow. If the format of recordings or the kernel half has changed, make it
// anew, as root: go run ./examples/demo -record
func TestTheRecordingAgreesWithItsWitness(t *testing.T) {
	w := &witness{}
	text, err := os.ReadFile(filepath.Join(committed, "witness.json"))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, w))

	v := newView(&terminal{to: io.Discard})
	replayed, err := engine.New(engine.Config{
		Replay: filepath.Join(committed, "recording"),
		Trace: engine.Trace{Ratio: 1, PerSecond: 1000, JoinNetworks: []netip.Prefix{
			netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fc00::/7"),
		}},
	}, engine.Sink{
		Metrics: func(_ context.Context, m pmetric.Metrics) error {
			v.batch(batch{at: newestMetric(m), metrics: &m})
			return nil
		},
		Logs: func(_ context.Context, l plog.Logs) error {
			v.batch(batch{at: newestLog(l), logs: &l})
			return nil
		},
		Traces: func(_ context.Context, s ptrace.Traces) error {
			v.batch(batch{at: newestSpan(s), traces: &s})
			return nil
		},
	}, zap.NewNop())
	require.NoError(t, err)
	require.NoError(t, replayed.Run(t.Context()))
	for _, c := range v.compare(w) {
		known := w.Differences[c.what]
		assert.LessOrEqual(t, max(c.difference(), -c.difference()), max(known, -known),
			"%s: %d; %s: %d; %s", c.what, c.measured, c.who, c.said, c.note)
	}
}

type beginOnly struct {
	wire.Handler
	stop   func()
	kernel string
}

func (b *beginOnly) Begin(begin *wire.Begin) {
	b.kernel = begin.Kernel
	b.stop()
}

func kernelOf(t *testing.T, path string) string {
	reader, err := recording.Open(path)
	require.NoError(t, err)
	defer reader.Close()
	ctx, cancel := context.WithCancel(t.Context())
	b := &beginOnly{stop: cancel}
	require.NoError(t, reader.Run(ctx, b))
	return b.kernel
}

func TestTheRecordingTellsNothingOfTheMachine(t *testing.T) {
	assert.Regexp(t, `^[0-9.]+$`, kernelOf(t, filepath.Join(committed, "recording")))
}

func TestWithoutMachineChangesTheVersionAlone(t *testing.T) {
	original, err := os.ReadFile(filepath.Join(committed, "recording"))
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "recording")
	again, err := withoutMachine(original)
	require.NoError(t, err)
	assert.Equal(t, original, again, "there is nothing left to take away")
	require.NoError(t, os.WriteFile(path, again, 0o600))
	assert.NotEmpty(t, kernelOf(t, path))

	for _, length := range []int{0, 10, 30, 400} {
		_, err := withoutMachine(original[:length])
		assert.Error(t, err, "%d bytes", length)
	}
}
