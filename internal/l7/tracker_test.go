package l7

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestConversations(t *testing.T) {
	for _, conversation := range slices.Concat(sequential, pipelined, interleaved) {
		t.Run(conversation.name, func(t *testing.T) {
			all := records(conversation.turns)
			for _, end := range ends(all) {
				calls, _ := end.see(t, all)
				require.Equal(t, conversation.want, briefs(calls))
				for _, call := range calls {
					require.Equal(t, !end.client, call.Server)
					require.Equal(t, end.id, call.ConnID)
				}
			}
		})
	}
}

func TestConversationsOfWhichTheOriginIsNotKnown(t *testing.T) {
	for _, conversation := range sequential {
		t.Run(conversation.name, func(t *testing.T) {
			all := records(conversation.turns)
			calls, _ := observer{id: 3}.see(t, all)
			require.Equal(t, conversation.want, briefs(calls))
		})
	}
}

func TestConversationsByteByByte(t *testing.T) {
	for _, conversation := range slices.Concat(sequential, pipelined, interleaved) {
		t.Run(conversation.name, func(t *testing.T) {
			all := records(conversation.turns)
			for _, end := range ends(all) {
				calls, _ := end.see(t, bytewise(all))
				require.Equal(t, conversation.want, briefs(calls))
			}
		})
	}
}

func TestEveryRecordSplitAtEveryByte(t *testing.T) {
	for _, conversation := range slices.Concat(sequential, pipelined, interleaved) {
		t.Run(conversation.name, func(t *testing.T) {
			all := records(conversation.turns)
			for i := range all {
				for at := 1; at < len(all[i].data); at++ {
					for _, end := range ends(all) {
						calls, _ := end.see(t, split(all, i, at))
						require.Equal(t, conversation.want, briefs(calls), "record %d split at %d", i, at)
					}
				}
			}
		})
	}
}

func TestMessagesThatMayBeReadInTwoWays(t *testing.T) { malformed(t, smuggling) }

// malformed: the calls are told as far as they are certain, and the rest is given up for its form.
func malformed(t *testing.T, conversations []conversation) {
	t.Helper()
	for _, conversation := range conversations {
		t.Run(conversation.name, func(t *testing.T) {
			whole := records(conversation.turns)
			for _, end := range ends(whole) {
				for _, all := range [][]record{whole, bytewise(whole)} {
					calls, stats := end.see(t, all)
					require.Equal(t, conversation.want, briefs(calls))
					require.NotZero(t, stats.GivenUp[Malformed])
				}
			}
		})
	}
}

func TestTimesAreThoseOfTheRecordsWithTheBytes(t *testing.T) {
	turns := []turn{">GE", ">T / HTTP/1.1\r\n", ">Content-Length: 2\r\n\r\na", ">b", "<HTTP/1.1 100 C\r\n\r\n",
		"<HT", "<TP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na", "<b", get, ok}
	all := records(turns)
	for _, end := range ends(all) {
		calls, _ := end.see(t, all)
		require.Len(t, calls, 2)
		first, second := calls[0], calls[1]
		require.EqualValues(t, []uint64{1000, 6000, 8000}, []uint64{first.StartNs, first.ResponseStartNs, first.EndNs})
		require.EqualValues(t, []uint64{9000, 10000, 10000}, []uint64{second.StartNs, second.ResponseStartNs, second.EndNs})
		require.EqualValues(t, requestOrigin, first.RequestSequence)
		secondSequence := requestOrigin
		secondSequence += uint32(len("GET / HTTP/1.1\r\nContent-Length: 2\r\n\r\nab"))
		require.EqualValues(t, secondSequence, second.RequestSequence)
		require.True(t, first.SequenceKnown)
		require.EqualValues(t, 7, first.TGID)
	}
}

