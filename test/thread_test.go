//go:build linux && (amd64 || arm64)

package kerneltest

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"golang.org/x/sys/unix"
)

// front serves connections with a thread each, which waits for requests in calls that block and asks the backend
// before it answers.
type front struct {
	listener int
	backend  netip.AddrPort
}

func socketAddress(at netip.AddrPort) (int, unix.Sockaddr) {
	if at.Addr().Is4() {
		return unix.AF_INET, &unix.SockaddrInet4{Port: int(at.Port()), Addr: at.Addr().As4()}
	}
	return unix.AF_INET6, &unix.SockaddrInet6{Port: int(at.Port()), Addr: at.Addr().As16()}
}

func startFront(t *testing.T, n *namespace, at, backend netip.AddrPort, connections int) {
	t.Helper()
	f := &front{backend: backend}
	n.do(func() {
		family, address := socketAddress(at)
		var err error
		f.listener, err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		assert.NoError(t, err)
		assert.NoError(t, unix.Bind(f.listener, address))
		assert.NoError(t, unix.Listen(f.listener, 64))
	})
	require.False(t, t.Failed())
	var serving sync.WaitGroup
	for range connections {
		serving.Go(func() { n.do(func() { assert.NoError(t, f.serve()) }) })
	}
	t.Cleanup(func() {
		serving.Wait()
		assert.NoError(t, unix.Close(f.listener))
	})
}

// serve serves one connection to its end.
func (f *front) serve() error {
	runtime.LockOSThread()
	conn, _, err := unix.Accept4(f.listener, unix.SOCK_CLOEXEC)
	if err != nil {
		return err
	}
	defer unix.Close(conn)
	family, address := socketAddress(f.backend)
	back, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(back)
	if err := unix.Connect(back, address); err != nil {
		return err
	}
	buffer := make([]byte, 4096)
	for {
		length, err := unix.Read(conn, buffer)
		if err != nil || length == 0 {
			return err
		}
		target := bytes.Fields(buffer[:length])[1]
		if _, err := fmt.Fprintf(descriptor(back), "GET /back%s HTTP/1.1\r\nHost: back.test\r\n\r\n", target); err != nil {
			return err
		}
		for answer := ""; !strings.HasSuffix(answer, "\r\n\r\nhello\n"); {
			length, err := unix.Read(back, buffer)
			if err != nil || length == 0 {
				return fmt.Errorf("backend: %w after %q", err, answer)
			}
			answer += string(buffer[:length])
		}
		if _, err := io.WriteString(descriptor(conn), "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"); err != nil {
			return err
		}
	}
}

type descriptor int

func (d descriptor) Write(data []byte) (int, error) { return unix.Write(int(d), data) }

// askFront sends requests on several connections at once; some carry a trace.
func askFront(t *testing.T, n *network, at netip.AddrPort, connections, each int) {
	t.Helper()
	var busy sync.WaitGroup
	for c := range connections {
		conn := n.client.dial(at)
		busy.Go(func() {
			defer conn.Close()
			browser := browse(conn)
			for i := range each {
				number := c*each + i
				request := request(t, number)
				status, err := browser.ask(http.MethodGet, fmt.Sprintf("/%d", number), "", "traceparent: "+request.Header.Get("traceparent"))
				assert.NoError(t, err)
				assert.Equal(t, http.StatusOK, status)
			}
		})
	}
	busy.Wait()
	require.False(t, t.Failed())
}

func byPath(spans []ptrace.Span) map[string]ptrace.Span {
	by := map[string]ptrace.Span{}
	for _, span := range spans {
		by[text(span.Attributes(), "url.path")] = span
	}
	return by
}

func TestWhatAThreadAsksWhileItServesIsForWhatItServes(t *testing.T) {
	connections, each := 6, scaled(60)
	for name, watched := range map[string]bool{"backend watched": true, "backend not watched": false} {
		t.Run(name, func(t *testing.T) {
			withEachTap(t, func(t *testing.T, avoid []string) {
				n := newNetwork(t)
				at := n.client.at4(9000)
				if !watched {
					at = n.client.at6(9000)
				}
				startNginx(t, n.client, at)
				config := n.settings()
				config.Probe.AvoidHooks = avoid
				config.Trace.JoinNetworks = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
				o := observe(t, config)
				requireTap(t, o, avoid)
				startFront(t, n.server, n.server.at4(8000), at, connections)
				askFront(t, n, n.server.at4(8000), connections, each)
				o.stop()

				made, served := byPath(o.spans(ptrace.SpanKindClient)), byPath(o.spans(ptrace.SpanKindServer))
				found, unseen := 0, 0
				for i := range connections * each {
					back, told := made[fmt.Sprintf("/back/%d", i)]
					front, toldToo := served[fmt.Sprintf("/%d", i)]
					if !told || !toldToo {
						require.NotZero(t, o.skipped())
						continue
					}
					if o.skipped() > 0 && back.Links().Len() == 0 && back.TraceID() != front.TraceID() {
						continue
					}
					found++
					if !watched {
						require.Equal(t, front.TraceID(), back.TraceID())
						require.Equal(t, front.SpanID(), back.ParentSpanID())
						require.Zero(t, back.Links().Len())
						continue
					}
					require.Equal(t, 1, back.Links().Len())
					require.Equal(t, front.TraceID(), back.Links().At(0).TraceID())
					require.Equal(t, front.SpanID(), back.Links().At(0).SpanID())
					end, told := served[fmt.Sprintf("/back/%d", i)]
					if !told {
						unseen++
						continue
					}
					require.Equal(t, back.TraceID(), end.TraceID())
					require.Equal(t, back.SpanID(), end.ParentSpanID())
				}
				require.NotZero(t, found)
				require.LessOrEqual(t, unseen, int(o.skipped())*each, "a hole may take what follows on its connection")
			})
		})
	}
}

// The Go runtime's threads work for whoever is next.
func TestNothingIsSaidOfWhomAThreadServesThatServesMany(t *testing.T) {
	n := newNetwork(t)
	backend := startNginx(t, n.client, n.client.at4(9000))
	var dial sync.Mutex
	startGoServer(t, n.server, n.server.at4(8000), http.HandlerFunc(func(out http.ResponseWriter, in *http.Request) {
		dial.Lock() // one connection at a time is enough
		defer dial.Unlock()
		conn := n.server.dial(backend.at)
		defer conn.Close()
		_, err := browse(conn).ask(http.MethodGet, "/back"+in.URL.Path, "")
		assert.NoError(t, err)
	}), 1)
	o := observe(t, n.settings())
	askFront(t, n, n.server.at4(8000), 3, 20)
	o.stop()
	for path, span := range byPath(o.spans(ptrace.SpanKindClient)) {
		if strings.HasPrefix(path, "/back/") {
			require.Zero(t, span.Links().Len(), path)
			require.True(t, span.ParentSpanID().IsEmpty(), path)
		}
	}
}
