//go:build linux && (amd64 || arm64)

package kerneltest

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

// One end has said that it is done; the other goes on.
func TestAHalfClosedConnectionGoesOn(t *testing.T) {
	const much = 700_000
	for first, second := range map[string]string{"client": "server", "server": "client"} {
		t.Run(first+" first", func(t *testing.T) {
			n := newNetwork(t)
			o := observe(t, n.settings())
			p := n.connect(n.server.listen("tcp6", n.server.at6(7700)))
			ends := map[string]*net.TCPConn{"client": p.client, "server": p.server}
			from, to := ends[second], ends[first]
			require.NoError(t, move(to, from, 1000))
			require.NoError(t, to.CloseWrite())
			_, err := from.Read(make([]byte, 1))
			require.ErrorIs(t, err, io.EOF)
			for range 3 { // the states last
				require.NoError(t, move(from, to, much))
				n.requireAgreement(o, 7700)
				assert.Equal(t, map[string]int64{"fin_wait_2": 1, "close_wait": 1}, n.stateCounts())
				eventuallyEqual(t, "the states are those that ss shows", n.stateCounts, func() map[string]int64 {
					return o.by("network.connection.state", "network.tcp.connection.count")
				})
			}
			require.NoError(t, from.Close())
			_, err = to.Read(make([]byte, 1))
			require.ErrorIs(t, err, io.EOF)
			require.NoError(t, to.Close())
			eventually(t, "the connection is closed", func() bool { return len(n.stateCounts()) == 0 })
			clientStat, serverStat := n.client.nstat(), n.server.nstat()
			o.stop()

			assert.EqualValues(t, 1000, o.transfer(first, 7700).Sent)
			assert.EqualValues(t, 1000, o.transfer(second, 7700).Received, "the end of the stream is no byte of it")
			assert.EqualValues(t, 3*much, o.transfer(second, 7700).Sent)
			assert.EqualValues(t, 3*much, o.transfer(first, 7700).Received)
			for role, reason := range map[string]string{first: "local_fin", second: "remote_fin"} {
				assert.Equal(t, map[string]int64{reason: 1}, o.by("network.tcp.close.reason", "network.tcp.connection.closed",
					"network.tcp.handshake.role", role), role)
			}
			o.requireNoDrops(nil, clientStat, serverStat)
			assert.Zero(t, o.sum("network.tcp.resets"), summary(o))
		})
	}
}

// A client that has no more questions may close its direction and still reads the answer, for which the kernel does
// not need the connection any more once the server has closed too.
func TestARequestBeforeAHalfCloseIsAnswered(t *testing.T) {
	n := newNetwork(t)
	server := startNginx(t, n.server, n.server.at4(80))
	o := observe(t, n.settings())
	const requests = 5
	var took [requests]time.Duration
	for i := range requests {
		conn := n.client.dial(server.at)
		began := time.Now()
		_, err := fmt.Fprintf(conn, "GET /file/%d HTTP/1.1\r\nHost: server.test\r\nConnection: close\r\n\r\n", i)
		require.NoError(t, err)
		require.NoError(t, conn.CloseWrite())
		eventually(t, "the kernel is through with the connection, nothing of it read", func() bool { return len(n.client.states()) == 0 })
		response, err := http.ReadResponse(bufio.NewReader(conn), nil)
		require.NoError(t, err)
		body, err := io.Copy(io.Discard, response.Body)
		require.NoError(t, err)
		require.EqualValues(t, fileSize, body)
		took[i] = time.Since(began)
		require.NoError(t, conn.Close())
	}
	eventually(t, "the log has all requests", func() bool { return server.lines() == requests })
	o.stop()
	log := server.calls()
	requireSameCalls(t, o, log, count(o.spansByCall(ptrace.SpanKindServer, "client.port")), "server spans")
	clients := o.spans(ptrace.SpanKindClient)
	o.assertAll(requests, int64(len(clients)))
	for _, span := range clients {
		a := span.Attributes()
		seen := call{text(a, "network.local.port"), text(a, "http.request.method"), text(a, "url.path"), "200"}
		assert.Equal(t, 1, log[seen], "%v", seen)
		var i int
		_, err := fmt.Sscanf(seen.path, "/file/%d", &i)
		require.NoError(t, err)
		if capture := text(a, "ebpfnet.capture"); capture != "" && o.mayForget(took[i]) {
			assert.Equal(t, "gap", capture)
			assert.Empty(t, text(a, "http.response.body.size"))
			continue
		}
		assert.Equal(t, []string{"", "200", fmt.Sprint(fileSize)},
			[]string{text(a, "ebpfnet.capture"), text(a, "http.response.status_code"), text(a, "http.response.body.size")}, "read within %v", took[i])
	}
}

