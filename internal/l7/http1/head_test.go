package http1

import (
	"bufio"
	"bytes"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ebpfnet/ebpfnetreceiver/internal/l7/buffer"
)

// reading is what a Head made of a message.
type reading struct {
	progress       Progress
	used           int
	method, target string
	cut, dropped   bool
	status         int
	framing        Framing
	fields         map[Name]string
	ascii          int  // of fields
	wrong          bool // one that is said to be, is not
}

func (r *reading) Field(name Name, value []byte, ascii bool) {
	r.fields[name] += "|" + string(value)
	if ascii {
		r.ascii++
	}
	for _, c := range value {
		r.wrong = r.wrong || ascii && c >= 0x80
	}
}

// read feeds data in pieces. What it makes of it is the same for who has read it before.
func read(t testing.TB, pieces ...string) reading {
	names := NewNames(true, []string{"x-id"})
	first := readWith(t, names, pieces...)
	for range 2 {
		require.Equal(t, first, readWith(t, names, pieces...))
	}
	return first
}

func readWith(t testing.TB, names *Names, pieces ...string) reading {
	pool := buffer.New(1 << 20)
	r := reading{fields: map[Name]string{}}
	var h Head
	h.Reset(names, pool)
	for _, piece := range pieces {
		for len(piece) > 0 && r.progress != Done && r.progress != Invalid {
			n, progress := h.Feed([]byte(piece), pool, &r)
			require.LessOrEqual(t, n, len(piece))
			r.used, r.progress, piece = r.used+n, progress, piece[n:]
			if progress == StartLine {
				r.method, r.target, r.cut = string(h.Request.Method), string(h.Request.Target), h.TargetCut
			}
		}
	}
	r.status, r.framing, r.dropped = h.Status, h.Framing, h.Dropped
	h.Release(pool)
	require.Zero(t, pool.Held())
	require.False(t, r.wrong)
	if r.progress == Invalid {
		r.used = 0 // how far it came depends on the pieces
		return r
	}
	return r
}

