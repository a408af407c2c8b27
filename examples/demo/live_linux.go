package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// errRefused is why nothing live can be shown here, although nothing is missing.
var errRefused = errors.New("this machine refuses")

// live runs traffic between the collector's start and its end, so that both see the same.
func (d *demo) live(ctx, patience context.Context) error {
	if err := find("nginx", "curl", "wrk", "ip", "ss", "nstat", "nft"); err != nil {
		return err
	}
	if err := d.makeDir(); err != nil {
		return err
	}
	for _, name := range leftBehind() {
		d.lines(d.paint(yellow, "An earlier demo was killed and left something behind: ") + "ip netns del " + name)
	}
	n, err := newNetwork(&d.undo)
	if err != nil {
		return err
	}
	web, err := startNginx(d.dir, n.server, &d.undo)
	if err != nil {
		return err
	}
	back, err := listen()
	if err != nil {
		return err
	}
	w := &witness{
		Namespaces: map[int64]string{n.client.inode: "client's namespace", n.server.inode: "server's namespace"},
		Setting:    setting(n, web),
		LossWith:   n.lossWith,
	}
	d.books.namespaces = w.Namespaces
	d.header("live, "+length(d.flags.duration), w.Setting)
	settings := fmt.Sprintf("    scope: {network_namespaces: [%s, %s]}", n.client.path, n.server.path)
	if d.flags.record {
		d.flags.duration = cmp.Or(d.flags.duration, recordingLength)
		settings += fmt.Sprintf("\n    record: {path: %s}", d.rawRecording())
	}
	watcher, err := startCollector(d.dir, settings, back.url, ownMetrics(back.url), &d.undo)
	if err != nil {
		return err
	}
	if err := watcher.await(ctx); err != nil {
		return err
	}
	w.Probes = watcher.probeTable()
	d.lines("  collector  its log, until the end: "+watcher.log, "")
	d.lines(append(w.Probes, "")...)

	ended := make(chan error, 1)
	go func() {
		defer back.close()
		err := d.traffic(ctx, patience, n, web, watcher, w)
		watcher.stop(syscall.SIGTERM, 10*time.Second)
		ended <- err
	}()
	last := d.follow(back.batches)
	if err := <-ended; err != nil {
		return err
	}
	d.end(last)
	d.report(w)
	if d.flags.record {
		return d.keep(w)
	}
	return nil
}

// collectionSpread is far longer than the requests of one collection take, and far shorter than an interval.
const collectionSpread = 300 * time.Millisecond

// follow shows what comes until all has come, and says of when the last is.
func (d *demo) follow(batches <-chan batch) (last time.Time) {
	last = time.Now()
	var whole <-chan time.Time
	for {
		select {
		case b, ok := <-batches:
			if !ok {
				return last
			}
			d.batch(b)
			if b.own != nil {
				continue
			}
			last = b.at
			if b.metrics != nil {
				whole = time.After(collectionSpread)
			}
		case <-whole:
			d.endRound()
		}
	}
}

func length(duration time.Duration) string {
	if duration == 0 {
		return "until Ctrl-C"
	}
	return "for " + duration.String()
}

func setting(n *network, web *nginx) []string {
	line := func(s side, programs string) string {
		return fmt.Sprintf("%s, %s, %s: %s", s.name, s.ip4, s.ip6, programs)
	}
	return []string{
		"client     " + line(n.client, "curl, wrk, a slow reader (curl --limit-rate)"),
		"server     " + line(n.server, web.version),
		"loss       " + cmp.Or(n.loss, "none: this kernel has neither netem nor nft's numgen"),
	}
}

// header says what will be seen.
func (d *demo) header(how string, setting []string) {
	d.lines(d.paint(bold, "eBPF network receiver, demo: ")+how, "")
	for _, line := range setting {
		d.lines("  " + line)
	}
}

// traffic lets the clients run for the time asked for, and then asks the witnesses.
func (d *demo) traffic(ctx, patience context.Context, n *network, web *nginx, watcher *collector, w *witness) error {
	running, stop := context.WithCancel(ctx)
	defer stop()
	if d.flags.duration > 0 {
		running, stop = context.WithTimeout(ctx, d.flags.duration)
		defer stop()
	}
	// A client whose packets were lost again and again may take long.
	patience, hurry := context.WithCancel(patience)
	defer hurry()
	clients, err := startTraffic(running, patience, d.dir, n)
	if err != nil {
		return err
	}
	var died error
	select {
	case <-running.Done():
	case <-web.done:
		died = fmt.Errorf("nginx ended by itself: %v: %s", web.err, web.lastError())
	case <-watcher.done:
		died = fmt.Errorf("the collector ended by itself: %v: %s", watcher.err, watcher.failed)
	}
	stop()
	timer := time.AfterFunc(20*time.Second, hurry)
	defer timer.Stop()
	clients.finish()
	w.Cut = clients.cut.Load()
	if died != nil {
		return died
	}
	settle(patience, n)
	return w.ask(n, web, clients)
}

// settle waits until the last connection has closed: a FIN that was lost is sent again later.
func settle(patience context.Context, n *network) {
	for range 50 {
		open := false
		for _, s := range []side{n.client, n.server} {
			text, err := output(s.path, "ss", "-Htan", "state", "connected", "exclude", "time-wait")
			open = open || err == nil && strings.TrimSpace(text) != ""
		}
		select {
		case <-patience.Done():
			return
		case <-time.After(100 * time.Millisecond):
		}
		if !open {
			return
		}
	}
}

// ask takes down what programs and kernel say.
func (w *witness) ask(n *network, web *nginx, clients *traffic) error {
	requests, sent, received, err := web.answered()
	if err != nil {
		return err
	}
	for _, r := range slices.SortedFunc(maps.Keys(requests), func(a, b request) int {
		return cmp.Or(cmp.Compare(a.path, b.path), cmp.Compare(a.method, b.method), cmp.Compare(a.status, b.status))
	}) {
		w.Requests = append(w.Requests, requestCount{r.method, r.path, r.status, requests[r]})
	}
	w.BytesSent, w.BytesReceived = sent, received+clients.uploaded.Load()
	w.Answered, w.Failed, w.Refused = clients.answered.Load(), clients.failed.Load(), clients.refused.Load()
	for s, counters := range map[*side]*map[string]int64{&n.client: &w.Client, &n.server: &w.Server} {
		if *counters, err = kernelCounters(*s); err != nil {
			return err
		}
		lost, err := n.lost(*s)
		if err != nil {
			return err
		}
		w.Lost += lost
	}
	return nil
}

func (d *demo) rawRecording() string { return filepath.Join(d.dir, "recording") }
