package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// traffic is the clients: a few loops that each run one real program after the other. Together some 20
// requests per second, so that two slow CPUs do not notice.
type traffic struct {
	from   side
	server side
	script string // of wrk
	body   string // a file to post

	patience context.Context
	loops    sync.WaitGroup

	// What the programs themselves say.
	answered atomic.Int64 // requests with an answer
	failed   atomic.Int64 // other requests, such as those given up after a timeout
	refused  atomic.Int64 // connections
	cut      atomic.Bool  // some were ended before they could say anything
	uploaded atomic.Int64 // bytes of bodies, which nginx does not count because it throws them away
}

// wrkScript slows wrk down, ends each thread after a fixed number of requests, so that none is left half
// done, and prints what is to be compared.
const wrkScript = `local left = 20
function delay() return 60 end
function response()
	left = left - 1
	if left == 0 then wrk.thread:stop() end
end
function done(summary)
	local e = summary.errors
	io.write(string.format("\nsummary %d %d\n", summary.requests, e.connect + e.read + e.write + e.timeout))
end
`

// startTraffic runs until ctx ends; what has begun by then is finished, unless patience ends too.
func startTraffic(ctx, patience context.Context, dir string, n *network) (*traffic, error) {
	t := &traffic{
		patience: patience,
		from:     n.client, server: n.server,
		script: filepath.Join(dir, "wrk.lua"), body: filepath.Join(dir, "order"),
	}
	if err := os.WriteFile(t.script, []byte(wrkScript), 0o644); err != nil {
		return nil, err
	}
	if err := os.WriteFile(t.body, make([]byte, 20_000), 0o644); err != nil {
		return nil, err
	}
	http4, http6 := "http://"+n.server.ip4, "http://["+n.server.ip6+"]"
	order := []string{"--data-binary", "@" + t.body, "--header", "Content-Type: application/octet-stream"}
	t.loop(ctx, 200*time.Millisecond, t.curl(http4+"/fast"), t.curl(http6+"/fast"), t.curl(http4+"/missing"),
		t.curl(http6+"/orders", order...), t.curl(http4+"/orders", order...), t.curl(http4+"/broken"))
	t.loop(ctx, 500*time.Millisecond, t.curl(http4+"/slow"))
	t.loop(ctx, 500*time.Millisecond, t.curl(http6+"/large", "--limit-rate", "400k"))
	t.loop(ctx, 1500*time.Millisecond, t.curl(http4+":81/"), t.curl(http6+":81/"))
	t.loop(ctx, time.Second, t.wrk(http4+"/fast"))
	return t, nil
}

// loop runs the clients in turn, with a pause after each.
func (t *traffic) loop(ctx context.Context, pause time.Duration, clients ...func()) {
	t.loops.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			clients[i%len(clients)]()
			select {
			case <-ctx.Done():
			case <-time.After(pause):
			}
		}
	})
}

// curlRefused is curl's exit code for a connection that could not be made.
const curlRefused = 7

// curl makes a client for one request.
func (t *traffic) curl(url string, more ...string) func() {
	arguments := append([]string{"--silent", "--globoff", "--max-time", "15", "--output", "/dev/null", "--write-out", "%{size_upload}",
		url}, more...)
	return func() {
		printed, code, err := t.run("curl", arguments...)
		uploaded, _ := strconv.ParseInt(printed, 10, 64)
		t.uploaded.Add(uploaded)
		switch {
		case err != nil:
		case code == 0:
			t.answered.Add(1)
		case code == curlRefused:
			t.refused.Add(1)
		default:
			t.failed.Add(1)
		}
	}
}

// wrk makes a client for two connections with 20 requests each.
func (t *traffic) wrk(url string) func() {
	return func() {
		printed, _, err := t.run("wrk", "--threads", "2", "--connections", "2", "--duration", "3s", "--timeout", "10s",
			"--script", t.script, url)
		_, summary, found := strings.Cut(printed, "summary ")
		if err != nil || !found {
			return
		}
		answered, failed, _ := strings.Cut(strings.TrimSpace(summary), " ")
		count := func(text string) int64 { n, _ := strconv.ParseInt(text, 10, 64); return n }
		t.answered.Add(count(answered))
		t.failed.Add(count(failed))
	}
}

// run runs a client to its end.
func (t *traffic) run(program string, arguments ...string) (printed string, code int, err error) {
	var text strings.Builder
	c, err := start(t.from.path, &text, program, arguments...)
	if err != nil {
		return "", 0, err
	}
	select {
	case <-c.done:
	case <-t.patience.Done():
		t.cut.Store(true)
		c.stop(syscall.SIGTERM, time.Second)
	}
	var status *exec.ExitError
	switch {
	case errors.As(c.err, &status) && status.Exited():
		return text.String(), status.ExitCode(), nil
	default:
		return text.String(), 0, c.err
	}
}

// finish waits for what has begun.
func (t *traffic) finish() { t.loops.Wait() }
