package main

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.Local)

func clientEnd(id byte, start, duration time.Duration) end {
	return end{
		owner: owner{"curl", 10}, trace: pcommon.TraceID{id}, span: pcommon.SpanID{id}, method: "GET", path: "/fast",
		status: 200, start: noon.Add(start), duration: duration,
	}
}

func serverEnd(id byte, start, duration time.Duration) end {
	e := clientEnd(id, start, duration)
	e.owner, e.server, e.parent, e.span = owner{"nginx", 20}, true, e.span, pcommon.SpanID{id, 1}
	return e
}

func TestTheTwoSpansOfACallFindEachOther(t *testing.T) {
	for _, order := range [][]end{
		{clientEnd(1, 0, 3e6), serverEnd(1, 1e6, 1e6)},
		{serverEnd(1, 1e6, 1e6), clientEnd(1, 0, 3e6)},
	} {
		var p pairing
		require.Nil(t, p.add(order[0], noon))
		c := p.add(order[1], noon.Add(time.Second))
		require.NotNil(t, c)
		assert.False(t, c.client.server)
		assert.True(t, c.server.server)
		assert.Equal(t, 1, p.joined)
		assert.Zero(t, p.outside)
		assert.Empty(t, p.alone(noon.Add(time.Hour)))
	}
}

func TestASpanWaitsForItsPartnerNotForEver(t *testing.T) {
	var p pairing
	p.add(clientEnd(2, 2e6, 1e6), noon)
	p.add(serverEnd(1, 0, 1e6), noon)
	assert.Empty(t, p.alone(noon.Add(partnerWait-1)))
	alone := p.alone(noon.Add(partnerWait))
	require.Len(t, alone, 2)
	assert.Nil(t, alone[0].client, "the older call comes first")
	assert.Nil(t, alone[1].server)
}

func TestAServerSpanThatIsARootWaitsForNobody(t *testing.T) {
	var p pairing
	root := serverEnd(1, 0, 1e6)
	root.parent = pcommon.SpanID{}
	require.NotNil(t, p.add(root, noon))
}

func TestAServerSpanBelongsIntoItsClients(t *testing.T) {
	for _, test := range []struct {
		name          string
		start, length time.Duration
		outside       int
	}{
		{"within", 1e6, 1e6, 0},
		{"the same", 0, 3e6, 0},
		{"before", -1, 1e6, 1},
		{"after", 1e6, 2e6 + 1, 1},
	} {
		var p pairing
		p.add(clientEnd(1, 0, 3e6), noon)
		p.add(serverEnd(1, test.start, test.length), noon)
		assert.Equal(t, test.outside, p.outside, test.name)
	}
}

func TestOfCallsThatAreAlikeTheFirstIsShownAndTheOthersCounted(t *testing.T) {
	var out strings.Builder
	v := newView(&terminal{to: &out})
	for i, length := range []time.Duration{3e6, 5e6, 210e6} {
		c := clientEnd(byte(i+1), 0, length)
		s := serverEnd(byte(i+1), 1e6, 1e6)
		v.showCall(&call{client: &c, server: &s})
	}
	lonely := clientEnd(9, 0, 1e6)
	lonely.status, lonely.failure = 0, "connection_reset"
	v.showCall(&call{client: &lonely})
	v.newest = noon
	v.endRound()
	assert.Equal(t, strings.Join([]string{
		"12:00:00.000  span    01000000  client  GET  /fast        200   3.00 ms  curl 10",
		"                             └─ server  GET  /fast        200   1.00 ms  nginx 20",
		"12:00:00.000  span    09000000  client  GET  /fast        connection_reset   1.00 ms  curl 10",
		"                                (no server span seen)",
		"12:00:00.000  span    … 2 more GET /fast 200, curl to nginx, 5.00 ms to 210 ms (the slowest: trace 03000000)",
		"",
	}, "\n"), out.String())

	v.showCall(&call{client: &lonely})
	assert.Equal(t, 2, strings.Count(out.String(), "connection_reset"), "each round shows one again")
}

func TestAnEventIsOneLineAndTheTopOfItsStack(t *testing.T) {
	logs := plog.NewLogs()
	records := logs.ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty().LogRecords()
	for range 3 {
		record := records.AppendEmpty()
		record.SetTimestamp(pcommon.NewTimestampFromTime(noon))
		record.SetEventName("network.packet.drop")
		record.SetTraceID(pcommon.TraceID{0xab})
		record.Body().SetStr("drop NETFILTER_DROP: 10.0.0.1:1 -> 10.0.0.2:2 tcp SYN")
		record.Attributes().PutStr("code.stacktrace", "a+0x1\nb+0x2\nc+0x3\nd+0x4\n")
	}
	var out strings.Builder
	v := newView(&terminal{to: &out})
	v.showLogs(logs)
	v.showHeldBack(noon)
	v.showLogs(logs) // the stack was shown
	line := "12:00:00.000  log     drop NETFILTER_DROP: 10.0.0.1:1 -> 10.0.0.2:2 tcp SYN, trace ab000000  [network.packet.drop]"
	assert.Equal(t, strings.Join([]string{
		line,
		"                        at a+0x1",
		"                        at b+0x2",
		"                        at c+0x3",
		"                        … 1 more frame",
		"12:00:00.000  log     … 2 more drop NETFILTER_DROP",
		line,
		"",
	}, "\n"), out.String())
}

