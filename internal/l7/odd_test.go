package l7

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	xhttp2 "golang.org/x/net/http2"
)

// odd are conversations that the RFCs allow, or that peers put up with, and that few clients have.
var odd = []conversation{
	{"an answer with content to HEAD is not there, chunked or not",
		[]turn{">HEAD /h HTTP/1.1\r\nHost: x\r\n\r\n", "<HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", get, ok},
		[]string{"HEAD /h 200 0/0", got}, 0},
	{"204 and 304 that say chunked",
		[]turn{get, "<HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n", get,
			"<HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n", get, ok},
		[]string{"GET /a?b=c 204 0/0", "GET /a?b=c 304 0/0", got}, 0},
	{"205 has the content that its length says",
		[]turn{get, "<HTTP/1.1 205 Reset Content\r\nContent-Length: 2\r\n\r\nab", get, ok}, []string{"GET /a?b=c 205 0/2", got}, 0},
	{"GET and DELETE with content",
		[]turn{">GET /g HTTP/1.1\r\nContent-Length: 4\r\n\r\nPOST", ok, ">DELETE /d HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n", ok, get, ok},
		[]string{"GET /g 200 4/5", "DELETE /d 200 2/5", got}, 0},
	{"POST without content",
		[]turn{">POST /p HTTP/1.1\r\nHost: x\r\n\r\n", ok, get, ok}, []string{"POST /p 200 0/5", got}, 0},
	{"several interim answers, one after the other in one record",
		[]turn{">" + upload + "Content-Length: 1\r\nExpect: 100-Continue\r\n\r\nx",
			"<HTTP/1.1 100 Continue\r\nConnection: close\r\n\r\nHTTP/1.1 102 Processing\r\nContent-Length: 7\r\n\r\n" +
				"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 202 Accepted\r\nContent-Length: 1\r\n\r\nx", get, ok},
		[]string{"POST /up 202 1/1", got}, 0},
	{"all line ends that a server skips before a request",
		[]turn{get, ok, ">\r\n", ">\r\n\r\n\r\nGET /a?b=c HTTP/1.1\r\n\r\n\r\n", ok, get, ok}, []string{got, got, got}, 0},
	{"names in any case, values between any blanks",
		[]turn{">POST /up HTTP/1.1\r\ncOnTeNt-LeNgTh:\t \t3 \t\r\nCONNECTION:Keep-Alive\r\n\r\nabc",
			"<HTTP/1.1 200 OK\r\ntransfer-encoding:,\tCHUNKED ,\r\n\r\n1\r\na\r\n0\r\n\r\n", get, ok},
		[]string{"POST /up 200 3/1", got}, 0},
	{"sizes of chunks in any case, with zeros before",
		[]turn{get, "<HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0000000000000000000a\r\n0123456789\r\nB;x\r\n0123456789a\r\n000\r\n\r\n", get, ok},
		[]string{"GET /a?b=c 200 0/21", got}, 0},
	{"trailers that look like heads",
		[]turn{get, "<HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nContent-Length: 99\r\nTransfer-Encoding: gzip\r\nConnection: close\r\n\r\n", get, ok},
		[]string{"GET /a?b=c 200 0/1", got}, 0},
	{"a coding that is registered, as long as the connection",
		[]turn{get, "<HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nabc"}, []string{"GET /a?b=c 200 0/3"}, 0},
	{"bytes beyond ASCII in a target and in a reason",
		[]turn{">GET /ä?ö HTTP/1.1\r\n\r\n", "<HTTP/1.1 200 \xfcber\r\nContent-Length: 0\r\n\r\n", get, ok}, []string{"GET /ä?ö 200 0/0", got}, 0},
	{"a method in lower case is another method",
		[]turn{">head / HTTP/1.1\r\n\r\n", ok, ">connect x:1 HTTP/1.1\r\n\r\n", ok, get, ok}, []string{"head / 200 0/5", "connect x:1 200 0/5", got}, 0},
	{"HTTP/1.0 that ends where its answer's length says, and a client that goes on regardless",
		[]turn{">GET / HTTP/1.0\r\n\r\n", "<HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nokextra"}, []string{"GET / 200 0/2"}, 0},
	{"an answer of HTTP/1.0 to a request of 1.1 is the last",
		[]turn{get, "<HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok"}, []string{"GET /a?b=c 200 0/2"}, 0},
	{"an upgrade that is refused, with content, and one that is not asked for",
		[]turn{">GET /ws HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
			"<HTTP/1.1 426 Upgrade Required\r\nUpgrade: h2c\r\nConnection: Upgrade\r\nContent-Length: 2\r\n\r\nno", get, ok},
		[]string{"GET /ws 426 0/2", got}, 0},
	{"an interim answer before the one that changes the protocol",
		[]turn{">GET /ws HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
			"<HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x05hello", get, ok},
		[]string{"GET /ws 101 0/0"}, 2},
	{"an answer to CONNECT that opens a tunnel has no content, whatever it says",
		[]turn{">CONNECT [2001:db8::1]:443 HTTP/1.1\r\n\r\n", "<HTTP/1.1 204 OK\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n",
			">\x16\x03\x01", "<\x16\x03\x03", get, ok},
		[]string{"CONNECT [2001:db8::1]:443 204 0/0"}, 2},
	{"what was sent after CONNECT without waiting is a request once it is refused",
		[]turn{">CONNECT x:443 HTTP/1.1\r\n\r\nGET /a?b=c HTTP/1.1\r\n\r\n", turn("<HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n" + ok[1:]), get, ok},
		[]string{"CONNECT x:443 503 0/0", got, got}, 0},
	{"what was sent after CONNECT without waiting is the tunnel's once it is open",
		[]turn{">CONNECT x:443 HTTP/1.1\r\n\r\nGET /a?b=c HTTP/1.1\r\n\r\n", turn("<HTTP/1.1 200 Yes\r\n\r\n" + ok[1:])},
		[]string{"CONNECT x:443 200 0/0"}, 0},
}