// What came before a reset can be read after it.
func TestAnAnswerThatIsReadAfterAResetIsTold(t *testing.T) {
	n := newNetwork(t)
	listener := n.server.listen("tcp4", n.server.at4(8080))
	o := observe(t, n.settings())
	client := n.client.dial(n.server.at4(8080))
	server, err := listener.Accept()
	require.NoError(t, err)
	const request, answer = "GET /reset HTTP/1.1\r\nHost: server.test\r\n\r\n", "HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\n\r\nhello"
	_, err = io.WriteString(client, request)
	require.NoError(t, err)
	_, err = io.ReadFull(server, make([]byte, len(request)))
	require.NoError(t, err)
	_, err = io.WriteString(server, answer)
	require.NoError(t, err)
	eventually(t, "the answer is there", func() bool { return tcpInfo(t, client).Bytes_received == uint64(len(answer)) })
	began := time.Now()
	require.NoError(t, server.(*net.TCPConn).SetLinger(0))
	require.NoError(t, server.Close())
	eventually(t, "the reset is there", func() bool { return len(n.client.states()) == 0 })
	_, err = io.ReadFull(client, make([]byte, len(answer)))
	require.NoError(t, err)
	took := time.Since(began)
	_, err = client.Read(make([]byte, 1))
	require.ErrorIs(t, err, syscall.ECONNRESET)
	require.NoError(t, client.Close())
	o.stop()
	for _, kind := range []ptrace.SpanKind{ptrace.SpanKindServer, ptrace.SpanKindClient} {
		spans := o.spans(kind)
		o.assertAll(1, int64(len(spans)))
		for _, span := range spans {
			a := span.Attributes()
			lacking := o.skipped() > 0 || kind == ptrace.SpanKindClient && o.mayForget(took)
			if lacking && text(a, "ebpfnet.capture") != "" {
				continue
			}
			assert.Equal(t, []string{"", "404", "5"}, []string{
				text(a, "ebpfnet.capture"), text(a, "http.response.status_code"), text(a, "http.response.body.size"),
			}, "%v, read %v after the end", kind, took)
		}
	}
}

// mayForget says whether what was read so long after the end of a connection may go unseen: where state is kept by the
// socket's address it ends with the connection, and elsewhere it is asked for a second.
func (o *observer) mayForget(after time.Duration) bool {
	tap, _ := o.hook("payload")
	byAddress := olderThan(o.t, 5, 11) || strings.HasPrefix(tap, "kprobe/") || strings.HasPrefix(tap, "raw_tp/")
	return byAddress || after > time.Second || o.skipped() > 0
}

func TestAHalfClosedConnectionOlderThanTheObserverIsAdopted(t *testing.T) {
	n := newNetwork(t)
	p := n.connect(n.server.listen("tcp4", n.server.at4(7700)))
	require.NoError(t, move(p.client, p.server, 1000))
	require.NoError(t, p.client.CloseWrite())
	_, err := p.server.Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF)
	require.NoError(t, move(p.server, p.client, 5000))
	states := map[string]int64{"fin_wait_2": 1, "close_wait": 1}
	eventually(t, "the connection is half closed", func() bool { return assert.ObjectsAreEqual(states, n.stateCounts()) })
	n.requireQuiet([]pair{p})
	before := map[string]transfer{}
	for role, witness := range n.ends(7700) {
		before[role] = witness().transfer()
	}

	o := observe(t, n.settings())
	require.NoError(t, move(p.server, p.client, 70_000))
	for role, witness := range n.ends(7700) {
		eventuallyEqual(t, "the "+role+" is as ss says, less what was before",
			func() transfer { return adopted(t, witness().transfer().since(before[role])) },
			func() transfer { return adopted(t, o.transfer(role, 7700)) })
	}
	assert.Equal(t, states, o.by("network.connection.state", "network.tcp.connection.count"))
	require.NoError(t, p.server.Close())
	_, err = p.client.Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF)
	require.NoError(t, p.client.Close())
	eventually(t, "the connection is closed", func() bool { return len(n.stateCounts()) == 0 })
	o.stop()
	for role, reason := range map[string]string{"client": "local_fin", "server": "remote_fin"} {
		assert.Equal(t, map[string]int64{reason: 1}, o.by("network.tcp.close.reason", "network.tcp.connection.closed",
			"network.tcp.handshake.role", role), role)
	}
	assert.EqualValues(t, 70_000, o.transfer("server", 7700).Sent)
	assert.EqualValues(t, 70_000, o.transfer("client", 7700).Received)
	assert.Zero(t, o.transfer("server", 7700).Received, "the end of the stream came before")
}

// adopted leaves out the segments where adoption waits for a connection to be used: the first is not seen.
func adopted(t *testing.T, of transfer) transfer {
	if olderThan(t, 5, 11) {
		of.SegmentsOut, of.SegmentsIn = 0, 0
	}
	return of
}
