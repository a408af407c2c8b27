package l7

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	xhttp2 "golang.org/x/net/http2"
)

// tap writes down what one end of a connection sends and receives, as the kernel would.
type tap struct {
	net.Conn
	of *wiretap
	id uint64
}

// wiretap is all records of the taps that it made.
type wiretap struct {
	mu   sync.Mutex
	base time.Time
	ends []*tapped
	cut  int // bytes of a call that are captured; 0: all
}

type tapped struct {
	observer
	records []record
	offsets [2]int
}

func newWiretap() *wiretap { return &wiretap{base: time.Now()} }

func (w *wiretap) wrap(c net.Conn, client bool) net.Conn {
	w.mu.Lock()
	defer w.mu.Unlock()
	end := &tapped{observer: ends(nil)[0]}
	if client {
		end.observer = ends(nil)[1]
	}
	end.id = uint64(len(w.ends))
	w.ends = append(w.ends, end)
	return &tap{Conn: c, of: w, id: end.id}
}

func (t *tap) note(data []byte, sent bool, timeNs uint64) {
	t.of.mu.Lock()
	defer t.of.mu.Unlock()
	end := t.of.ends[t.id]
	server := sent != end.client
	side := 0
	if server {
		side = 1
	}
	captured := len(data)
	if t.of.cut > 0 {
		captured = min(captured, t.of.cut)
	}
	end.records = append(end.records, record{server, end.offsets[side], string(data), captured, timeNs})
	end.offsets[side] += len(data)
	end.totals[side] += uint64(len(data))
}

func (t *tap) now() uint64 { return uint64(time.Since(t.of.base)) + 1 }

func (t *tap) Read(b []byte) (int, error) {
	n, err := t.Conn.Read(b)
	if n > 0 {
		t.note(b[:n], false, t.now())
	}
	return n, err
}

func (t *tap) Write(b []byte) (int, error) {
	before := t.now()
	n, err := t.Conn.Write(b)
	if n > 0 {
		t.note(b[:n], true, before)
	}
	return n, err
}

// see runs the records of an end through a tracker, in the order of their times, as a kernel hands them over.
func (e *tapped) see(t testing.TB) ([]Call, Stats) {
	slices.SortStableFunc(e.records, func(a, b record) int { return cmp.Compare(a.timeNs, b.timeNs) })
	return e.observer.see(t, e.records)
}

type listener struct {
	net.Listener
	of *wiretap
}

func (l listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return l.of.wrap(c, false), nil
}

// listen makes a listener and a dialer whose connections are tapped at both ends.
func (w *wiretap) listen(t testing.TB) (net.Listener, func(context.Context) (net.Conn, error)) {
	plain, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	return listener{plain, w}, func(ctx context.Context) (net.Conn, error) {
		c, err := (&net.Dialer{}).DialContext(ctx, "tcp", plain.Addr().String())
		if err != nil {
			return nil, err
		}
		return w.wrap(c, true), nil
	}
}

var unencrypted = func() *http.Protocols {
	var p http.Protocols
	p.SetUnencryptedHTTP2(true)
	return &p
}()

// errand is what the n-th request asks for, and what comes of it.
func errand(n int) (method string, sent, status, received int) {
	method = []string{"GET", "POST", "PUT", "DELETE", "FROB"}[n%5]
	if method != "GET" && method != "DELETE" {
		sent = n * 37 % 30000
	}
	status = []int{200, 404, 503, 204, 301, 200, 200}[n%7]
	if status != 204 && status != 301 {
		received = n * 53 % 40000
	}
	return method, sent, status, received
}