// refused are messages that are malformed or that recipients read in two ways: where they end is not told.
var refused = []conversation{
	{"a coding with a parameter", []turn{get, "<HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n", get, ok}, []string{"GET /a?b=c 200 0/-1", got}, 0},
	{"a coding that is nearly chunked", []turn{get, "<HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", get, ok}, []string{"GET /a?b=c 200 0/-1", got}, 0},
	{"a coding in quotes", []turn{get, "<HTTP/1.1 200 OK\r\nTransfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n", get, ok}, []string{"GET /a?b=c 200 0/-1", got}, 0},
	{"no coding", []turn{get, "<HTTP/1.1 200 OK\r\nTransfer-Encoding:\r\n\r\nabc", get, ok}, []string{"GET /a?b=c 200 0/-1", got}, 0},
	{"chunked twice", []turn{">" + upload + "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", ok, get, ok}, []string{"POST /up 200 -1/5", got}, 0},
	{"lengths with other digits", []turn{">" + upload + "Content-Length: 0x3\r\n\r\nabc", ok, get, ok}, []string{"POST /up 200 -1/5", got}, 0},
	{"a negative length", []turn{get, "<HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n", get, ok}, []string{"GET /a?b=c 200 0/-1", got}, 0},
	{"a length of 2^64+5", []turn{get, "<HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551621\r\n\r\nhello", get, ok}, []string{"GET /a?b=c 200 0/-1", got}, 0},
	{"a chunk of 2^64+5", []turn{get, "<HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000005\r\nhello\r\n0\r\n\r\n", get, ok}, []string{"GET /a?b=c 200 0/-1", got}, 0},
	{"a chunk with a sign", []turn{get, "<HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n+5\r\nhello\r\n0\r\n\r\n", get, ok}, []string{"GET /a?b=c 200 0/-1", got}, 0},
	{"a chunk without a size", []turn{get, "<HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n;a\r\nhello\r\n0\r\n\r\n", get, ok}, []string{"GET /a?b=c 200 0/-1", got}, 0},
	{"a chunk that is longer than it says", []turn{get, "<HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhello\r\n0\r\n\r\n", get, ok}, []string{"GET /a?b=c 200 0/-1", got}, 0},
	{"a chunk's line that ends in LF", []turn{get, "<HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n", get, ok}, []string{"GET /a?b=c 200 0/-1", got}, 0},
	{"an extension with LF in quotes", []turn{get, "<HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;a=\"\n\"\r\nhello\r\n0\r\n\r\n", get, ok}, []string{"GET /a?b=c 200 0/-1", got}, 0},
	{"a trailer that is folded", []turn{get, "<HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: b\r\n c\r\n\r\n", get, ok}, []string{"GET /a?b=c 200 0/-1", got}, 0},
	{"a space before the first field", []turn{">GET /s HTTP/1.1\r\n X: y\r\nContent-Length: 3\r\n\r\nabc", ok, get, ok}, []string{"GET /s 200 -1/5", got}, 0},
	{"a field's line that ends in LF", []turn{">GET /s HTTP/1.1\r\nX: y\nContent-Length: 3\r\n\r\nabc", ok, get, ok}, []string{"GET /s 200 -1/5", got}, 0},
	{"CR in a value", []turn{">GET /s HTTP/1.1\r\nX: y\rContent-Length: 3\r\n\r\nabc", ok, get, ok}, []string{"GET /s 200 -1/5", got}, 0},
}

