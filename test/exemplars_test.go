//go:build linux && (amd64 || arm64)

package kerneltest

import (
	"bufio"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

// example is an exemplar of a point of network.stage.duration.
type example struct {
	stage string // as "transmit qdisc"
	value time.Duration
	span  pcommon.SpanID
	trace pcommon.TraceID
}

// examples are those of all collections, each of which lies in a bucket in which something was counted.
func (o *observer) examples() (found []example) {
	o.t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, batch := range o.metrics {
		each(batch, "network.stage.duration", func(metric pmetric.Metric) {
			for _, point := range metric.ExponentialHistogram().DataPoints().All() {
				for _, e := range point.Exemplars().All() {
					value := e.DoubleValue()
					assert.NotZero(o.t, countAt(point, value), "nothing took %v: %v", value, point.Attributes().AsRaw())
					assert.LessOrEqual(o.t, e.Timestamp(), point.Timestamp())
					found = append(found, example{
						stage: text(point.Attributes(), "network.io.direction") + " " + text(point.Attributes(), "network.stage.name"),
						value: time.Duration(value * float64(time.Second)),
						span:  e.SpanID(), trace: e.TraceID(),
					})
				}
			}
		})
	}
	return found
}

func each(batch pmetric.Metrics, name string, do func(pmetric.Metric)) {
	for _, resource := range batch.ResourceMetrics().All() {
		for _, scope := range resource.ScopeMetrics().All() {
			for _, metric := range scope.Metrics().All() {
				if metric.Name() == name {
					do(metric)
				}
			}
		}
	}
}

// countAt is the count of the bucket that holds a value.
func countAt(point pmetric.ExponentialHistogramDataPoint, value float64) uint64 {
	if value <= point.ZeroThreshold() {
		return point.ZeroCount()
	}
	// A boundary of this scale is no whole number of nanoseconds, but for powers of two.
	index := int(math.Ceil(math.Log2(value)*math.Exp2(float64(point.Scale())))) - 1 - int(point.Positive().Offset())
	if index < 0 || index >= point.Positive().BucketCounts().Len() {
		return 0
	}
	return point.Positive().BucketCounts().At(index)
}

// answerer serves one connection by hand: whoever calls it decides when to read a request and when to answer.
type answerer struct {
	t    *testing.T
	conn net.Conn
	in   *bufio.Reader
}

func (a *answerer) read() {
	request, err := http.ReadRequest(a.in)
	require.NoError(a.t, err)
	_, err = io.Copy(io.Discard, request.Body)
	require.NoError(a.t, err)
}

func (a *answerer) answer(body string) {
	_, err := fmt.Fprintf(a.conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	require.NoError(a.t, err)
}

func TestTheLongestTimesOfStagesNameTheirCalls(t *testing.T) {
	const late = 500 * time.Millisecond // longer than anything else may take by chance
	n := newNetwork(t)
	n.client.queue("tbf rate 500kbit burst 1600 limit 60000") // 24 ms for each full segment
	n.client.ip("link", "set", "eth0", "gso_max_segs", "1")
	config := n.settings()
	config.Probe.Stages = true
	o := observe(t, config)
	p := n.connect(n.server.listen("tcp4", n.server.at4(7820)))
	server := &answerer{t, p.server, bufio.NewReader(p.server)}
	client := bufio.NewReader(p.client)

	var least, most, upload time.Duration
	const calls = 9
	for i := range calls {
		body, wait := "", time.Duration(0)
		switch i {
		case 3:
			wait = late
		case 6:
			body = strings.Repeat("x", 10_000) // seven segments
		}
		arrived := n.ends(7820)["server"]
		earlier := int64(0)
		if i > 0 {
			earlier = arrived().BytesReceived
		}
		before := time.Now()
		_, err := fmt.Fprintf(p.client, "POST /%d HTTP/1.1\r\nHost: server.test\r\nContent-Length: %d\r\n\r\n%s", i, len(body), body)
		require.NoError(t, err)
		var written time.Time
		if wait > 0 {
			eventually(t, "the request is there", func() bool { return arrived().BytesReceived > earlier })
			written = time.Now()
			time.Sleep(wait)
		}
		reading := time.Now()
		server.read()
		read := time.Now()
		if wait > 0 {
			least, most = reading.Sub(written), read.Sub(before)
		}
		if body != "" {
			upload = read.Sub(before)
		}
		server.answer("done")
		response, err := http.ReadResponse(client, nil)
		require.NoError(t, err)
		_, err = io.Copy(io.Discard, response.Body)
		require.NoError(t, err)
	}
	o.stop()

	spans := map[pcommon.SpanID]ptrace.Span{}
	for _, kind := range []ptrace.SpanKind{ptrace.SpanKindClient, ptrace.SpanKindServer} {
		for _, span := range o.spans(kind) {
			spans[span.SpanID()] = span
		}
	}
	require.Len(t, spans, 2*calls)
	ofStage := map[string][]example{}
	for _, e := range o.examples() {
		span, known := spans[e.span]
		if assert.True(t, known, "%v names no span", e) {
			assert.Equal(t, span.TraceID(), e.trace)
			t.Logf("%-22s %10v %s %s", e.stage, e.value, span.Kind(), text(span.Attributes(), "url.path"))
		}
		ofStage[e.stage] = append(ofStage[e.stage], e)
	}
	for _, stage := range []string{"receive nic_to_tcp", "receive ip", "receive tcp_to_app", "transmit ip", "transmit qdisc"} {
		assert.NotEmpty(t, ofStage[stage], stage)
	}
	longest := func(stage string) (of example) {
		for _, e := range ofStage[stage] {
			if e.value > of.value {
				of = e
			}
		}
		return of
	}
	_, waited := o.bothSpans("/3")
	slow := longest("receive tcp_to_app")
	assert.Equal(t, waited.SpanID(), slow.span, "the request that was not read")
	assert.GreaterOrEqual(t, slow.value, least)
	assert.LessOrEqual(t, slow.value, most)
	sent, _ := o.bothSpans("/6")
	queued := longest("transmit qdisc")
	assert.Equal(t, sent.SpanID(), queued.span, "the request that had to queue")
	assert.GreaterOrEqual(t, queued.value, 20*time.Millisecond) // behind one full segment at least
	assert.LessOrEqual(t, queued.value, upload)
}