func TestEventsThatDifferInTheirTimeAloneAreAlike(t *testing.T) {
	logs := plog.NewLogs()
	records := logs.ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty().LogRecords()
	for _, took := range []string{"406.47ms", "401.16ms"} {
		record := records.AppendEmpty()
		record.SetTimestamp(pcommon.NewTimestampFromTime(noon))
		record.SetEventName("network.socket.read.slow")
		record.Body().SetStr("slow read, " + took + ": 10.0.0.2:80 -> 10.0.0.1:1, process curl 10")
	}
	var out strings.Builder
	v := newView(&terminal{to: &out})
	v.showLogs(logs)
	v.showHeldBack(noon)
	assert.Equal(t, strings.Join([]string{
		"12:00:00.000  log     slow read, 406.47ms: 10.0.0.2:80 -> 10.0.0.1:1, process curl 10  [network.socket.read.slow]",
		"12:00:00.000  log     … 1 more slow read",
		"",
	}, "\n"), out.String())
}

// collection is what one process says of itself at a time.
func collection(name string, pid int64, at, opened, open int64) pmetric.Metrics {
	metrics := pmetric.NewMetrics()
	resource := metrics.ResourceMetrics().AppendEmpty()
	resource.Resource().Attributes().PutStr("service.name", name)
	resource.Resource().Attributes().PutInt("process.pid", pid)
	all := resource.ScopeMetrics().AppendEmpty().Metrics()
	for _, sum := range []struct {
		name      string
		value     int64
		monotonic bool
		attribute string
		is        string
	}{
		{"network.tcp.connection.opened", opened, true, "network.tcp.handshake.role", "client"},
		{"network.tcp.connection.count", open, false, "network.connection.state", "established"},
	} {
		metric := all.AppendEmpty()
		metric.SetName(sum.name)
		metric.SetEmptySum().SetIsMonotonic(sum.monotonic)
		point := metric.Sum().DataPoints().AppendEmpty()
		point.SetTimestamp(pcommon.Timestamp(at))
		point.SetIntValue(sum.value)
		point.Attributes().PutStr(sum.attribute, sum.is)
	}
	return metrics
}

func TestSumsOfProcessesThatEndedStayLevelsDoNot(t *testing.T) {
	var b books
	b.add(collection("curl", 1, 100, 3, 2))
	b.add(collection("curl", 1, 200, 5, 1)) // cumulative: instead of the 3
	b.add(collection("curl", 2, 300, 4, 1)) // the first process is not there any more
	assert.EqualValues(t, 9, b.total("network.tcp.connection.opened", "curl", "network.tcp.handshake.role", "client"))
	assert.EqualValues(t, 1, b.total("network.tcp.connection.count", ""))
	assert.Zero(t, b.total("network.tcp.connection.opened", "nginx"))
	assert.Equal(t, map[string]int64{"client": 9}, b.by("network.tcp.connection.opened", "", "network.tcp.handshake.role"))
	table := b.table()
	require.Len(t, table, 2)
	assert.Regexp(t, `^curl, 2 processes +1 +9 +0 +0 +0 B +0 B +– +–$`, table[1])
}

func TestACollectionIsShownOnceHoweverManyRequestsItTakes(t *testing.T) {
	var out strings.Builder
	v := newView(&terminal{to: &out})
	for _, metrics := range []pmetric.Metrics{collection("curl", 1, 100, 3, 2), collection("nginx", 2, 100, 3, 2)} {
		v.batch(batch{at: newestMetric(metrics), metrics: &metrics})
	}
	assert.Empty(t, out.String())
	v.endRound()
	v.endRound()
	v.end(noon)
	assert.Equal(t, 1, strings.Count(out.String(), "since the start"))
	assert.Equal(t, 1, strings.Count(out.String(), "curl 1 "))
	assert.Equal(t, 1, strings.Count(out.String(), "nginx 2 "))
}

func TestWhatTheCollectorLeftOutIsSaid(t *testing.T) {
	var out strings.Builder
	v := newView(&terminal{to: &out})
	assert.Empty(t, v.leftOut(), "nothing is known of a replay")
	own := pmetric.NewMetrics()
	all := own.ResourceMetrics().AppendEmpty().ScopeMetrics().AppendEmpty().Metrics()
	for _, sum := range []struct {
		name       string
		value      int64
		attributes map[string]any
	}{
		{"otelcol_ebpf_net_program_misses", 2, map[string]any{"program": "on_retransmit"}},
		{"otelcol_ebpf_net_records", 300, map[string]any{"kind": "drop", "outcome": "submitted"}},
		{"otelcol_ebpf_net_records", 5, map[string]any{"kind": "payload", "outcome": "lost"}},
		{"otelcol_ebpf_net_limits", 1, map[string]any{"limit": "flows"}},
	} {
		metric := all.AppendEmpty()
		metric.SetName(sum.name)
		metric.SetEmptySum().SetIsMonotonic(true)
		point := metric.Sum().DataPoints().AppendEmpty()
		point.SetIntValue(sum.value)
		require.NoError(t, point.Attributes().FromRaw(sum.attributes))
	}
	v.batch(batch{own: &own})
	assert.Equal(t, []comparison{{"left out, as the collector said last", 8, "nothing is left out", 0,
		"5 records of payload, 2 runs of on_retransmit, 1 beyond the limit of flows"}}, v.leftOut())
	v.endRound()
	assert.Empty(t, out.String(), "they are not among the signals")
}

func TestFrequenciesAreSorted(t *testing.T) {
	assert.Equal(t, "5 fast, 2 syn, 2 timeout", frequencies(map[string]int64{"timeout": 2, "fast": 5, "syn": 2}))
}