func TestOddConversations(t *testing.T) {
	for _, conversation := range odd {
		t.Run(conversation.name, func(t *testing.T) {
			whole := records(conversation.turns)
			for _, end := range ends(whole) {
				check := func(all []record) {
					t.Helper()
					calls, _ := end.see(t, all)
					require.Equal(t, conversation.want, briefs(calls))
				}
				check(whole)
				check(bytewise(whole))
				for i := range whole {
					for at := 1; at < len(whole[i].data); at++ {
						check(split(whole, i, at))
					}
				}
			}
		})
	}
}

func TestOddConversationsWithARecordMissing(t *testing.T) {
	damaged(t, odd, false, func(all []record, try func([]record, string, ...any)) {
		for i := range all {
			try(slices.Delete(slices.Clone(all), i, i+1), "without record %d", i)
		}
	})
}

func TestTheContentOfAMessageThatMayBeRefusedIsUnknown(t *testing.T) { malformed(t, refused) }

func TestFieldsOfAnInterimAnswerAreNotTheAnswers(t *testing.T) {
	all := records([]turn{get, "<HTTP/1.1 103 Early Hints\r\nX-Id: early\r\n\r\n", "<HTTP/1.1 200 OK\r\nX-Id: final\r\nContent-Length: 0\r\n\r\n"})
	end := ends(all)[1]
	end.options.Headers = []string{"x-id"}
	for _, all := range [][]record{all, bytewise(all)} {
		calls, _ := end.see(t, all)
		require.Len(t, calls, 1)
		require.Equal(t, []Header{{"x-id", "final", true}}, calls[0].Headers)
	}
}

func TestOfB3InTwoValuesNeitherIsCertain(t *testing.T) {
	for _, name := range []string{"X-B3-TraceId", "X-B3-SpanId", "X-B3-Sampled"} {
		fields := "X-B3-TraceId: a\r\nX-B3-SpanId: b\r\nX-B3-Sampled: 1\r\n"
		all := records([]turn{turn(">GET / HTTP/1.1\r\n" + fields + "\r\n"), ok, turn(">GET / HTTP/1.1\r\n" + fields + name + ": c\r\n\r\n"), ok})
		calls, _ := ends(all)[0].see(t, all)
		require.Len(t, calls, 2)
		require.Equal(t, []string{"a-b-1", ""}, []string{calls[0].B3, calls[1].B3})
	}
}

// A wanted field that is too long to be kept makes the call truncated; one that nobody wants does not.
func TestAFieldThatIsTooLong(t *testing.T) {
	for name, capture := range map[string]Capture{"Traceparent": Truncated, "Host": Truncated, "X-Id": Truncated, "Cookie": Complete} {
		all := records([]turn{turn(">GET / HTTP/1.1\r\n" + name + ": " + strings.Repeat("x", 20_000) + "\r\n\r\n"), ok})
		end := ends(all)[0]
		end.options.Headers = []string{"x-id"}
		for _, all := range [][]record{all, split(all, 0, 9000), split(all, 0, 200)} {
			calls, _ := end.see(t, all)
			require.Len(t, calls, 1)
			require.Equal(t, capture, calls[0].Capture, name)
			require.Empty(t, calls[0].Authority+calls[0].Traceparent)
		}
	}
}

