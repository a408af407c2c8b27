package http1

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Lines that share their beginning, and so their place, with others, that differ in one byte, and that mean
// something: each head must read as if it were the first.
func TestRememberedLinesChangeNothing(t *testing.T) {
	lines := []string{"Accept: a", "Accept: b", "Accept: a\t", "accept: a", "Accept-Encoding: gzip", "Accept-Encoding: br", "X-Id: 1", "X-Id: 2",
		"Connection: keep-alive", "Connection: close", "Connection: keep-alive, upgrade", "Connection:  keep-alive ", "connection: Keep-Alive",
		"Content-Type: x", "Content-Length: 1", "Content-Length: 2", "Transfer-Encoding: chunked", "Transfer-Encodinh: chunked", "Host: a", "Host: b",
		"Upgrade: h2c", "Upgrade: x", "User-Agent: x", "Cookie: " + strings.Repeat("c", 200), "Cookie: c", "a: b", "Accept: \x01", "Accept : a", "Accept: \xff"}
	shared := NewNames(true, []string{"x-id"})
	random := rand.New(rand.NewPCG(6, 7))
	for range 20000 {
		head := "GET / HTTP/1.0\r\n"
		for range random.IntN(6) {
			head += lines[random.IntN(len(lines))] + "\r\n"
		}
		head += "\r\n"
		require.Equal(t, readWith(t, NewNames(true, []string{"x-id"}), head), readWith(t, shared, head), "%q", head)
	}
	held := 0
	for _, slot := range shared.memo {
		if slot.length > 0 {
			held++
			line := string(slot.text[:slot.length])
			require.True(t, strings.HasSuffix(line, "\r\n"))
			for _, wanted := range []string{"x-id:", "transfer-encoding:", "upgrade:", "connection: close", "accept :"} {
				require.False(t, strings.HasPrefix(strings.ToLower(line), wanted), line)
			}
		}
	}
	require.Greater(t, held, 2)
}

func TestALineThatIsNotSeenAnyMoreMakesRoom(t *testing.T) {
	names := NewNames(true, nil)
	for i := range 100 {
		readWith(t, names, fmt.Sprintf("GET / HTTP/1.1\r\nAccept-Language: %d\r\n\r\n", i))
	}
	latest := 0
	for _, slot := range names.memo {
		_, _ = fmt.Sscanf(string(slot.text[:slot.length]), "Accept-Language: %d", &latest)
	}
	require.GreaterOrEqual(t, latest, 100-2*maxMisses)
}