func TestDuplicatesAndSwappedNeighboursChangeNothing(t *testing.T) {
	for _, conversation := range slices.Concat(sequential, pipelined, interleaved) {
		t.Run(conversation.name, func(t *testing.T) {
			whole := records(conversation.turns)
			for i := range whole {
				all := split(whole, i, len(whole[i].data)/2)
				twice := slices.Insert(slices.Clone(all), i+1, all[i])
				swapped := slices.Clone(all)
				swapped[i], swapped[i+1] = swapped[i+1], swapped[i]
				overlap := slices.Clone(all)
				overlap[i] = whole[i]
				for _, end := range ends(whole) {
					for name, all := range map[string][]record{"twice": twice, "swapped": swapped, "overlap": overlap} {
						calls, _ := end.see(t, all)
						require.Equal(t, conversation.want, briefs(calls), "record %d %s", i, name)
					}
				}
			}
		})
	}
}

func TestDirectionsHandedOverInTheWrongOrder(t *testing.T) {
	for _, conversation := range sequential {
		t.Run(conversation.name, func(t *testing.T) {
			whole := records(conversation.turns)
			for i := range len(whole) - 1 {
				if whole[i].server == whole[i+1].server {
					continue
				}
				all := slices.Clone(whole)
				all[i], all[i+1] = all[i+1], all[i]
				for _, end := range append(ends(whole), observer{id: 3}) {
					calls, _ := end.see(t, all)
					require.Equal(t, conversation.want, briefs(calls), "record %d and the next", i)
				}
			}
		})
	}
}

func TestFields(t *testing.T) {
	all := records([]turn{">GET / HTTP/1.1\r\nhOST: example.com:80\r\nUser-Agent:  curl/8 \r\nTraceparent: 00-a-b-01\r\n" +
		"tracestate: a=1\r\nTracestate: b=2\r\nX-B3-TraceId: t\r\nx-b3-spanid: s\r\nX-B3-Sampled: true\r\nX-Id: \t7\r\nCookie: secret\r\n\r\n",
		"<HTTP/1.1 200 OK\r\nX-Id: 8\r\nContent-Length: 0\r\nSet-Cookie: secret\r\n\r\n"})
	end := ends(all)[0]
	end.options.Headers = []string{"x-id"}
	calls, _ := end.see(t, all)
	require.Len(t, calls, 1)
	c := calls[0]
	require.Equal(t, []string{"example.com:80", "curl/8", "00-a-b-01", "a=1,b=2", "t-s-1", "1.1"},
		[]string{c.Authority, c.UserAgent, c.Traceparent, c.Tracestate, c.B3, c.ProtocolVersion})
	require.Equal(t, []Header{{"x-id", "7", false}, {"x-id", "8", true}}, c.Headers)
	require.NotContains(t, fmt.Sprint(c), "secret")
}

func TestOfTwoValuesNeitherIsCertain(t *testing.T) {
	all := records([]turn{">GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\nTraceparent: 1\r\nTraceparent: 2\r\n\r\n", ok})
	calls, _ := ends(all)[0].see(t, all)
	require.Len(t, calls, 1)
	require.Empty(t, calls[0].Authority)
	require.Empty(t, calls[0].Traceparent)
}

func TestARequestThatIsNeverAnswered(t *testing.T) {
	all := records([]turn{get})
	end := ends(all)[0]
	end.close = "ECONNRESET"
	calls, _ := end.see(t, all)
	require.Equal(t, []string{"GET /a?b=c 0 0/-1 ECONNRESET"}, briefs(calls))
	require.EqualValues(t, 6000, calls[0].EndNs)
}

func TestHTTP2IsRecognised(t *testing.T) {
	all := records([]turn{">PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00", "<\x00\x00\x00\x04\x00"})
	for _, end := range ends(all) {
		for _, all := range [][]record{all, bytewise(all)} {
			calls, stats := end.see(t, all)
			require.Empty(t, calls)
			require.EqualValues(t, 1, stats.HTTP2)
		}
	}
}