// What a hole takes of chunked content, and what not.
func TestChunkedContentBeyondWhatIsCaptured(t *testing.T) {
	const head, chunk = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "2000\r\n"
	content := strings.Repeat("c", 0x2000)
	whole := []turn{get, turn("<" + head + chunk + content + "\r\n"), turn("<" + chunk + content + "\r\n"), "<0\r\n\r\n", get, ok}
	const complete, truncated, gap = "GET /a?b=c 200 0/16384", "GET /a?b=c 200 0/-1 truncated", "GET /a?b=c 200 0/-1 gap"
	for name, test := range map[string]struct {
		damage func(all []record) []record
		want   string
	}{
		"the rest of a chunk":                  {func(all []record) []record { all[1].captured = 1000; return all }, complete},
		"a chunk but for its size":             {func(all []record) []record { all[2].captured = len(chunk); return all }, complete},
		"the rest of each chunk":               {func(all []record) []record { all[1].captured, all[2].captured = 500, 500; return all }, complete},
		"all of a chunk with its size":         {func(all []record) []record { all[2].captured = 0; return all }, truncated},
		"part of a size":                       {func(all []record) []record { all[2].captured = 2; return all }, truncated},
		"the last chunk":                       {func(all []record) []record { all[3].captured = 0; return all }, truncated},
		"a record with the rest of a chunk":    {func(all []record) []record { return slices.Delete(split(all, 1, 600), 2, 3) }, complete},
		"a record with a chunk":                {func(all []record) []record { return slices.Delete(all, 2, 3) }, gap},
		"a record with a chunk but its end":    {func(all []record) []record { return slices.Delete(split(split(all, 2, len(chunk)), 3, 0x2000), 3, 4) }, complete},
		"a record with one byte too many":      {func(all []record) []record { return slices.Delete(split(split(all, 1, 700), 3, 1), 2, 4) }, gap},
		"a record with the end of the content": {func(all []record) []record { return slices.Delete(all, 3, 4) }, gap},
	} {
		t.Run(name, func(t *testing.T) {
			all := records(whole)
			for _, end := range ends(all) {
				truth, _ := end.see(t, all)
				require.Equal(t, []string{complete, got}, briefs(truth))
				calls, _ := end.see(t, test.damage(slices.Clone(all)))
				require.Equal(t, []string{test.want, got}, briefs(calls), "the next message is found")
				require.Equal(t, truth[0].StartNs, calls[0].StartNs)
				require.Contains(t, []uint64{truth[0].EndNs, 0}, calls[0].EndNs)
				if test.want == truncated {
					require.Equal(t, truth[0].EndNs, calls[0].EndNs, "the request after it proves that it had ended")
				}
			}
		})
	}
}

