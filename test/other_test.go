//go:build linux && (amd64 || arm64)

package kerneltest

import (
	"io"
	"net"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

// dialogues are what other protocols say, again and again. Some begin a call as HTTP would.
var dialogues = map[string]struct{ question, answer string }{
	"redis":           {"*2\r\n$3\r\nGET\r\n$5\r\nhello\r\n", "$5\r\nworld\r\n"},
	"redis, inline":   {"SET hello world\r\n", "+OK\r\n"}, // a method, a space, and h as of http://
	"postgresql":      {"Q\x00\x00\x00\x0dSELECT 1\x00", "T\x00\x00\x00\x21\x00\x01?column?\x00"},
	"kafka":           {"\x00\x00\x04\x08\x00\x00\x00\x03\x00\x00\x00\x2a" + string(make([]byte, 1024)), "\x00\x00\x00\x10\x00\x00\x00\x2a\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"}, // a WINDOW_UPDATE frame
	"http, then not":  {"NOTHING /of the kind\n", "yes\n"},
	"one byte a call": {"x", "y"},
}

// dialogue is a connection of two ends that talk in turn.
type dialogue struct {
	near, far net.Conn
}

func (d dialogue) turn(t *testing.T, question, answer string) {
	t.Helper()
	say := func(from, to net.Conn, what string) {
		_, err := io.WriteString(from, what)
		require.NoError(t, err)
		_, err = io.ReadFull(to, make([]byte, len(what)))
		require.NoError(t, err)
	}
	say(d.near, d.far, question)
	say(d.far, d.near, answer)
}

func converse(t *testing.T, n *network, port uint16) dialogue {
	t.Helper()
	listener := n.server.listen("tcp4", n.server.at4(port))
	accepted := make(chan net.Conn, 1)
	var accepting sync.WaitGroup
	accepting.Go(func() {
		conn, err := listener.Accept()
		assert.NoError(t, err)
		accepted <- conn
	})
	d := dialogue{near: n.client.dial(n.server.at4(port))}
	accepting.Wait()
	d.far = <-accepted
	t.Cleanup(func() { d.far.Close() })
	return d
}

func TestOtherProtocolsStopCostingAfterTheirFirstBytes(t *testing.T) {
	turns := max(scaled(1000), 300) // more than are followed
	for name, says := range dialogues {
		t.Run(name, func(t *testing.T) {
			n := newNetwork(t)
			old := converse(t, n, 7000)
			old.turn(t, says.question, says.answer)
			o := observe(t, n.settings())
			young := converse(t, n, 7001)
			for range turns {
				old.turn(t, says.question, says.answer)
				young.turn(t, says.question, says.answer)
			}
			// The tap works: a call is seen.
			server := startNginx(t, n.server, n.server.at4(80))
			runErrands(t, n.client, server, 1, 1)
			o.stop()

			seen := o.engine.Stats().Kernel.Kinds[wire.RecordPayload].Seen
			require.GreaterOrEqual(t, seen+o.skipped(), uint64(4), "that one call")
			// Both ends of both connections, each of up to 250 calls that may yet turn out to be HTTP/2.
			require.Less(t, seen, uint64(4*(250+10)), "of %d calls", 2*2*2*turns)
			t.Logf("%d records of %d calls", seen, 2*2*2*turns)
			for _, span := range append(o.spans(1), append(o.spans(2), o.spans(3)...)...) {
				require.Contains(t, []string{"/0/0", "/of"}, text(span.Attributes(), "url.path"))
			}
		})
	}
}
