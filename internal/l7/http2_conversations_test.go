package l7

import (
	"bytes"
	"encoding/base64"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	xhttp2 "golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// frames writes what a client (side 0) and a server (1) of HTTP/2 say, in turns.
type frames struct {
	turns    []turn
	framers  [2]*xhttp2.Framer
	out      [2]bytes.Buffer
	blocks   [2]bytes.Buffer
	encoders [2]*hpack.Encoder
}

func newFrames() *frames {
	f := &frames{}
	for i := range f.framers {
		f.framers[i] = xhttp2.NewFramer(&f.out[i], nil)
		f.framers[i].AllowIllegalWrites = true
		f.encoders[i] = hpack.NewEncoder(&f.blocks[i])
	}
	return f
}

// begin has both ends exchange what comes before the first request.
func (f *frames) begin(settings ...xhttp2.Setting) *frames {
	f.out[0].WriteString(xhttp2.ClientPreface)
	_ = f.framers[0].WriteSettings(settings...)
	_ = f.framers[1].WriteSettings()
	f.flush()
	return f
}

// flush makes a turn of what each end has written.
func (f *frames) flush() {
	for i, mark := range []string{">", "<"} {
		if f.out[i].Len() > 0 {
			f.turns = append(f.turns, turn(mark+f.out[i].String()))
			f.out[i].Reset()
		}
	}
}

func (f *frames) block(side int, fields ...string) []byte {
	f.blocks[side].Reset()
	for i := 0; i < len(fields); i += 2 {
		_ = f.encoders[side].WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	return bytes.Clone(f.blocks[side].Bytes())
}

func (f *frames) head(side int, stream uint32, end bool, fields ...string) {
	_ = f.framers[side].WriteHeaders(xhttp2.HeadersFrameParam{StreamID: stream, EndStream: end, EndHeaders: true, BlockFragment: f.block(side, fields...)})
	f.flush()
}

func (f *frames) ask(stream uint32, path string, end bool) {
	f.head(0, stream, end, ":method", "GET", ":scheme", "http", ":path", path, ":authority", "x", "user-agent", "agent"+path)
}

func (f *frames) answer(stream uint32, status string, end bool) {
	f.head(1, stream, end, ":status", status, "content-type", "text/"+status)
}

func (f *frames) data(side int, stream uint32, end bool, content string) {
	_ = f.framers[side].WriteData(stream, end, []byte(content))
	f.flush()
}

// call is a whole one: its blocks refer to what the ones before put into the tables.
func (f *frames) call(stream uint32) {
	f.ask(stream, "/a", true)
	f.answer(stream, "200", false)
	f.data(1, stream, true, "hello")
}

const called = "GET /a 200 0/5"

type conversationOfFrames struct {
	name string
	say  func(f *frames)
	want []string
}

var conversationsOfFrames = []conversationOfFrames{
	{"one after the other", func(f *frames) {
		f.begin().call(1)
		f.call(3)
		f.call(5)
	}, []string{called, called, called}},
	{"padding is no content", func(f *frames) {
		f.begin()
		_ = f.framers[0].WriteHeaders(xhttp2.HeadersFrameParam{StreamID: 1, EndHeaders: true, PadLength: 9,
			BlockFragment: f.block(0, ":method", "POST", ":scheme", "http", ":path", "/p", ":authority", "x")})
		_ = f.framers[0].WriteDataPadded(1, false, []byte("abc"), make([]byte, 255))
		_ = f.framers[0].WriteDataPadded(1, true, nil, make([]byte, 5))
		f.flush()
		_ = f.framers[1].WriteHeaders(xhttp2.HeadersFrameParam{StreamID: 1, EndHeaders: true, PadLength: 1, BlockFragment: f.block(1, ":status", "201")})
		_ = f.framers[1].WriteDataPadded(1, true, []byte("1234567"), make([]byte, 100))
		f.flush()
		f.call(3)
	}, []string{"POST /p 201 3/7", called}},
	{"priority", func(f *frames) {
		f.begin()
		_ = f.framers[0].WritePriority(3, xhttp2.PriorityParam{StreamDep: 0, Weight: 7})
		_ = f.framers[0].WriteHeaders(xhttp2.HeadersFrameParam{StreamID: 5, EndHeaders: true, EndStream: true, PadLength: 3,
			Priority:      xhttp2.PriorityParam{StreamDep: 3, Weight: 15, Exclusive: true},
			BlockFragment: f.block(0, ":method", "GET", ":scheme", "http", ":path", "/q", ":authority", "x")})
		_ = f.framers[0].WritePriority(5, xhttp2.PriorityParam{StreamDep: 3, Weight: 1})
		f.flush()
		f.answer(5, "204", true)
		_ = f.framers[0].WritePriority(5, xhttp2.PriorityParam{Weight: 9}) // after its end
		f.call(7)
	}, []string{"GET /q 204 0/0", called}},
	{"blocks in many frames", func(f *frames) {
		f.begin()
		pieces := func(side int, stream uint32, end bool, block []byte) {
			_ = f.framers[side].WriteHeaders(xhttp2.HeadersFrameParam{StreamID: stream, EndStream: end, BlockFragment: block[:1]})
			for _, b := range block[1 : len(block)-1] {
				_ = f.framers[side].WriteContinuation(stream, false, []byte{b})
			}
			_ = f.framers[side].WriteContinuation(stream, false, nil)
			_ = f.framers[side].WriteContinuation(stream, true, block[len(block)-1:])
			f.flush()
		}
		pieces(0, 1, true, f.block(0, ":method", "GET", ":scheme", "http", ":path", "/c", ":authority", "x", "cookie", "abc"))
		pieces(1, 1, false, f.block(1, ":status", "200", "server", "test"))
		f.data(1, 1, false, "12")
		pieces(1, 1, true, f.block(1, "x-trailer", "after", "x-other", "all"))
		f.call(3)
	}, []string{"GET /c 200 0/2", called}},
	{"a block of 100 KB", func(f *frames) {
		f.begin()
		block := f.block(0, ":method", "GET", ":scheme", "http", ":path", "/long", ":authority", "x", "cookie", strings.Repeat("c~", 50000))
		_ = f.framers[0].WriteHeaders(xhttp2.HeadersFrameParam{StreamID: 1, EndStream: true, BlockFragment: block[:16000]})
		for block = block[16000:]; len(block) > 16000; block = block[16000:] {
			_ = f.framers[0].WriteContinuation(1, false, block[:16000])
		}
		_ = f.framers[0].WriteContinuation(1, true, block)
		f.flush()
		f.answer(1, "431", true)
		f.ask(3, "/a", true)
		f.answer(3, "200", false)
		f.data(1, 3, true, "hello")
	}, []string{"  431 0/0 truncated", "GET /a 200 0/5 truncated"}}, // what the block inserted is not known either
	{"a push is no call of the client's", func(f *frames) {
		f.begin()
		f.ask(1, "/page", true)
		_ = f.framers[1].WritePushPromise(xhttp2.PushPromiseParam{StreamID: 1, PromiseID: 2, EndHeaders: true, PadLength: 4,
			BlockFragment: f.block(1, ":method", "GET", ":scheme", "http", ":path", "/style.css", ":authority", "x", "x-pushed", "1")})
		f.flush()
		f.answer(1, "200", false)
		f.head(1, 2, false, ":status", "200", "x-pushed", "1")
		f.data(1, 2, false, "body {}")
		f.data(1, 1, true, "page")
		f.data(1, 2, true, "")
		f.call(3)
	}, []string{"GET /page 200 0/4", called}},
	{"a push in many frames", func(f *frames) {
		f.begin()
		f.ask(1, "/page", true)
		block := f.block(1, ":method", "GET", ":scheme", "http", ":path", "/style.css", ":authority", "x", "x-pushed", "2")
		_ = f.framers[1].WritePushPromise(xhttp2.PushPromiseParam{StreamID: 1, PromiseID: 2, BlockFragment: block[:3]})
		_ = f.framers[1].WriteContinuation(1, true, block[3:])
		f.answer(1, "200", true)
		f.call(3)
	}, []string{"GET /page 200 0/0", called}},
	{"RST_STREAM", func(f *frames) {
		f.begin()
		f.ask(1, "/slow", true)
		f.ask(3, "/refused", true)
		f.ask(5, "/half", true)
		f.answer(5, "200", false)
		f.data(1, 5, false, "some")
		_ = f.framers[0].WriteRSTStream(1, xhttp2.ErrCodeCancel)
		f.flush()
		_ = f.framers[1].WriteRSTStream(3, xhttp2.ErrCodeRefusedStream)
		_ = f.framers[1].WriteRSTStream(5, xhttp2.ErrCodeInternal)
		f.flush()
		f.call(7)
	}, []string{"GET /slow 0 0/-1 CANCEL", "GET /refused 0 0/-1 REFUSED_STREAM", "GET /half 200 0/-1 INTERNAL_ERROR", called}},
	{"GOAWAY says what was not looked at", func(f *frames) {
		f.begin()
		f.ask(1, "/first", true)
		f.ask(3, "/second", true)
		_ = f.framers[0].WriteGoAway(0, xhttp2.ErrCodeNo, []byte("the client takes no pushes")) // which ends no call
		_ = f.framers[1].WriteGoAway(1<<31-1, xhttp2.ErrCodeNo, nil)
		f.flush()
		_ = f.framers[1].WriteGoAway(1, xhttp2.ErrCodeNo, []byte("maintenance"))
		f.flush()
		f.answer(1, "200", true)
	}, []string{"GET /second 0 0/-1 REFUSED_STREAM", "GET /first 200 0/0"}},
	{"tables that grow and shrink", func(f *frames) {
		f.begin(xhttp2.Setting{ID: xhttp2.SettingHeaderTableSize, Val: 1 << 16})
		f.call(1)
		stream := uint32(3)
		for _, size := range []uint32{0, 4096, 70, 200, 1 << 16, 100} {
			_ = f.framers[0].WriteSettings(xhttp2.Setting{ID: xhttp2.SettingHeaderTableSize, Val: max(size, 4096)})
			_ = f.framers[1].WriteSettings(xhttp2.Setting{ID: xhttp2.SettingHeaderTableSize, Val: max(size, 4096)})
			f.flush()
			for side := range f.encoders {
				f.encoders[side].SetMaxDynamicTableSizeLimit(1 << 16)
				f.encoders[side].SetMaxDynamicTableSize(size)
			}
			for range 3 {
				f.call(stream)
				stream += 2
			}
		}
	}, strings.Split(strings.Repeat(called+"\n", 18)+called, "\n")},
	{"interim answers", func(f *frames) {
		f.begin()
		f.head(0, 1, false, ":method", "POST", ":scheme", "http", ":path", "/up", ":authority", "x", "expect", "100-continue")
		f.head(1, 1, false, ":status", "100")
		f.data(0, 1, true, "abc")
		f.head(1, 1, false, ":status", "103", "link", "</x>")
		f.head(1, 1, true, ":status", "304")
		f.call(3)
	}, []string{"POST /up 304 3/0", called}},
	{"an answer before the request's end", func(f *frames) {
		f.begin()
		f.head(0, 1, false, ":method", "POST", ":scheme", "http", ":path", "/early", ":authority", "x")
		f.data(0, 1, false, "some")
		f.answer(1, "413", true)
		f.data(0, 1, false, "more")
		f.data(0, 1, true, "")
		f.head(0, 3, false, ":method", "POST", ":scheme", "http", ":path", "/stopped", ":authority", "x")
		f.data(0, 3, false, "some")
		f.answer(3, "401", true)
		_ = f.framers[1].WriteRSTStream(3, xhttp2.ErrCodeNo) // RFC 9113 section 8.1: the rest is not wanted
		f.flush()
		f.call(5)
	}, []string{"POST /early 413 8/0", "POST /stopped 401 -1/0", called}},
	{"trailers of a request", func(f *frames) {
		f.begin()
		f.head(0, 1, false, ":method", "PUT", ":scheme", "http", ":path", "/t", ":authority", "x", "trailer", "x-sum")
		f.data(0, 1, false, "12345")
		f.head(0, 1, true, "x-sum", "15")
		f.answer(1, "200", true)
		f.call(3)
	}, []string{"PUT /t 200 5/0", called}},
	{"CONNECT is over when the tunnel is open", func(f *frames) {
		f.begin()
		f.head(0, 1, false, ":method", "CONNECT", ":authority", "x:443")
		f.head(1, 1, false, ":status", "200")
		f.data(0, 1, false, "\x16\x03\x01")
		f.data(1, 1, false, "\x16\x03\x03")
		f.head(0, 3, false, ":method", "CONNECT", ":protocol", "websocket", ":scheme", "http", ":path", "/chat", ":authority", "x")
		f.head(1, 3, false, ":status", "200")
		f.data(0, 3, true, "\x81\x01a")
		f.head(0, 5, false, ":method", "CONNECT", ":authority", "y:443")
		f.head(1, 5, true, ":status", "502")
		f.data(0, 5, true, "")
		f.call(7)
	}, []string{"CONNECT  200 -1/-1", "CONNECT /chat 200 -1/-1", "CONNECT  502 0/0", called}},
	{"frames that nobody knows, and those that say nothing of calls", func(f *frames) {
		f.begin()
		f.ask(1, "/a", true)
		_ = f.framers[1].WriteRawFrame(0xa, 0, 1, []byte("altsvc"))
		_ = f.framers[1].WriteSettingsAck()
		_ = f.framers[1].WritePing(false, [8]byte{1})
		_ = f.framers[1].WriteWindowUpdate(1, 5)
		_ = f.framers[1].WriteRawFrame(0xee, 0xff, 77, make([]byte, 300))
		f.answer(1, "200", false)
		_ = f.framers[0].WritePing(true, [8]byte{1})
		_ = f.framers[0].WriteWindowUpdate(0, 5)
		f.data(1, 1, true, "hello")
		f.call(3)
	}, []string{called, called}},
	{"calls that end in another order than they began", func(f *frames) {
		f.begin()
		for stream, path := range []string{"/1", "/2", "/3"} {
			f.ask(uint32(2*stream+1), path, true)
		}
		f.answer(5, "203", true)
		f.answer(1, "201", false)
		f.answer(3, "202", false)
		f.data(1, 3, true, "2")
		f.data(1, 1, true, "1")
	}, []string{"GET /3 203 0/0", "GET /2 202 0/1", "GET /1 201 0/1"}},
	{"calls without an answer", func(f *frames) {
		f.begin().call(1)
		f.ask(3, "/gone", true)
		f.ask(5, "/half", true)
		f.answer(5, "200", false)
	}, []string{called, "GET /gone 0 0/-1 connection_closed", "GET /half 200 0/-1 connection_closed"}},
	{"h2c by upgrade", func(f *frames) {
		settings := base64.RawURLEncoding.EncodeToString([]byte{0, 1, 0, 1, 0, 0}) // HEADER_TABLE_SIZE 65536
		f.turns = []turn{turn(">GET /up?a=b HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: " + settings + "\r\n\r\n")}
		f.out[1].WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")
		_ = f.framers[1].WriteSettings()
		f.encoders[1].SetMaxDynamicTableSizeLimit(1 << 16)
		f.encoders[1].SetMaxDynamicTableSize(1 << 16)
		f.answer(1, "203", false)
		f.out[0].WriteString(xhttp2.ClientPreface)
		_ = f.framers[0].WriteSettings()
		f.flush()
		f.data(1, 1, true, "answer")
		f.call(3)
	}, []string{"GET /up?a=b 203 0/6", called}},
	{"h2c by upgrade, with content", func(f *frames) {
		f.turns = []turn{">POST /up HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nConnection: HTTP2-Settings, upgrade\r\nUpgrade: h2c\r\nHTTP2-Settings: \r\n\r\nabcd"}
		f.out[1].WriteString("HTTP/1.1 101 \r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")
		_ = f.framers[1].WriteSettings()
		f.flush()
		f.out[0].WriteString(xhttp2.ClientPreface)
		_ = f.framers[0].WriteSettings()
		f.flush()
		f.ask(3, "/next", true)
		f.answer(3, "200", true)
		f.answer(1, "204", true)
	}, []string{"GET /next 200 0/0", "POST /up 204 4/0"}},
}

func TestConversationsOfFrames(t *testing.T) {
	for _, conversation := range conversationsOfFrames {
		t.Run(conversation.name, func(t *testing.T) {
			f := newFrames()
			conversation.say(f)
			whole := records(f.turns)
			for _, end := range ends(whole) {
				check := func(all []record, what string, args ...any) {
					calls, stats := end.see(t, all)
					require.Equal(t, conversation.want, briefs(calls), append([]any{what}, args...)...)
					for _, call := range calls {
						require.Equal(t, !end.client, call.Server)
						require.Equal(t, "2", call.ProtocolVersion)
					}
					require.EqualValues(t, 1, stats.HTTP2)
					require.Zero(t, stats.GivenUp[Malformed])
				}
				check(whole, "whole")
				if len(f.turns[len(f.turns)-1]) > 10000 {
					continue
				}
				check(bytewise(whole), "byte by byte")
				for i := range whole {
					for at := 1; at < len(whole[i].data); at += 1 + len(whole[i].data)/200 {
						check(split(whole, i, at), "record %d split at %d", i, at)
					}
				}
			}
		})
	}
}
