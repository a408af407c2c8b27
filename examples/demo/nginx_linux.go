package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// nginxConfig has all paths below the demo's own directory: %[1]s. The log's fields are what spans and metrics
// are compared with.
const nginxConfig = `daemon off;
worker_processes 1;
pid %[1]s/nginx.pid;
error_log %[1]s/nginx-error.log;
events { worker_connections 256; }
http {
	log_format compared '$request_method $uri $status $bytes_sent $request_length';
	access_log %[1]s/nginx-access.log compared;
	default_type text/plain;
%[2]s
	server {
		listen 80;
		listen [::]:80;
		server_name demo;
		root %[1]s/www;
		location = /fast { return 200 "Hello.\n"; }
		location = /slow { limit_rate 20k; }
		location = /orders { return 201 "Taken.\n"; }
		location = /broken { return 503 "Not now.\n"; }
	}
}
`

const (
	slowSize  = 30_000    // with limit_rate 20k: 1 s
	largeSize = 1_500_000 // more than the buffers of a slow reader hold
)

// nginx is a web server with nothing of the system's configuration.
type nginx struct {
	*child
	log     string
	errors  string
	version string
}

func startNginx(dir string, s side, undo *cleanup) (*nginx, error) {
	// The worker is not root: it must be able to come here.
	www := filepath.Join(dir, "www")
	if err := errors.Join(os.Chmod(dir, 0o755), os.Mkdir(www, 0o755)); err != nil {
		return nil, err
	}
	for name, size := range map[string]int{"slow": slowSize, "large": largeSize} {
		if err := os.WriteFile(filepath.Join(www, name), make([]byte, size), 0o644); err != nil {
			return nil, err
		}
	}
	build, err := output("", "nginx", "-V")
	if err != nil {
		return nil, err
	}
	var temporary strings.Builder
	for _, module := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		if !strings.Contains(build, "--without-http_"+module+"_module") {
			fmt.Fprintf(&temporary, "\t%s_temp_path %s/%s;\n", module, dir, module)
		}
	}
	config := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(config, fmt.Appendf(nil, nginxConfig, dir, temporary.String()), 0o644); err != nil {
		return nil, err
	}
	n := &nginx{log: filepath.Join(dir, "nginx-access.log"), errors: filepath.Join(dir, "nginx-error.log")}
	first, _, _ := strings.Cut(build, "\n")
	n.version = strings.TrimPrefix(first, "nginx version: ")
	arguments := []string{"-p", dir, "-c", config}
	if help, _ := output("", "nginx", "-h"); strings.Contains(help, "-e filename") {
		// Before it has read the configuration it would write to the system's log.
		arguments = append(arguments, "-e", n.errors)
	}
	if n.child, err = start(s.path, nil, "nginx", arguments...); err != nil {
		return nil, err
	}
	undo.add("nginx", func() error { n.stop(syscall.SIGQUIT, 3*time.Second); return nil })
	return n, n.await(filepath.Join(dir, "nginx.pid"))
}

// await waits for the file that nginx writes when it listens: to connect would be traffic.
func (n *nginx) await(pid string) error {
	for range 100 {
		if _, err := os.Stat(pid); err == nil {
			return nil
		}
		select {
		case <-n.done:
			return fmt.Errorf("nginx ended at once: %s", n.lastError())
		case <-time.After(50 * time.Millisecond):
		}
	}
	return errors.New("nginx does not listen after 5 s")
}

// lastError is the last line of its error log.
func (n *nginx) lastError() string {
	said, _ := os.ReadFile(n.errors)
	lines := strings.Split(strings.TrimSpace(string(said)), "\n")
	return lines[len(lines)-1]
}

// request is a line of nginx's access log.
type request struct {
	method, path string
	status       int64
}

// answered are the requests that nginx says it answered, and how many bytes it sent and read for them.
func (n *nginx) answered() (requests map[request]int64, sent, received int64, err error) {
	text, err := os.ReadFile(n.log)
	if err != nil {
		return nil, 0, 0, err
	}
	requests = map[request]int64{}
	for line := range strings.Lines(string(text)) {
		var r request
		var out, in int64
		if _, err := fmt.Sscan(line, &r.method, &r.path, &r.status, &out, &in); err != nil {
			return nil, 0, 0, fmt.Errorf("nginx's log: %q: %w", line, err)
		}
		requests[r]++
		sent, received = sent+out, received+in
	}
	return requests, sent, received, nil
}
