package l7

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// server is a tracker at the server's end of some connections.
type server struct {
	*Tracker
	calls []Call
	next  map[uint64]*[2]int
}

func newServer(options Options) *server {
	s := &server{next: map[uint64]*[2]int{}}
	s.Tracker = NewTracker(options, func(c *Call) { s.calls = append(s.calls, clone(c)) })
	return s
}

// says has a turn of a connection at a time.
func (s *server) says(id, timeNs uint64, turn turn) {
	if s.next[id] == nil {
		s.next[id] = &[2]int{}
		s.Mark(id, Origin{Sequences: true, Receive: requestOrigin, Transmit: responseOrigin})
	}
	side := 0
	if turn[0] == '<' {
		side = 1
	}
	data := string(turn[1:])
	s.Payload(observer{id: id}.payload(record{side == 1, s.next[id][side], data, len(data), timeNs}))
	s.next[id][side] += len(data)
}

func TestConnectionsBeyondTheLimitAreCounted(t *testing.T) {
	s := newServer(Options{MaxConnections: 2})
	for id := range uint64(3) {
		s.says(id, 1, get)
		s.says(id, 2, ok)
	}
	require.Len(t, s.calls, 2)
	require.EqualValues(t, 2, s.Stats().GivenUp[ConnectionsFull])
	s.Close(0, 3, "")
	s.says(9, 4, get)
	s.says(9, 5, ok)
	require.Len(t, s.calls, 3)
}

func TestPipelinedRequestsBeyondTheLimitEndTheConnection(t *testing.T) {
	s := newServer(Options{MaxPending: 3})
	s.says(1, 1, turn(">"+strings.Repeat(string(get[1:]), 5)))
	s.says(1, 2, turn("<"+strings.Repeat(string(ok[1:]), 5)))
	require.Equal(t, []string{got, got, got}, briefs(s.calls))
	require.EqualValues(t, 1, s.Stats().GivenUp[PendingFull])
	require.EqualValues(t, 1, s.Stats().Opaque)
}

func TestIdleConnectionsAreForgotten(t *testing.T) {
	s := newServer(Options{})
	s.says(1, 1, get)
	s.says(2, 1, ">\x16\x03\x01")
	s.Flush(20 * 60 * 1e9)
	s.Flush(40 * 60 * 1e9)
	require.Equal(t, []string{"GET /a?b=c 0 0/-1 gap"}, briefs(s.calls))
	require.Zero(t, s.calls[0].EndNs)
	require.Zero(t, s.Stats().Connections)
}

func TestFlushEmitsWhatWasAnsweredBeforeTheRequestEnded(t *testing.T) {
	s := newServer(Options{})
	s.says(1, 1, ">POST /up HTTP/1.1\r\nContent-Length: 100\r\n\r\nabc")
	s.says(1, 2, "<HTTP/1.1 413 No\r\nContent-Length: 0\r\n\r\n")
	s.Flush(3)
	require.Empty(t, s.calls)
	s.Flush(2 * 1e9)
	require.Equal(t, []string{"POST /up 413 -1/0"}, briefs(s.calls))
	s.says(1, 3*1e9, turn(">"+strings.Repeat("x", 97)))
	s.says(1, 4*1e9, get)
	s.says(1, 4*1e9+1, ok)
	require.Equal(t, got, brief(s.calls[1]))
}

func TestFlushGivesUpWaitingForAMissingRecord(t *testing.T) {
	s := newServer(Options{})
	s.says(1, 1, get)
	s.says(1, 2, "<HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n")
	s.next[1][1] += 10 // lost
	s.says(1, 3, "<0123456789")
	require.Empty(t, s.calls)
	s.Flush(1e9)
	require.Equal(t, []string{"GET /a?b=c 200 0/20"}, briefs(s.calls))
	require.EqualValues(t, 3, s.calls[0].EndNs)
}

func TestAHeadOfAMebibyteTakesNoMebibyte(t *testing.T) {
	s := newServer(Options{MaxBytes: 64 << 10})
	s.says(1, 1, ">GET /x HTTP/1.1\r\n")
	for i := range 1000 {
		s.says(1, 2, turn(fmt.Sprintf(">X-%d: %s\r\n", i, strings.Repeat("v", 1000))))
	}
	s.says(1, 3, turn(">X: "+strings.Repeat("v", 5000)))
	s.says(1, 3, turn(">"+strings.Repeat("v", 50000)+"\r\n\r\n"))
	require.Less(t, s.Stats().HeldBytes, 64<<10)
	s.says(1, 4, ok)
	require.Equal(t, []string{"GET /x 200 0/5"}, briefs(s.calls))
}

func TestManyConnectionsShareOneLimit(t *testing.T) {
	s := newServer(Options{MaxBytes: 32 << 10})
	for id := range uint64(1000) {
		s.says(id, 1, turn(">GET /"+strings.Repeat("x", 2000)))
		require.LessOrEqual(t, s.Stats().HeldBytes, 32<<10)
	}
	require.NotZero(t, s.Stats().GivenUp[BytesFull])
	for id := range uint64(1000) {
		s.Close(id, 2, "")
	}
	balanced(t, s.Tracker)
}

