//go:build linux && (amd64 || arm64)

package kerneltest

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

// nodeServer speaks HTTP/1 or HTTP/2 and writes down each request before it answers.
const nodeServer = `
const fs = require('fs');
const [version, address, port, log] = process.argv.slice(1);
const out = fs.openSync(log, 'a');
const big = Buffer.alloc(20000, 'x');
function handle(req, res) {
	const path = req.url.split('?')[0];
	const status = {missing: 404, nothing: 204, broken: 500}[path.split('/')[1]] || 200;
	fs.writeSync(out, [req.socket.remotePort, req.method, path, status].join(' ') + '\n');
	const answer = () => {
		res.statusCode = status;
		if (path.startsWith('/chunks')) {
			for (let i = 0; i < 5; i++) res.write('a chunk of it\n');
			setImmediate(() => res.end('the last one\n'));
		} else if (path.startsWith('/file')) {
			if (version == '1') res.setHeader('content-length', big.length); // with which curl does not wait for the end
			res.end(big);
		} else {
			res.end(status == 204 ? undefined : 'hello\n');
		}
	};
	if (req.method == 'POST') { req.on('end', answer); req.resume(); }
	else if (path.startsWith('/later')) setTimeout(answer, 3);
	else {
		if (path.startsWith('/hints')) res.writeEarlyHints({link: '</a>; rel=preload'});
		answer();
	}
}
const server = version == '2' ? require('http2').createServer(handle) : require('http').createServer(handle);
server.listen(Number(port), address, () => fs.writeFileSync(log + '.ready', ''));
`

// node is a web server that keeps a log of every request, as nginx.
type node struct {
	t   *testing.T
	at  netip.AddrPort
	log string
}

// needNode skips the test where there is no Node.js, also in the lab: it is taken there if this machine has it.
func needNode(t *testing.T, others ...string) {
	t.Helper()
	need(t, others...)
	if _, err := exec.LookPath("node"); err != nil {
		t.Skip("Node.js is not installed, or not for this architecture")
	}
}

func startNode(t *testing.T, n *namespace, at netip.AddrPort, version string) *node {
	t.Helper()
	needNode(t)
	s := &node{t: t, at: at, log: filepath.Join(t.TempDir(), "log")}
	command := exec.Command("node", "-e", nodeServer, version, at.Addr().String(), fmt.Sprint(at.Port()), s.log)
	command.Stderr = os.Stderr
	require.NoError(t, n.start(command))
	t.Cleanup(func() {
		require.NoError(t, command.Process.Kill())
		_ = command.Wait()
	})
	eventually(t, "node listens", func() bool {
		_, err := os.Stat(s.log + ".ready")
		return err == nil
	})
	return s
}

func (s *node) calls() map[call]int {
	s.t.Helper()
	calls := map[call]int{}
	for line := range strings.Lines(readLog(s.t, s.log)) {
		part := strings.Fields(line)
		require.Len(s.t, part, 4, line)
		calls[call{part[0], part[1], part[2], part[3]}]++
	}
	return calls
}

func (s *node) url(path string) string { return "http://" + s.at.String() + path }

// catchUp returns when the server has read whatever came before: it takes what is readable in turn.
func (s *node) catchUp(from *namespace) {
	s.t.Helper()
	from.run("curl", "-sS", s.url("/last"))
}

var nodePaths = []string{"/a", "/b?secret=1", "/missing/c", "/nothing/d", "/broken/e", "/file/f", "/chunks/g", "/later/h", "/hints/i"}

func (s *node) urls() (urls []string) {
	for _, path := range nodePaths {
		urls = append(urls, s.url(path))
	}
	return urls
}

// errands asks by curl for one of each kind, on one connection as far as curl can.
func (s *node) errands(from *namespace) {
	s.t.Helper()
	for _, more := range nodeErrands {
		from.run("curl", append(append([]string{"-sS"}, more...), s.urls()...)...)
	}
}