func TestHeads(t *testing.T) {
	for _, test := range []struct {
		name, text string
		want       Progress
	}{
		{"a request", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", Done},
		{"a response", "HTTP/1.1 200 OK\r\n\r\n", Done},
		{"no reason", "HTTP/1.0 599\r\n\r\n", Done},
		{"obs-text in a value", "GET / HTTP/1.1\r\nA: \xe4\r\n\r\n", Done},
		{"an empty value", "GET / HTTP/1.1\r\nA:\r\n\r\n", Done},
		{"not finished", "GET / HTTP/1.1\r\nA: b\r\n", More},
		{"bare LF", "GET / HTTP/1.1\nHost: x\n\n", Invalid},
		{"bare LF after a field", "GET / HTTP/1.1\r\nHost: x\n\r\n", Invalid},
		{"bare CR in a value", "GET / HTTP/1.1\r\nA: b\rc\r\n\r\n", Invalid},
		{"NUL in a value", "GET / HTTP/1.1\r\nA: b\x00c\r\n\r\n", Invalid},
		{"folding", "GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n", Invalid},
		{"a space before the colon", "GET / HTTP/1.1\r\nA : b\r\n\r\n", Invalid},
		{"no colon", "GET / HTTP/1.1\r\nAb\r\n\r\n", Invalid},
		{"no name", "GET / HTTP/1.1\r\n: b\r\n\r\n", Invalid},
		{"HTTP/1.2", "GET / HTTP/1.2\r\n\r\n", Invalid},
		{"HTTP/0.9", "GET /\r\n\r\n", Invalid},
		{"HTTP/2", "PRI * HTTP/1.1\r\n\r\n", Invalid},
		{"two spaces", "GET  / HTTP/1.1\r\n\r\n", Invalid},
		{"a tab", "GET /\tx HTTP/1.1\r\n\r\n", Invalid},
		{"a target that is none", "GET ? HTTP/1.1\r\n\r\n", Invalid},
		{"status 600", "HTTP/1.1 600 X\r\n\r\n", Invalid},
		{"status 99", "HTTP/1.1 099 X\r\n\r\n", Invalid},
		{"status 2000", "HTTP/1.1 2000 X\r\n\r\n", Invalid},
	} {
		t.Run(test.name, func(t *testing.T) {
			whole := read(t, test.text)
			require.Equal(t, test.want, whole.progress)
			require.Equal(t, whole, read(t, strings.Split(test.text, "")...))
		})
	}
}

func TestBodies(t *testing.T) {
	for _, test := range []struct {
		name, fields      string
		request, response Body
	}{
		{"nothing", "", Empty, UntilClose},
		{"length", "Content-Length: 5\r\n", Length, Length},
		{"length zero", "Content-Length: 0\r\n", Empty, Empty},
		{"chunked", "Transfer-Encoding: Chunked\r\n", Chunked, Chunked},
		{"gzip, chunked", "Transfer-Encoding: gzip\r\ntransfer-encoding: , chunked\r\n", Chunked, Chunked},
		{"gzip", "Transfer-Encoding: gzip\r\n", Unknown, UntilClose},
		{"chunked, gzip", "Transfer-Encoding: chunked, gzip\r\n", Unknown, Unknown},
		{"chunked twice", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", Unknown, Unknown},
		{"both", "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", Unknown, Unknown},
		{"two lengths", "Content-Length: 5\r\nContent-Length: 5\r\n", Unknown, Unknown},
		{"a list of lengths", "Content-Length: 5, 5\r\n", Unknown, Unknown},
		{"a signed length", "Content-Length: +5\r\n", Unknown, Unknown},
		{"a huge length", "Content-Length: 99999999999999999999\r\n", Unknown, Unknown},
		{"an empty length", "Content-Length:\r\n", Unknown, Unknown},
	} {
		t.Run(test.name, func(t *testing.T) {
			pool := buffer.New(1 << 16)
			body := func(start string, minor uint8, decide func(*Head) Body) Body {
				var h Head
				h.Reset(nil, pool)
				text := []byte(start + test.fields + "\r\n")
				n, _ := h.Feed(text, pool, nil)
				_, progress := h.Feed(text[n:], pool, nil)
				require.Equal(t, Done, progress)
				require.Equal(t, minor, h.Minor)
				return decide(&h)
			}
			response := func(method string) func(*Head) Body {
				return func(h *Head) Body { return h.ResponseBody(method) }
			}
			require.Equal(t, test.request, body("POST / HTTP/1.1\r\n", 1, (*Head).RequestBody))
			require.Equal(t, test.response, body("HTTP/1.1 200 OK\r\n", 1, response("GET")))
			require.Equal(t, Empty, body("HTTP/1.1 200 OK\r\n", 1, response("HEAD")))
			require.Equal(t, Empty, body("HTTP/1.1 304 OK\r\n", 1, response("GET")))
			if strings.Contains(test.fields, "ransfer") {
				require.Equal(t, Unknown, body("POST / HTTP/1.0\r\n", 0, (*Head).RequestBody))
			}
		})
	}
}

func TestLongTargetsAreCutAndLongValuesDropped(t *testing.T) {
	long := strings.Repeat("a", 3*MaxTarget)
	text := "GET /" + long + " HTTP/1.1\r\nX-Id: " + long + "\r\nHost: x\r\n\r\n"
	pieces := []string{}
	for at := 0; at < len(text); at += 1000 {
		pieces = append(pieces, text[at:min(at+1000, len(text))])
	}
	for _, r := range []reading{read(t, pieces...), read(t, strings.Split(text, "")...)} {
		require.Equal(t, Done, r.progress)
		require.Equal(t, "/"+long[:MaxTarget-1], r.target)
		require.True(t, r.cut)
		require.True(t, r.dropped)
		require.Equal(t, "|x", r.fields[Host])
	}
	require.True(t, read(t, text).cut)
	require.Equal(t, Invalid, read(t, strings.Replace(text, " HTTP/1.1", " HTTP/1.9", 1)[:1000], strings.Replace(text, " HTTP/1.1", " HTTP/1.9", 1)[1000:]).progress)
}

func TestTokens(t *testing.T) {
	for c := range 256 {
		for at := range 20 {
			b := bytes.Repeat([]byte{'a'}, 20)
			b[at] = byte(c)
			want := 20
			if class[c]&isToken == 0 {
				want = at
			}
			require.Equal(t, want, token(b), "%#x at %d", c, at)
			_, ascii := scan(b, 0)
			require.Equal(t, c < 0x80, ascii, "%#x at %d", c, at)
		}
	}
	end, ascii := scan([]byte("0123456789\r\xc3\xa4 and more than that"), 0)
	require.Equal(t, 10, end)
	require.True(t, ascii, "what comes behind does not count")
}

func TestControls(t *testing.T) {
	for c := range 256 {
		for at := range 20 {
			b := bytes.Repeat([]byte{'a'}, 20)
			b[at] = byte(c)
			want := 20
			if c < ' ' && c != '\t' || c == 0x7f {
				want = at
			}
			require.Equal(t, want, control(b, 0), "%#x at %d", c, at)
		}
	}
}

// corpusMessages are the messages of llhttp's test suite, good and bad; none where it is not beside the repository.
func corpusMessages(t testing.TB) (all []string) {
	files, _ := filepath.Glob("../../../../shared/corpora/http1-llhttp/*/*.md")
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		for _, block := range strings.Split(string(text), "\n```http\n")[1:] {
			block, _, _ = strings.Cut(block, "\n```")
			block = strings.ReplaceAll(strings.ReplaceAll(block, "\\\n", ""), "\n", "\r\n")
			all = append(all, strings.NewReplacer(`\r`, "\r", `\n`, "\n", `\t`, "\t", `\f`, "\f").Replace(block))
		}
	}
	return all
}

// FuzzHead checks that a head reads the same however it is cut, and as net/http reads it where both take it.
func FuzzHead(f *testing.F) {
	f.Add("GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n", uint16(3))
	f.Add("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\nConnection: close\r\n\r\n", uint16(20))
	for _, message := range corpusMessages(f) {
		f.Add(message, uint16(len(message)/2))
	}
	f.Fuzz(func(t *testing.T, text string, at uint16) {
		if len(text) > 4000 {
			return
		}
		whole := read(t, text)
		n := min(int(at), len(text))
		require.Equal(t, whole, read(t, text[:n], text[n:]))
		if len(text) < 300 {
			require.Equal(t, whole, read(t, strings.Split(text, "")...))
		}
		if whole.progress != Done || whole.method == "" {
			return
		}
		request, err := http.ReadRequest(bufio.NewReader(strings.NewReader(text)))
		if err != nil {
			return
		}
		require.Equal(t, request.Method, whole.method)
		require.Equal(t, request.RequestURI, whole.target)
		if f := whole.framing; !f.faulty && !f.transfer {
			require.Equal(t, max(f.ContentLength, 0), request.ContentLength)
		}
	})
}

// FuzzChunks checks that chunked content reads the same however it is cut, and never past its end.
func FuzzChunks(f *testing.F) {
	f.Add("5;a=b\r\nhello\r\n0\r\n", uint16(4))
	for _, message := range corpusMessages(f) {
		if _, content, ok := strings.Cut(message, "\r\n\r\n"); ok {
			f.Add(content, uint16(len(content)/2))
		}
	}
	f.Fuzz(func(t *testing.T, text string, at uint16) {
		feed := func(pieces ...string) (used int, progress Progress, total int64) {
			var c Chunks
			for _, piece := range pieces {
				if progress != More {
					break
				}
				n, p := c.Feed([]byte(piece))
				used, progress = used+n, p
			}
			return used, progress, c.Total
		}
		used, progress, total := feed(text)
		n := min(int(at), len(text))
		used2, progress2, total2 := feed(text[:n], text[n:])
		require.Equal(t, []any{used, progress, total}, []any{used2, progress2, total2})
		require.LessOrEqual(t, used, len(text))
	})
}

// A hole in chunked content is passed if, and only if, it takes no part of a chunk's size with it; then what
// follows reads as if all had been there.
func TestHolesInChunkedContent(t *testing.T) {
	var text string
	var ofSize []bool // by position
	for i, piece := range []string{"5;a=b\r\n", "hello\r\n", "1\r\n", "\n\r\n", "00A\r\n", "0\r\n\r\n56789\r\n", "0\r\n"} {
		text += piece
		ofSize = append(ofSize, slices.Repeat([]bool{i%2 == 0}, len(piece))...)
	}
	passed := 0
	for from := range text {
		for to := from + 1; to <= len(text); to++ {
			var c Chunks
			_, progress := c.Feed([]byte(text[:from]))
			require.Equal(t, More, progress)
			certain := !slices.Contains(ofSize[from:to], true)
			require.Equal(t, certain, c.Skip(int64(to-from)), "%d to %d", from, to)
			if !certain {
				continue
			}
			passed++
			used, progress := c.Feed([]byte(text[to:]))
			require.Equal(t, []any{len(text) - to, Done, int64(16)}, []any{used, progress, c.Total}, "%d to %d", from, to)
		}
	}
	require.Equal(t, 7*8/2+3*4/2+12*13/2, passed, "holes in 5, 1 and 10 bytes and the ends of their lines")
}
