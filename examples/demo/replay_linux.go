package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// recordingLength keeps the recording below a megabyte.
const recordingLength = 15 * time.Second

// replay shows the recording. The collector reads it as fast as it can; it is shown at the pace at which it
// happened, or faster if it has to end earlier.
func (d *demo) replay(ctx context.Context, why string) error {
	w := &witness{}
	text, err := os.ReadFile(witnessPath())
	if err == nil {
		err = json.Unmarshal(text, w)
	}
	if err != nil {
		return fmt.Errorf("the recording: %w (run the demo from the root of the repository)", err)
	}
	if err := d.makeDir(); err != nil {
		return err
	}
	d.books.namespaces = w.Namespaces
	d.lines(d.paint(yellow, "NOT LIVE: this is a recording of an earlier run on another machine."), "  "+why, "")
	d.header("replay of "+recordingPath(), w.Setting)
	batches, log, err := d.readRecording(ctx)
	if err != nil {
		return err
	}
	d.lines("  collector  its log, until the end: "+log, "")
	d.lines(append(w.Probes, "")...)
	first, last := batches[0].at, batches[len(batches)-1].at
	speed := 1.0
	if length := last.Sub(first); d.flags.duration > 0 && length > d.flags.duration {
		speed = float64(length) / float64(d.flags.duration)
	}
	started := time.Now()
	for i, b := range batches {
		due := time.Duration(float64(b.at.Sub(first)) / speed)
		select {
		case <-ctx.Done():
			d.lines("", "Ended before the recording did: there is nothing to compare.")
			return nil
		case <-time.After(due - time.Since(started)):
		}
		d.batch(b)
		if i+1 == len(batches) || batches[i+1].at != b.at {
			d.endRound()
		}
	}
	d.end(last)
	d.report(w)
	return nil
}

// readRecording has the collector turn the recording into the three signals, in the order in which they were
// sent when it was made.
func (d *demo) readRecording(ctx context.Context) (batches []batch, log string, err error) {
	back, err := listen()
	if err != nil {
		return nil, "", err
	}
	path, err := filepath.Abs(recordingPath())
	if err != nil {
		return nil, "", err
	}
	watcher, err := startCollector(d.dir, "    replay: {path: "+path+"}", back.url, noMetrics, &d.undo)
	if err != nil {
		return nil, "", err
	}
	ended := make(chan error, 1)
	go func() {
		defer back.close()
		select {
		case <-watcher.ended:
			ended <- nil
		case <-watcher.done:
			ended <- watcher.refusal()
		case <-ctx.Done():
			ended <- ctx.Err()
		}
		watcher.stop(syscall.SIGTERM, 10*time.Second)
	}()
	for b := range back.batches {
		batches = append(batches, b)
	}
	if err := <-ended; err != nil {
		return nil, "", err
	}
	if len(batches) == 0 {
		return nil, "", fmt.Errorf("the collector made nothing of %s: %w", path, os.ErrInvalid)
	}
	slices.SortStableFunc(batches, func(a, b batch) int {
		return cmp.Or(a.at.Compare(b.at), cmp.Compare(a.order(), b.order()))
	})
	return batches, watcher.log, nil
}

// order puts metrics behind the events that they count.
func (b *batch) order() int {
	if b.metrics != nil {
		return 1
	}
	return 0
}

// keep makes the recording of this run the one that is replayed.
func (d *demo) keep(w *witness) error {
	if err := os.MkdirAll(recordingDir, 0o755); err != nil {
		return err
	}
	raw, err := os.ReadFile(d.rawRecording())
	if err != nil {
		return err
	}
	clean, err := withoutMachine(raw)
	if err != nil {
		return err
	}
	if err := os.WriteFile(recordingPath(), clean, 0o644); err != nil {
		return err
	}
	if len(w.Probes) > 0 {
		w.Probes[0] = "Probes on kernel " + string(localVersion.Find([]byte(strings.TrimPrefix(w.Probes[0], "Probes on kernel "))))
	}
	w.Differences = map[string]int64{}
	for _, c := range d.compare(w) {
		if c.difference() != 0 {
			w.Differences[c.what] = c.difference()
		}
	}
	text, err := json.MarshalIndent(w, "", "\t")
	if err != nil {
		return err
	}
	d.lines("", fmt.Sprintf("Kept in %s: %s", recordingDir, bytes(int64(len(clean)))))
	return os.WriteFile(witnessPath(), append(text, '\n'), 0o644)
}