// oddFrames are what h2 allows and few peers do, and what it forbids and some do all the same.
var oddFrames = []conversationOfFrames{
	{"DATA after END_STREAM is no content", func(f *frames) {
		f.begin()
		f.head(0, 1, false, ":method", "POST", ":scheme", "http", ":path", "/p", ":authority", "x")
		f.data(0, 1, true, "abc")
		f.data(0, 1, false, "more")
		f.answer(1, "200", false)
		f.data(1, 1, true, "hello")
		f.data(1, 1, true, "hello")
		f.call(3)
	}, []string{"POST /p 200 3/5", called}},
	{"a request after END_STREAM is none", func(f *frames) {
		f.begin()
		f.ask(1, "/1", true)
		f.ask(1, "/2", true)
		f.answer(1, "200", true)
		f.ask(1, "/3", true)
		f.answer(1, "500", true)
		f.call(3)
	}, []string{"GET /1 200 0/0", called}},
	{"a field that may occur once, twice", func(f *frames) {
		f.begin()
		f.head(0, 1, true, ":method", "GET", ":scheme", "http", ":path", "/a", ":path", "/b", ":authority", "x")
		f.answer(1, "200", true)
		f.head(0, 3, true, ":method", "GET", ":method", "PUT", ":scheme", "http", ":path", "/m", ":authority", "x")
		f.answer(3, "200", true)
		f.ask(5, "/s", true)
		f.head(1, 5, true, ":status", "200", ":status", "500")
		f.call(7)
	}, []string{"GET  200 0/0", " /m 200 0/0", "GET /s 0 0/-1 gap", called}},
	{"an interim answer that ends the stream is no answer", func(f *frames) {
		f.begin()
		f.ask(1, "/i", true)
		f.head(1, 1, true, ":status", "103")
		f.call(3)
	}, []string{"GET /i 0 0/-1 gap", called}},
	{"statuses that are none", func(f *frames) {
		f.begin()
		for i, status := range []string{"20", "2000", "0x9", "099", "600", ""} {
			f.ask(uint32(2*i+1), "/s", true)
			f.answer(uint32(2*i+1), status, true)
		}
		f.call(13)
	}, append(slices.Repeat([]string{"GET /s 0 0/-1 gap"}, 6), called)},
	{"values that nobody may take", func(f *frames) {
		f.begin()
		f.ask(1, "/a\r\nHost: b", true)
		f.answer(1, "200", true)
		f.ask(3, "/a\x00", true)
		f.answer(3, "200", true)
		f.call(5)
	}, []string{"GET  200 0/0", "GET  200 0/0", called}},
	{"names that are empty, and fields that are never indexed", func(f *frames) {
		f.begin()
		never := func(name, value string) []byte {
			return slices.Concat([]byte{0x10, byte(len(name))}, []byte(name), []byte{byte(len(value))}, []byte(value))
		}
		f.block(0) // the encoder has inserted nothing
		_ = f.framers[0].WriteHeaders(xhttp2.HeadersFrameParam{StreamID: 1, EndStream: true, EndHeaders: true,
			BlockFragment: slices.Concat(never("", "x"), never(":method", "GET"), never(":scheme", "http"), never(":path", "/never"), never("", ""))})
		f.flush()
		f.answer(1, "200", true)
		f.call(3)
	}, []string{"GET /never 200 0/0", called}},
	{"all of a frame is padding", func(f *frames) {
		f.begin()
		f.head(0, 1, false, ":method", "POST", ":scheme", "http", ":path", "/p", ":authority", "x")
		_ = f.framers[0].WriteRawFrame(xhttp2.FrameData, xhttp2.FlagDataPadded, 1, append([]byte{4}, 0, 0, 0, 0))
		_ = f.framers[0].WriteRawFrame(xhttp2.FrameData, xhttp2.FlagDataPadded|xhttp2.FlagDataEndStream, 1, []byte{0})
		f.answer(1, "204", true)
		f.call(3)
	}, []string{"POST /p 204 0/0", called}},
	{"interim answers and trailers", func(f *frames) {
		f.begin()
		f.head(0, 1, false, ":method", "POST", ":scheme", "http", ":path", "/t", ":authority", "x")
		f.head(1, 1, false, ":status", "100")
		f.data(0, 1, false, "ab")
		f.head(0, 1, true, "x-sum", "1")
		f.head(1, 1, false, ":status", "102")
		f.head(1, 1, false, ":status", "103", "link", "</y>")
		f.answer(1, "200", false)
		f.data(1, 1, false, "hello")
		f.head(1, 1, true, "x-sum", "2")
		f.call(3)
	}, []string{"POST /t 200 2/5", called}},
	{"HEAD with a length, 204 and 304 with one", func(f *frames) {
		f.begin()
		f.head(0, 1, true, ":method", "HEAD", ":scheme", "http", ":path", "/h", ":authority", "x")
		f.head(1, 1, true, ":status", "200", "content-length", "5")
		f.ask(3, "/n", true)
		f.head(1, 3, true, ":status", "304", "content-length", "5")
		f.call(5)
	}, []string{"HEAD /h 200 0/0", "GET /n 304 0/0", called}},
	{"PRIORITY, WINDOW_UPDATE and RST_STREAM on streams that are closed or were never there", func(f *frames) {
		f.begin().call(1)
		_ = f.framers[0].WritePriority(1, xhttp2.PriorityParam{Weight: 1})
		_ = f.framers[0].WriteRSTStream(1, xhttp2.ErrCodeCancel)
		_ = f.framers[0].WriteWindowUpdate(1, 1)
		_ = f.framers[0].WriteRSTStream(9, xhttp2.ErrCodeCancel)
		_ = f.framers[1].WriteRSTStream(1, 0xfffffff0)
		f.flush()
		f.call(11)
	}, []string{called, called}},
	{"an error code that has no name", func(f *frames) {
		f.begin()
		f.ask(1, "/e", true)
		_ = f.framers[1].WriteRSTStream(1, 0xfffffff0)
		f.flush()
		f.call(3)
	}, []string{"GET /e 0 0/-1 _OTHER", called}},
}

