//go:build linux && (amd64 || arm64)

package kerneltest

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

// Where chunked content ends is in all of its chunks: who does not read them all does not know, and says so.
func TestChunkedContentIsToldAsFarAsItIsCaptured(t *testing.T) {
	const size, rounds = 150_000, 5
	for captured, whole := range map[int]bool{4096: false, 262144: true} {
		t.Run(fmt.Sprint(captured), func(t *testing.T) {
			n := newNetwork(t)
			content := strings.Repeat("0\r\n\r\nGET / HTTP/1.1\r\n\r\n", size)[:size] // of which the end looks like the end
			startGoServer(t, n.server, n.server.at4(8080), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if !strings.HasPrefix(r.URL.Path, "/long/") {
					return
				}
				for rest := content; len(rest) > 0; rest = rest[min(len(rest), 7777):] {
					_, err := io.WriteString(w, rest[:min(len(rest), 7777)])
					assert.NoError(t, err)
				}
			}), 1)
			settings := n.settings()
			settings.Probe.Payload.CaptureBytes = captured
			o := observe(t, settings)
			client := &http.Client{Transport: &http.Transport{MaxConnsPerHost: 1, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return n.client.tryDial(ctx, n.server.at4(8080))
			}}}
			for i := range rounds {
				for _, path := range []string{"/long/", "/short/"} {
					response, err := client.Get(fmt.Sprintf("http://server.test%s%d", path, i))
					require.NoError(t, err)
					body, err := io.ReadAll(response.Body)
					require.NoError(t, err)
					require.Equal(t, path == "/long/", string(body) == content)
				}
			}
			client.CloseIdleConnections()
			o.stop()

			for _, kind := range []ptrace.SpanKind{ptrace.SpanKindClient, ptrace.SpanKindServer} {
				spans := o.spans(kind)
				o.assertAll(2*rounds, int64(len(spans)))
				for _, span := range spans {
					a := span.Attributes()
					capture, length := text(a, "ebpfnet.capture"), text(a, "http.response.body.size")
					switch long := strings.HasPrefix(text(a, "url.path"), "/long/"); {
					case o.skipped() > 0 && capture != "":
					case long && whole:
						assert.Equal(t, []string{"", fmt.Sprint(size)}, []string{capture, length})
					case long:
						assert.Equal(t, []string{"truncated", ""}, []string{capture, length})
					default:
						assert.Equal(t, []string{"", "0"}, []string{capture, length}, "the next call is found")
					}
					if o.skipped() == 0 || capture == "" {
						assert.Equal(t, "200", text(a, "http.response.status_code"))
					}
				}
			}
		})
	}
}