func TestOtherProtocolsAreLeftAlone(t *testing.T) {
	for name, turns := range map[string][]turn{
		"TLS":       {">\x16\x03\x01\x02\x00\x01", "<\x16\x03\x03", ">\x14", "<\x14", ">\x17abc"},
		"Redis":     {">*1\r\n$4\r\nPING\r\n", "<+PONG\r\n", ">GET key\r\n", "<$1\r\n1\r\n", ">GET key\r\n", "<$1\r\n1\r\n"},
		"SMTP":      {"<220 x ESMTP\r\n", ">EHLO x\r\n", "<250 x\r\n", ">MAIL FROM:<a@b>\r\n", "<250 ok\r\n"},
		"memcached": {">get a\r\n", "<END\r\n", ">get a\r\n", "<END\r\n"},
		"RTSP":      {">PLAY rtsp://x RTSP/1.0\r\n\r\n", "<RTSP/1.0 200 OK\r\n\r\n", ">PLAY rtsp://x RTSP/1.0\r\n\r\n", "<RTSP/1.0 200 OK\r\n\r\n"},
		"MySQL":     {"<J\x00\x00\x00\x0a5.7.1\x00", ">\xb4\x00\x00\x01", "<\x07\x00\x00\x02", ">\x01"},
	} {
		t.Run(name, func(t *testing.T) {
			all := records(append(turns, get, ok))
			for _, end := range ends(all) {
				calls, stats := end.see(t, all)
				require.Empty(t, calls)
				require.EqualValues(t, 1, stats.Opaque)
			}
		})
	}
}

// A connection has ended, and its program reads on.
func TestWhatIsReadAfterTheEndOfAConnection(t *testing.T) {
	all := records([]turn{get, ok, get, "<HTTP/1.1 200 OK\r\nContent-Length: 30\r\n\r\nhello", "<HELLO, hello, HELLO, hell"})
	client := ends(all)[1]
	var calls []Call
	tracker := NewTracker(Options{}, func(c *Call) { calls = append(calls, clone(c)) })
	const endedNs = 4500 // before the last two records
	say := func(all []record) {
		for _, r := range all {
			tracker.Payload(client.payload(r))
		}
	}
	end := func() {
		tracker.Totals(client.id, client.totals[1], client.totals[0])
		tracker.CloseUnread(client.id, endedNs, "")
	}
	for name, test := range map[string]struct {
		read   int // of the records, after the end
		then   func()
		want   string
		closed uint64
	}{
		"all of it":                {2, func() {}, "GET /a?b=c 200 0/30", 5000},
		"nothing":                  {0, func() { tracker.Flush(endedNs + unreadNs + 1) }, "GET /a?b=c 0 0/-1 gap", 0},
		"the half":                 {1, func() { tracker.Flush(endedNs + unreadNs + 1) }, "GET /a?b=c 200 0/-1 gap", 0},
		"nothing, and no more":     {0, func() { tracker.End() }, "GET /a?b=c 0 0/-1 gap", 0},
		"the half, and no more":    {1, func() { tracker.End() }, "GET /a?b=c 200 0/-1 gap", 0},
		"nothing in time, then it": {0, func() { tracker.Flush(endedNs + unreadNs + 1); say(all[3:]) }, "GET /a?b=c 0 0/-1 gap", 0},
	} {
		t.Run(name, func(t *testing.T) {
			calls = nil
			tracker.Mark(client.id, client.origin)
			say(all[:3])
			end()
			tracker.Flush(endedNs + unreadNs)
			require.Equal(t, []string{got}, briefs(calls), "it waits")
			say(all[3 : 3+test.read])
			test.then()
			require.Equal(t, []string{got, test.want}, briefs(calls))
			require.Equal(t, test.closed, calls[1].EndNs)
			require.Zero(t, tracker.Stats().Pending)
			tracker.Close(client.id, endedNs, "")
			balanced(t, tracker)
			require.Len(t, calls, 2)
		})
	}
	t.Run("there was nothing left", func(t *testing.T) {
		calls = nil
		tracker.Mark(client.id, client.origin)
		say(all)
		end()
		require.Equal(t, []string{got, "GET /a?b=c 200 0/30"}, briefs(calls))
		tracker.Close(client.id, endedNs, "")
		balanced(t, tracker)
	})
	t.Run("it was never followed", func(t *testing.T) {
		calls = nil
		end()
		say(all)
		require.Empty(t, calls, "nobody knows where in the stream these are")
		tracker.Close(client.id, endedNs, "")
		balanced(t, tracker)
	})
}
