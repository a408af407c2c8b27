//go:build linux && (amd64 || arm64)

package kerneltest

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componentstatus"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/receiver/receivertest"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/ebpfnet/ebpfnetreceiver/receiver"
)

// What a collector says, line by line.
const (
	saysReady  = "ready"   // its probes are attached
	saysTraces = "traces " // OTLP in JSON
	saysBooks  = "books "  // runs that the kernel skipped, records that were lost
)

// collect is the role of a collector: the receiver as its factory makes it of a configuration in YAML, between the
// Collector's calls, until standard input ends.
func collect(config string) error {
	factory := receiver.NewFactory()
	cfg := factory.CreateDefaultConfig()
	read, err := confmap.NewRetrievedFromYAML([]byte(config))
	if err != nil {
		return err
	}
	conf, err := read.AsConf()
	if err != nil {
		return err
	}
	if err := conf.Unmarshal(cfg); err != nil {
		return err
	}
	if err := cfg.(interface{ Validate() error }).Validate(); err != nil {
		return err
	}
	says := &speaker{telemetry: componenttest.NewTelemetry()}
	settings := receivertest.NewNopSettings(factory.Type())
	settings.TelemetrySettings = says.telemetry.NewTelemetrySettings()
	ctx := context.Background()
	toTraces, err := consumer.NewTraces(says.traces)
	if err != nil {
		return err
	}
	toMetrics, err := consumer.NewMetrics(says.metrics)
	if err != nil {
		return err
	}
	traces, err := factory.CreateTraces(ctx, settings, cfg, toTraces)
	if err != nil {
		return err
	}
	metrics, err := factory.CreateMetrics(ctx, settings, cfg, toMetrics)
	if err != nil {
		return err
	}
	for _, signal := range []component.Component{traces, metrics} {
		if err := signal.Start(ctx, says); err != nil {
			return err
		}
	}
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		return err
	}
	for _, signal := range []component.Component{traces, metrics} {
		if err := signal.Shutdown(ctx); err != nil {
			return err
		}
	}
	return nil
}

// speaker is the Collector around the receiver.
type speaker struct {
	mu        sync.Mutex
	telemetry *componenttest.Telemetry
}

func (s *speaker) line(mark, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Println(mark + text)
}

func (s *speaker) GetExtensions() map[component.ID]component.Component { return nil }

func (s *speaker) Report(event *componentstatus.Event) {
	switch event.Status() {
	case componentstatus.StatusOK, componentstatus.StatusRecoverableError: // some of the capabilities have no hook
		s.line(saysReady, "")
	}
}

func (s *speaker) traces(_ context.Context, traces ptrace.Traces) error {
	text, err := (&ptrace.JSONMarshaler{}).MarshalTraces(traces)
	s.line(saysTraces, string(text))
	return err
}

// metrics come at the end of each collection, the last one included.
func (s *speaker) metrics(context.Context, pmetric.Metrics) error {
	skipped, err := s.sum("otelcol_ebpf_net_program_misses", "")
	if err != nil {
		return err
	}
	lost, err := s.sum("otelcol_ebpf_net_records", "lost")
	s.line(saysBooks, fmt.Sprint(skipped, " ", lost))
	return err
}

func (s *speaker) sum(name, outcome string) (sum int64, err error) {
	metric, err := s.telemetry.GetMetric(name)
	if err != nil {
		return 0, err
	}
	for _, point := range metric.Data.(metricdata.Sum[int64]).DataPoints {
		if is, _ := point.Attributes.Value("outcome"); outcome == "" || is.AsString() == outcome {
			sum += point.Value
		}
	}
	return sum, nil
}

// collector is that process, with what it has said so far where an observer has what its engine handed over.
type collector struct {
	observer
	command *exec.Cmd
	stdin   io.Closer
	said    chan struct{} // closed when it has said all
	ready   bool
	missed  uint64
	lost    uint64
	rest    []string // other lines, such as of a panic
}

// collect starts a collector in a namespace, and returns when its probes are attached.
func (n *namespace) collect(config string) *collector {
	n.t.Helper()
	c := &collector{command: child("collect", config), said: make(chan struct{})}
	c.t = n.t
	c.skips = func() uint64 {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.missed
	}
	stdin, err := c.command.StdinPipe()
	require.NoError(n.t, err)
	c.stdin = stdin
	stdout, err := c.command.StdoutPipe()
	require.NoError(n.t, err)
	c.command.Stderr = os.Stderr
	require.NoError(n.t, n.start(c.command))
	go c.listen(stdout)
	n.t.Cleanup(c.stop)
	eventually(n.t, "the collector's probes are attached", func() bool {
		select {
		case <-c.said:
			require.FailNow(n.t, "the collector ended", "%s", strings.Join(c.rest, "\n"))
		default:
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.ready
	})
	return c
}

func (c *collector) listen(stdout io.Reader) {
	defer close(c.said)
	lines := bufio.NewScanner(stdout)
	lines.Buffer(nil, 1<<30)
	for lines.Scan() {
		c.heard(lines.Text())
	}
}

func (c *collector) heard(line string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch text, isTraces := strings.CutPrefix(line, saysTraces); {
	case isTraces:
		traces, err := (&ptrace.JSONUnmarshaler{}).UnmarshalTraces([]byte(text))
		assert.NoError(c.t, err)
		c.observer.traces = append(c.observer.traces, traces)
	case line == saysReady:
		c.ready = true
	default:
		if n, _ := fmt.Sscanf(line, saysBooks+"%d %d", &c.missed, &c.lost); n != 2 {
			c.rest = append(c.rest, line)
		}
	}
}

// stop has it hand over what it still holds, and end. Idempotent.
func (c *collector) stop() {
	c.t.Helper()
	c.once.Do(func() {
		require.NoError(c.t, c.stdin.Close())
		<-c.said
		require.NoErrorf(c.t, c.command.Wait(), "%s", strings.Join(c.rest, "\n"))
		require.Empty(c.t, c.rest)
		require.Zero(c.t, c.lost, "records that the ring buffer had no room for")
	})
}
