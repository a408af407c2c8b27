package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// collectorConfig: the settings of the receiver, where to send the three signals, and the collector's own metrics.
const collectorConfig = `receivers:
  ebpf_net:
    collection_interval: 5s
%s
exporters:
  otlp_http:
    endpoint: %s
    compression: none
service:
  telemetry:
    metrics: %s
  pipelines:
    metrics: &pipeline {receivers: [ebpf_net], exporters: [otlp_http]}
    logs: *pipeline
    traces: *pipeline
`

// noMetrics: of its own.
const noMetrics = "{level: none}"

// ownMetrics is short of interval: what is counted at the end is not sent any more when the receiver has stopped.
func ownMetrics(endpoint string) string {
	return fmt.Sprintf("{level: basic, readers: [{periodic: {interval: 1000, exporter: "+
		"{otlp: {protocol: http/protobuf, endpoint: %q}}}}]}", endpoint+ownMetricsPath)
}

// collector is the built collector; its log is in a file.
type collector struct {
	*child
	log string

	mu     sync.Mutex
	probes []string // the table that it logs at its start
	inside bool     // of that table
	failed string   // the last error
	ready  chan struct{}
	ended  chan struct{} // the recording was replayed
}

// collectorBinary is where make build puts the collector.
const collectorBinary = "bin/otelcol-ebpfnet"

// built says whether there is a collector, before anything else is done.
func built() error {
	if _, err := os.Stat(collectorBinary); err != nil {
		return fmt.Errorf("not found: %s; make build, and run the demo from the root of the repository", collectorBinary)
	}
	return nil
}

func startCollector(dir, settings, endpoint, metrics string, undo *cleanup) (*collector, error) {
	config := filepath.Join(dir, "collector.yaml")
	if err := os.WriteFile(config, fmt.Appendf(nil, collectorConfig, settings, endpoint, metrics), 0o600); err != nil {
		return nil, err
	}
	c := &collector{
		log:   filepath.Join(dir, "collector.log"),
		ready: make(chan struct{}), ended: make(chan struct{}),
	}
	file, err := os.Create(c.log)
	if err != nil {
		return nil, err
	}
	reader, writer, err := os.Pipe()
	if err != nil {
		file.Close()
		return nil, err
	}
	c.child, err = start("", writer, collectorBinary, "--config", config)
	writer.Close()
	if err != nil {
		return nil, errors.Join(err, reader.Close(), file.Close())
	}
	go func() {
		defer file.Close()
		defer reader.Close()
		for lines := bufio.NewReader(reader); ; {
			line, err := lines.ReadString('\n')
			file.WriteString(line)
			c.read(strings.TrimRight(line, "\n"))
			if err != nil {
				return
			}
		}
	}()
	undo.add("the collector", func() error { c.stop(syscall.SIGTERM, 10*time.Second); return nil })
	return c, nil
}

// read takes a line of the log. Below a message of several lines the fields stand on the last.
func (c *collector) read(line string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	text, _, hasFields := strings.Cut(line, "\t{\"resource\"")
	switch {
	case strings.Contains(line, "\tProbes on kernel "):
		_, title, _ := strings.Cut(text, "Probes on kernel ")
		c.probes, c.inside = []string{"Probes on kernel " + title}, true
	case c.inside:
		c.probes = append(c.probes, text)
	}
	if hasFields {
		c.inside = false
	}
	switch {
	case strings.Contains(line, "Everything is ready."):
		close(c.ready)
	case strings.Contains(line, "The recording was replayed to its end"):
		close(c.ended)
	case strings.HasPrefix(line, "Error: "):
		c.failed = strings.TrimPrefix(line, "Error: ")
	}
}

// await waits until the collector watches. Its "ready" comes before its last programs are attached, so
// their number is watched too.
func (c *collector) await(ctx context.Context) error {
	select {
	case <-c.ready:
	case <-c.done:
		return c.refusal()
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(time.Minute):
		return errors.New("the collector is not ready after a minute, see " + c.log)
	}
	const settled, pause = 5, 100 * time.Millisecond
	for last, same := 0, 0; same < settled; same++ {
		if links := c.links(); links != last || links == 0 {
			last, same = links, 0
		}
		select {
		case <-time.After(pause):
		case <-c.done:
			return c.refusal()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// links is how many programs the collector has attached.
func (c *collector) links() (n int) {
	folder := fmt.Sprintf("/proc/%d/fdinfo", c.process.Pid)
	entries, _ := os.ReadDir(folder)
	for _, entry := range entries {
		if info, err := os.ReadFile(filepath.Join(folder, entry.Name())); err == nil && strings.Contains(string(info), "link_type:") {
			n++
		}
	}
	return n
}

func (c *collector) refusal() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failed != "" {
		return fmt.Errorf("%w: the collector did not start: %s", errRefused, c.failed)
	}
	return fmt.Errorf("%w: the collector ended at once: %v", errRefused, c.err)
}

// probeTable is what is active and why something better is not.
func (c *collector) probeTable() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.probes
}