func TestAnUnmarkedConnectionIsCertainOfItsFirstCallWhenTheNextBegins(t *testing.T) {
	s := newServer(Options{})
	s.next[1] = &[2]int{}
	s.says(1, 1, get)
	s.says(1, 2, ok)
	require.Empty(t, s.calls)
	s.says(1, 3, get)
	require.Equal(t, []string{got}, briefs(s.calls))
	s.says(1, 4, ok)
	require.Len(t, s.calls, 2)
}

func TestLinesOfAMebibyte(t *testing.T) {
	mebibyte := strings.Repeat("v", 1<<20)
	for name, test := range map[string]struct {
		request, answer string
		want            string
	}{
		"a target":           {"GET /p?q=" + mebibyte + " HTTP/1.1\r\n\r\n", "HTTP/1.1 414 Too Long\r\nContent-Length: 0\r\n\r\n", "GET /p 414 0/0 truncated"},
		"a field":            {"GET /x HTTP/1.1\r\nCookie: " + mebibyte + "\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "GET /x 200 0/5"},
		"a field of answers": {"GET /x HTTP/1.1\r\n\r\n", "HTTP/1.1 200 OK\r\nSet-Cookie: " + mebibyte + "\r\nContent-Length: 5\r\n\r\nhello", "GET /x 200 0/5"},
		"a reason":           {"GET /x HTTP/1.1\r\n\r\n", "HTTP/1.1 200 " + mebibyte + "\r\nContent-Length: 5\r\n\r\nhello", "GET /x 0 0/-1 gap"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, piece := range []int{61, 1000, 1 << 16} {
				s := newServer(Options{MaxBytes: 64 << 10})
				for mark, text := range map[string]string{">": test.request} {
					for ; len(text) > piece; text = text[piece:] {
						s.says(1, 1, turn(mark+text[:piece]))
					}
					s.says(1, 1, turn(mark+text))
				}
				for text := test.answer; len(text) > 0; text = text[min(piece, len(text)):] {
					s.says(1, 2, turn("<"+text[:min(piece, len(text))]))
					require.Less(t, s.Stats().HeldBytes, 64<<10)
				}
				s.says(1, 3, get)
				s.says(1, 4, ok)
				s.Close(1, 5, "")
				require.Equal(t, []string{test.want, got}, briefs(s.calls), "in pieces of %d", piece)
				balanced(t, s.Tracker)
			}
		})
	}
}

func TestConnectionsOfOtherProtocolsDoNotUseUpTheLimit(t *testing.T) {
	s := newServer(Options{MaxConnections: 2})
	for id := range uint64(7) {
		s.Mark(100+id, Origin{}) // never says anything
		for i := range uint64(missesFresh) {
			s.says(id, i, ">\x16\x03\x01")
		}
	}
	require.EqualValues(t, 7, s.Stats().Opaque)
	require.Zero(t, len(s.active))
	s.says(8, 10, get)
	s.says(8, 11, ok)
	s.says(9, 12, get)
	require.Equal(t, []string{got}, briefs(s.calls))
	require.Zero(t, s.Stats().GivenUp[ConnectionsFull])
	require.Equal(t, 9, s.Stats().Connections)
	for id := range uint64(110) {
		s.Close(id, 20, "")
	}
	balanced(t, s.Tracker)
}

func TestOfConnectionsOfOtherProtocolsTheOldestAreForgotten(t *testing.T) {
	s := newServer(Options{MaxConnections: 1})
	for id := range uint64(100) {
		for i := range uint64(missesFresh) {
			s.says(id, i, ">\x16\x03\x01")
		}
		require.LessOrEqual(t, s.Stats().Connections, remembered)
	}
	opaque := s.Stats().Opaque
	s.says(99, 9, ">\x17")
	require.Equal(t, opaque, s.Stats().Opaque, "the newest is remembered")
	for id := range uint64(100) {
		s.Close(id, 20, "")
	}
	balanced(t, s.Tracker)
}

func TestAMarkOfWhichTheEndWasLostIsForgotten(t *testing.T) {
	s := newServer(Options{})
	s.Mark(1, Origin{})
	s.Flush(1e18)
	require.Len(t, s.marks, 1)
	s.Flush(1e18 + 20*60*1e9)
	require.Empty(t, s.marks)
}

func TestOneConnectionCannotUseUpTheMemoryOfAll(t *testing.T) {
	s := newServer(Options{MaxBytes: 1 << 20, MaxBytesPerConnection: 64 << 10, MaxPending: 10000, MaxStreams: 10000})
	hoard := func(id uint64, turns ...turn) {
		for _, turn := range turns {
			s.says(id, 1, turn)
		}
		require.LessOrEqual(t, s.Stats().HeldBytes, 64<<10)
		require.NotZero(t, s.Stats().GivenUp[BytesFull])
		s.Close(id, 2, "")
		require.Zero(t, s.Stats().HeldBytes)
	}
	var pipeline []turn
	for range 1000 {
		pipeline = append(pipeline, turn(">GET /"+strings.Repeat("x", 200)+" HTTP/1.1\r\n\r\n"))
	}
	hoard(1, pipeline...)
	f := newFrames().begin()
	for stream := range uint32(1000) {
		f.ask(2*stream+1, "/"+strings.Repeat("x", 200), true)
	}
	hoard(2, f.turns...)
	balanced(t, s.Tracker)
}
