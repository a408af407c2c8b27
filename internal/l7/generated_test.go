package l7

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestGeneratedStreamsAreReadAsNetHTTPReadsThem makes valid keep-alive streams, cuts them into records
// anywhere, and compares with the standard library's reading of the whole.
func TestGeneratedStreamsAreReadAsNetHTTPReadsThem(t *testing.T) {
	for seed := range uint64(300) {
		random := rand.New(rand.NewPCG(seed, 2))
		var all []record
		var sides [2]strings.Builder
		now := uint64(0)
		send := func(side int, data string) {
			for len(data) > 0 {
				n := min(len(data), 1+random.IntN(1+random.IntN(400)))
				now += 1 + random.Uint64N(1000)
				all = append(all, record{side == 1, sides[side].Len(), data[:n], n, now})
				sides[side].WriteString(data[:n])
				data = data[n:]
			}
		}
		const exchanges = 20
		pipeline := random.IntN(3) == 0
		var answers []string
		for range exchanges {
			request, method := generateRequest(random)
			send(0, request)
			answers = append(answers, generateResponse(random, method))
			if !pipeline || random.IntN(4) == 0 {
				send(1, strings.Join(answers, ""))
				answers = nil
			}
		}
		send(1, strings.Join(answers, ""))

		for _, end := range ends(all) {
			calls, _ := end.see(t, all)
			require.Len(t, calls, exchanges, "seed %d", seed)
			requests, responses := bufio.NewReader(strings.NewReader(sides[0].String())), bufio.NewReader(strings.NewReader(sides[1].String()))
			for i, call := range calls {
				what := fmt.Sprintf("seed %d call %d", seed, i)
				request, err := http.ReadRequest(requests)
				require.NoError(t, err)
				sent, err := io.Copy(io.Discard, request.Body)
				require.NoError(t, err)
				response, err := http.ReadResponse(responses, request)
				require.NoError(t, err)
				for response.StatusCode/100 == 1 {
					response, err = http.ReadResponse(responses, request)
					require.NoError(t, err)
				}
				received, err := io.Copy(io.Discard, response.Body)
				require.NoError(t, err)
				require.Equal(t, []any{request.Method, request.RequestURI, request.Host, request.UserAgent(), response.StatusCode, sent, received, Complete},
					[]any{call.Method, call.Target, call.Authority, call.UserAgent, call.Status, call.RequestBody, call.ResponseBody, call.Capture}, what)
			}
		}
	}
}

func generateRequest(random *rand.Rand) (text, method string) {
	method = []string{"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "FROB"}[random.IntN(7)]
	text = fmt.Sprintf("%s /%s?q=%d HTTP/1.1\r\nhost: h%d.example\r\n", method, filler(random, 30), random.IntN(99), random.IntN(9))
	if random.IntN(2) == 0 {
		text += "User-Agent: " + filler(random, 20) + "\r\n"
	}
	for range random.IntN(10) {
		text += "X-" + filler(random, 10) + ": " + filler(random, 60) + "\r\n"
	}
	if method == "GET" || method == "HEAD" {
		return text + "\r\n", method
	}
	return text + content(random, false), method
}

func generateResponse(random *rand.Rand, method string) (text string) {
	for random.IntN(5) == 0 {
		text += "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
	}
	status := []int{200, 201, 204, 304, 404, 500}[random.IntN(6)]
	text += fmt.Sprintf("HTTP/1.1 %d %s\r\nServer: x\r\n", status, filler(random, 10))
	return text + content(random, method == "HEAD" || status == 204 || status == 304)
}

// content is the end of a head and content that looks like more heads.
func content(random *rand.Rand, empty bool) string {
	body := strings.Repeat("GET / HTTP/1.1\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", random.IntN(20))[:]
	body = body[:random.IntN(len(body)+1)]
	if random.IntN(2) == 0 {
		if empty {
			return fmt.Sprintf("Content-Length: %d\r\n\r\n", len(body))
		}
		return fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(body), body)
	}
	if empty {
		return "\r\n"
	}
	text := "Transfer-Encoding: chunked\r\n\r\n"
	for len(body) > 0 {
		n := 1 + random.IntN(len(body))
		text += fmt.Sprintf("%x\r\n%s\r\n", n, body[:n])
		body = body[n:]
	}
	return text + "0\r\n\r\n"
}

func filler(random *rand.Rand, most int) string {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	b := make([]byte, 1+random.IntN(most))
	for i := range b {
		b[i] = letters[random.IntN(len(letters))]
	}
	return string(b)
}