func TestOddFrames(t *testing.T) {
	for _, conversation := range oddFrames {
		t.Run(conversation.name, func(t *testing.T) {
			f := newFrames()
			conversation.say(f)
			whole := records(f.turns)
			for _, end := range ends(whole) {
				check := func(all []record) {
					t.Helper()
					calls, stats := end.see(t, all)
					require.Equal(t, conversation.want, briefs(calls))
					require.EqualValues(t, 1, stats.HTTP2)
				}
				check(whole)
				check(bytewise(whole))
				for i := range whole {
					for at := 1; at < len(whole[i].data); at++ {
						check(split(whole, i, at))
					}
				}
			}
		})
	}
}

// What breaks the rules of framing or of the table takes what is in flight with it, and nothing that is told is wrong.
func TestFramesThatNobodyMayAccept(t *testing.T) {
	for name, say := range map[string]func(f *frames){
		"padding as long as the frame": func(f *frames) { _ = f.framers[0].WriteRawFrame(xhttp2.FrameData, xhttp2.FlagDataPadded, 1, []byte{1}) },
		"padding longer than a block":  func(f *frames) { _ = f.framers[0].WriteRawFrame(xhttp2.FrameHeaders, 0xc, 3, []byte{9, 0x82}) },
		"padding longer, after a priority": func(f *frames) {
			_ = f.framers[0].WriteRawFrame(xhttp2.FrameHeaders, 0x2c, 3, []byte{2, 0, 0, 0, 0, 1, 0x82})
		},
		"a block that is interrupted": func(f *frames) {
			_ = f.framers[0].WriteRawFrame(xhttp2.FrameHeaders, 0, 3, []byte{0x82})
			_ = f.framers[0].WritePing(false, [8]byte{})
		},
		"a block that goes on elsewhere": func(f *frames) {
			_ = f.framers[0].WriteRawFrame(xhttp2.FrameHeaders, 0, 3, []byte{0x82})
			_ = f.framers[0].WriteContinuation(5, true, []byte{0x84})
		},
		"CONTINUATION of nothing":   func(f *frames) { _ = f.framers[0].WriteContinuation(3, true, []byte{0x82}) },
		"DATA on no stream":         func(f *frames) { _ = f.framers[0].WriteRawFrame(xhttp2.FrameData, 0, 0, []byte("a")) },
		"SETTINGS on a stream":      func(f *frames) { _ = f.framers[0].WriteRawFrame(xhttp2.FrameSettings, 0, 1, nil) },
		"SETTINGS in part":          func(f *frames) { _ = f.framers[0].WriteRawFrame(xhttp2.FrameSettings, 0, 0, make([]byte, 7)) },
		"PRIORITY too short":        func(f *frames) { _ = f.framers[0].WriteRawFrame(xhttp2.FramePriority, 0, 1, make([]byte, 4)) },
		"RST_STREAM too long":       func(f *frames) { _ = f.framers[0].WriteRawFrame(xhttp2.FrameRSTStream, 0, 1, make([]byte, 5)) },
		"index 0":                   func(f *frames) { _ = f.framers[0].WriteRawFrame(xhttp2.FrameHeaders, 5, 3, []byte{0x82, 0x80}) },
		"an index beyond the table": func(f *frames) { _ = f.framers[0].WriteRawFrame(xhttp2.FrameHeaders, 5, 3, []byte{0x82, 0xff, 0x7f}) },
		"an integer without end": func(f *frames) {
			_ = f.framers[0].WriteRawFrame(xhttp2.FrameHeaders, 5, 3, []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
		},
		"an integer beyond 2^32": func(f *frames) {
			_ = f.framers[0].WriteRawFrame(xhttp2.FrameHeaders, 5, 3, []byte{0x7f, 0x80, 0x80, 0x80, 0x80, 0x7f, 0})
		},
		"a size beyond what is allowed": func(f *frames) {
			_ = f.framers[0].WriteRawFrame(xhttp2.FrameHeaders, 5, 3, []byte{0x3f, 0xe2, 0x1f, 0x82})
		},
		"a size behind a field":          func(f *frames) { _ = f.framers[0].WriteRawFrame(xhttp2.FrameHeaders, 5, 3, []byte{0x82, 0x20}) },
		"a string longer than the block": func(f *frames) { _ = f.framers[0].WriteRawFrame(xhttp2.FrameHeaders, 5, 3, []byte{0x44, 0x05, '/'}) },
		"Huffman with eight bits of padding": func(f *frames) {
			_ = f.framers[0].WriteRawFrame(xhttp2.FrameHeaders, 5, 3, []byte{0x44, 0x82, 0x63, 0xff})
		},
		"Huffman with padding of zeros": func(f *frames) { _ = f.framers[0].WriteRawFrame(xhttp2.FrameHeaders, 5, 3, []byte{0x44, 0x81, 0x60}) },
		"Huffman with EOS": func(f *frames) {
			_ = f.framers[0].WriteRawFrame(xhttp2.FrameHeaders, 5, 3, []byte{0x44, 0x84, 0xff, 0xff, 0xff, 0xff})
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFrames().begin()
			f.ask(1, "/before", true)
			say(f)
			f.flush()
			f.answer(1, "200", true)
			all := records(f.turns)
			for _, end := range ends(all) {
				for _, all := range [][]record{all, bytewise(all)} {
					calls, stats := end.see(t, all)
					require.EqualValues(t, 1, stats.GivenUp[Malformed])
					require.Contains(t, briefs(calls), "GET /before 200 0/0")
					for _, c := range calls {
						if c.StreamID != 1 {
							require.Equal(t, "  0 0/-1 gap connection_closed", brief(c))
						}
					}
				}
			}
		})
	}
}