// converse has a client and a server of net/http speak HTTP/2, with so many requests at a time.
func converse(t testing.TB, requests, atATime int) *wiretap {
	w := newWiretap()
	l, dial := w.listen(t)
	server := &http.Server{Protocols: unencrypted, Handler: http.HandlerFunc(func(out http.ResponseWriter, in *http.Request) {
		var n int
		_, err := fmt.Sscanf(in.URL.Path, "/errand/%d", &n)
		assert.NoError(t, err)
		_, _ = io.Copy(io.Discard, in.Body)
		_, _, status, received := errand(n)
		if n%11 == 0 {
			out.Header().Set("Link", "</x>")
			out.WriteHeader(http.StatusEarlyHints)
		}
		out.Header().Set("Trailer", "X-After")
		out.WriteHeader(status)
		_, _ = out.Write(make([]byte, received))
		out.Header().Set("X-After", "done")
	})}
	go func() { _ = server.Serve(l) }()
	conn, err := dial(t.Context())
	require.NoError(t, err)
	client, err := (&xhttp2.Transport{}).NewClientConn(conn) // all on one connection
	require.NoError(t, err)
	ask := func(n int) {
		method, sent, status, received := errand(n)
		request, err := http.NewRequest(method, fmt.Sprintf("http://h%d.test/errand/%d", n%3, n), strings.NewReader(strings.Repeat("x", sent)))
		assert.NoError(t, err)
		request.Header.Set("User-Agent", fmt.Sprintf("agent/%d", n%4))
		request.Header.Set("traceparent", fmt.Sprintf("00-4bf92f3577b34da6a3ce929d%08x-00f067aa0ba902b7-01", n))
		response, err := client.RoundTrip(request)
		if !assert.NoError(t, err) {
			return
		}
		got, err := io.Copy(io.Discard, response.Body)
		assert.NoError(t, err)
		assert.EqualValues(t, received, got)
		assert.Equal(t, status, response.StatusCode)
		response.Body.Close()
	}
	var busy sync.WaitGroup
	next := make(chan int)
	for range atATime {
		busy.Go(func() {
			for n := range next {
				ask(n)
			}
		})
	}
	for n := range requests {
		next <- n
	}
	close(next)
	busy.Wait()
	assert.NoError(t, client.Close())
	_ = server.Shutdown(context.Background())
	w.mu.Lock()
	defer w.mu.Unlock()
	return w
}

// requireTruth says that what a call tells of an errand is so.
func requireTruth(t testing.TB, call *Call, whole bool) int {
	if call.Target == "" && !whole {
		return -1
	}
	n, err := strconv.Atoi(strings.TrimPrefix(call.Target, "/errand/"))
	if err != nil {
		require.NoError(t, err)
	}
	method, sent, status, received := errand(n)
	is := func(got, want any, absent bool, what string) {
		if (whole || !absent) && got != want { // testify takes its time, and this is asked often
			require.Equal(t, want, got, "%s of %+v", what, *call)
		}
	}
	is(call.Method, method, call.Method == "", "method")
	is(call.Status, status, call.Status == 0, "status")
	is(call.Authority, fmt.Sprintf("h%d.test", n%3), call.Authority == "", "authority")
	is(call.UserAgent, fmt.Sprintf("agent/%d", n%4), call.UserAgent == "", "agent")
	is(call.Traceparent, fmt.Sprintf("00-4bf92f3577b34da6a3ce929d%08x-00f067aa0ba902b7-01", n), call.Traceparent == "", "parent")
	is(call.RequestBody, int64(sent), call.RequestBody < 0, "sent")
	is(call.ResponseBody, int64(received), call.ResponseBody < 0, "received")
	is(cmp.Or(call.Scheme, "http"), "http", false, "scheme")
	is(call.StreamID%2, uint32(1), false, "stream")
	return n
}

func TestHTTP2EveryCallOfAGoClientAndServerIsTold(t *testing.T) {
	for _, atATime := range []int{1, 2, 10, 100} {
		t.Run(fmt.Sprint(atATime), func(t *testing.T) {
			const requests = 400
			var told [2]map[int]Call
			for _, end := range converse(t, requests, atATime).ends {
				calls, stats := end.see(t)
				side := 0
				if end.client {
					side = 1
				}
				if told[side] == nil {
					told[side] = map[int]Call{}
				}
				for _, call := range calls {
					n := requireTruth(t, &call, true)
					require.NotContains(t, told[side], n)
					told[side][n] = call
					require.Equal(t, Complete, call.Capture)
					require.Empty(t, call.Error)
					require.Equal(t, "2", call.ProtocolVersion)
					require.NotZero(t, call.ResponseStartNs)
					require.GreaterOrEqual(t, call.EndNs, call.ResponseStartNs)
					require.Equal(t, !end.client, call.Server)
				}
				require.Equal(t, [Reasons]uint64{}, stats.GivenUp)
				require.EqualValues(t, min(1, len(end.records)), stats.HTTP2)
			}
			require.Len(t, told[0], requests)
			require.Len(t, told[1], requests)
			for n, call := range told[0] { // both ends know the same of the request
				require.Equal(t, told[1][n].RequestSequence, call.RequestSequence)
				require.Equal(t, told[1][n].StreamID, call.StreamID)
			}
		})
	}
}