// errandsHTTP2 does it with a connection each: curl 7.88 stumbles over its own second request.
func (s *node) errandsHTTP2(from *namespace) {
	s.t.Helper()
	for i, url := range s.urls() {
		from.run("curl", append([]string{"-sS", "--http2-prior-knowledge", url}, nodeErrands[i%len(nodeErrands)]...)...)
	}
}

var nodeErrands = [][]string{{}, {"-X", "DELETE"}, {"-I"}, {"--data-binary", strings.Repeat("x", 30000)}}

func TestEachRequestOfANodeServerIsOneClientAndOneServerSpan(t *testing.T) {
	needNode(t, "h2load", "curl")
	n := newNetwork(t)
	server := startNode(t, n.server, n.server.at4(8080), "1")
	o := observe(t, n.settings())
	server.errands(n.client)
	n.client.run("h2load", append([]string{"--h1", "-n", fmt.Sprint(scaled(3000)), "-c", "20"}, server.urls()...)...)
	o.stop()
	requireSpansOf(t, o, server.calls())
}

func TestEachHTTP2RequestOfANodeServerIsOneClientAndOneServerSpan(t *testing.T) {
	needNode(t, "h2load", "curl")
	for _, streams := range atATime {
		t.Run(fmt.Sprint(streams), func(t *testing.T) {
			n := newNetwork(t)
			server := startNode(t, n.server, n.server.at4(8080), "2")
			o := observe(t, n.settings())
			server.errandsHTTP2(n.client)
			n.client.run("h2load", append([]string{"-n", fmt.Sprint(scaled(3000)), "-c", "4", "-m", fmt.Sprint(streams)}, server.urls()...)...)
			o.stop()
			requireJoined(t, o, server.calls())
		})
	}
}

// wrk hangs up at the end of its time, whatever it still waits for.
func TestEachRequestOfWrkIsToldAndThoseItHangsUpOnAreSaidToBe(t *testing.T) {
	needNode(t, "wrk")
	const connections = 10
	n := newNetwork(t)
	server := startNode(t, n.server, n.server.at4(8080), "1")
	o := observe(t, n.settings())
	n.client.run("wrk", "-d", "1", "-c", strconv.Itoa(connections), "-t", "2", server.url("/a"))
	server.catchUp(n.client)
	o.stop()

	log := server.calls()
	requests := 0
	for _, times := range log {
		requests += times
	}
	require.Greater(t, requests, connections)
	for kind, port := range map[ptrace.SpanKind]string{ptrace.SpanKindServer: "client.port", ptrace.SpanKindClient: "network.local.port"} {
		told, unanswered := map[call]int{}, 0
		for _, span := range o.spans(kind) {
			a := span.Attributes()
			status := text(a, "http.response.status_code")
			if status == "" {
				// On some taps a send is told of after the reset that came meanwhile.
				require.NotEmpty(t, text(a, "error.type")+text(a, "ebpfnet.capture"), "%v", kind)
				unanswered++
				status = "200"
			}
			told[call{text(a, port), text(a, "http.request.method"), text(a, "url.path"), status}]++
		}
		// Of an answer that was left out it is not known either to which of two calls the next one belongs.
		require.LessOrEqual(t, unanswered, connections+2*int(o.skipped()), "%v", kind)
		for of, times := range told {
			require.Contains(t, log, of, "%v", kind)
			// A request may have been sent that the server never read.
			most := log[of]
			if kind == ptrace.SpanKindClient {
				most++
			}
			require.LessOrEqual(t, times, most, "%v %v", kind, of)
		}
		short := 0 // connections, each with its port: a hole may take what follows up to the end
		for of, times := range log {
			if told[of] < times {
				short++
			}
		}
		require.LessOrEqual(t, short, int(o.skipped()), "%v", kind)
		t.Logf("%v: %d requests in the log, %d without an answer", kind, requests, unanswered)
	}
}