// A block without end is given up within bounds, and the table with it.
func TestABlockInVeryManyFrames(t *testing.T) {
	f := newFrames().begin()
	f.call(1)
	_ = f.framers[0].WriteHeaders(xhttp2.HeadersFrameParam{StreamID: 3, EndStream: true, BlockFragment: []byte{0x82}})
	for range 10_000 {
		_ = f.framers[0].WriteContinuation(3, false, []byte("\x00\x01a\x05value"))
	}
	_ = f.framers[0].WriteContinuation(3, true, []byte{0x84})
	f.flush()
	f.answer(3, "200", true)
	f.call(5)
	all := records(f.turns)
	for _, end := range ends(all) {
		calls, stats := end.see(t, all)
		require.Equal(t, []string{called, "  200 0/0 truncated"}, briefs(calls)[:2])
		require.EqualValues(t, 1, stats.GivenUp[BytesFull])
		require.Len(t, calls, 3)
		require.Equal(t, "GET", calls[2].Method)
		require.Equal(t, 200, calls[2].Status)
		require.Contains(t, []string{"", "/a"}, calls[2].Target)
	}
}

// A connection is joined when the request's content type is in the part of the table that nobody saw: that it
// was gRPC shows in the answer, when the first messages have gone by.
func TestMessagesBeforeItIsKnownThatTheyAreMessagesAreNotCounted(t *testing.T) {
	f := newFrames().begin()
	ask := func(stream uint32) {
		f.head(0, stream, false, ":method", "POST", ":scheme", "http", ":path", "/a.B/C", ":authority", "x", "content-type", "application/grpc")
		f.data(0, stream, true, "\x00\x00\x00\x00\x02ab")
		f.head(1, stream, false, ":status", "200", "content-type", "application/grpc")
		f.data(1, stream, false, "\x00\x00\x00\x00\x01x\x00\x00\x00\x00\x00")
		f.head(1, stream, true, "grpc-status", "0")
	}
	ask(1)
	joinAt := len(f.turns)
	f.encoders[1].SetMaxDynamicTableSize(0) // so that the answers say all anew
	ask(3)
	all := records(f.turns)
	for _, end := range ends(all) {
		calls, _ := end.see(t, all)
		require.Len(t, calls, 2)
		for _, c := range calls {
			require.Equal(t, []any{"grpc", "OK", int64(1), int64(2)}, []any{c.RPC, c.RPCStatus, c.RequestMessages, c.ResponseMessages})
		}
		end.origin = Origin{MidStream: true}
		calls, _ = end.see(t, all[joinAt:])
		require.Len(t, calls, 1)
		c := calls[0]
		require.Equal(t, MidStream, c.Capture)
		require.Equal(t, []any{"grpc", "OK", int64(-1), int64(2)}, []any{c.RPC, c.RPCStatus, c.RequestMessages, c.ResponseMessages})
	}
}
