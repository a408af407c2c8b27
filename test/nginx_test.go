//go:build linux && (amd64 || arm64)

package kerneltest

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// nginx is a web server that keeps a log of every request.
type nginx struct {
	t   *testing.T
	at  netip.AddrPort
	log string
}

const fileSize = 20000 // more than is captured of an answer

const nginxConfig = `
daemon off;
user root;
worker_processes 2;
pid %[1]s/pid;
error_log %[1]s/error.log;
events { worker_connections 2048; }
http {
	log_format calls '$remote_port $request_method $request_uri $status $connection $msec';
	access_log %[1]s/access.log calls;
	keepalive_requests 100000;
	client_body_temp_path %[1]s/body;
	proxy_temp_path %[1]s/proxy;
	fastcgi_temp_path %[1]s/fastcgi;
	uwsgi_temp_path %[1]s/uwsgi;
	scgi_temp_path %[1]s/scgi;
	sendfile on;
	default_type text/plain;
	server {
		listen %[2]s;
		location / { return 200 "hello\n"; }
		location /missing/ { return 404 "no\n"; }
		location /nothing/ { return 204; }
		location /moved/ { return 301 /elsewhere; }
		location /broken/ { return 503 "down\n"; }
		location /file/ { root %[1]s; rewrite ^ /content break; }
	}
}
`

func startNginx(t *testing.T, n *namespace, at netip.AddrPort) *nginx {
	t.Helper()
	return startNginxListening(t, n, at.String(), at)
}

// startNginxListening starts it with a listen directive of one's own.
func startNginxListening(t *testing.T, n *namespace, listen string, at netip.AddrPort) *nginx {
	t.Helper()
	need(t, "nginx")
	dir := t.TempDir()
	s := &nginx{t: t, at: at, log: filepath.Join(dir, "access.log")}
	config := filepath.Join(dir, "nginx.conf")
	require.NoError(t, os.WriteFile(config, fmt.Appendf(nil, nginxConfig, dir, listen), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "content"), make([]byte, fileSize), 0o644))
	command := exec.Command("nginx", "-p", dir, "-c", config, "-e", filepath.Join(dir, "error.log"))
	require.NoError(t, n.start(command))
	t.Cleanup(func() {
		require.NoError(t, command.Process.Signal(os.Interrupt))
		require.NoError(t, command.Wait())
	})
	eventually(t, "nginx listens", func() bool {
		pid, err := os.ReadFile(filepath.Join(dir, "pid"))
		return err == nil && len(pid) > 0
	})
	return s
}

func (s *nginx) pidFile() string { return filepath.Join(filepath.Dir(s.log), "pid") }

// call is what both the server's log and a span say of one request.
type call struct {
	port         string // of the client
	method, path string
	status       string
}

// readLog is what a log has of whole lines: one that goes on in the file's next page may be read before it is written.
func readLog(t *testing.T, path string) string {
	t.Helper()
	log, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(log[:bytes.LastIndexByte(log, '\n')+1])
}

// calls reads the log: how often each call is there.
func (s *nginx) calls() map[call]int {
	s.t.Helper()
	calls := map[call]int{}
	for line := range strings.Lines(readLog(s.t, s.log)) {
		part := strings.Fields(line)
		require.Len(s.t, part, 6, line)
		path, _, _ := strings.Cut(part[2], "?")
		calls[call{part[0], part[1], path, part[3]}]++
	}
	return calls
}

// lines is how many requests the log has.
func (s *nginx) lines() (n int) {
	for _, times := range s.calls() {
		n += times
	}
	return n
}

// browser asks for things on one connection, one after the other.
type browser struct {
	out *bufio.Writer
	in  *bufio.Reader
}

func browse(conn io.ReadWriter) *browser {
	return &browser{out: bufio.NewWriter(conn), in: bufio.NewReader(conn)}
}

// ask sends a request and reads the whole answer.
func (b *browser) ask(method, path, body string, headers ...string) (status int, err error) {
	request, err := http.NewRequest(method, "http://server.test"+path, strings.NewReader(body))
	if err != nil {
		return 0, err
	}
	for _, header := range headers {
		name, value, _ := strings.Cut(header, ": ")
		request.Header.Set(name, value)
	}
	if err := request.Write(b.out); err != nil {
		return 0, err
	}
	if err := b.out.Flush(); err != nil {
		return 0, err
	}
	response, err := http.ReadResponse(b.in, request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	_, err = io.Copy(io.Discard, response.Body)
	return response.StatusCode, err
}
