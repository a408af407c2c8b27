package receiver

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/confmap/confmaptest"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/metric/metricdata/metricdatatest"

	"github.com/ebpfnet/ebpfnetreceiver/internal/conn"
	"github.com/ebpfnet/ebpfnetreceiver/internal/engine"
	"github.com/ebpfnet/ebpfnetreceiver/internal/l7"
	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
	"github.com/ebpfnet/ebpfnetreceiver/receiver/internal/metadatatest"
)

var ignoreTimes = metricdatatest.IgnoreTimestamp()

func TestEveryKindOfRecordHasAName(t *testing.T) {
	for kind := wire.RecordConnOpen; kind < wire.RecordKindMax; kind++ {
		assert.NotEmpty(t, recordKinds[kind], "kind %d", kind)
	}
}

func TestEveryReasonOfTheParserIsInTheMetadata(t *testing.T) {
	conf, err := confmaptest.LoadConf("metadata.yaml")
	require.NoError(t, err)
	for reason := range l7.Reasons {
		assert.Contains(t, conf.Get("attributes::ebpf_net.reason::enum"), l7.Reason(reason).String())
	}
}

func TestTheBooksOfTheEngineAreRead(t *testing.T) {
	books := engine.Stats{
		Connections: conn.Stats{Live: 6, Handshaking: 1, Opened: 9, Closed: 3, Refused: 2, FlowsFolded: 8},
		Calls:       l7.Stats{Gaps: 3, ByCapture: [l7.Gap + 1]uint64{l7.MidStream: 4}},
		Spans:       engine.SpanStats{Spans: 5, OverLimit: 6},
		Probes: []wire.ProbeStatus{
			{Capability: "payload", Hook: "raw_tp/sys_exit", Refused: []wire.Refusal{{Hook: "fexit/tcp_sendmsg"}}},
			{Capability: "drops", Refused: []wire.Refusal{{Hook: "tp_btf/kfree_skb"}}},
		},
		Kernel: wire.KernelStats{
			RingBytes: 1, RingSize: 4,
			Programs: []wire.ProgramStats{{Name: "kfree_skb", Runs: 5, RunNs: 2_500_000_000, Misses: 1}},
		},
	}
	books.Kernel.Stages[wire.DirectionTransmit][wire.StageQdisc][wire.StageNoStamp] = 11
	books.Kernel.Stages[wire.DirectionUnknown][wire.StageNetfilter][wire.StageInterrupted] = 12
	books.Kernel.Stages[wire.DirectionTransmit][wire.StageIP][wire.StageFolded] = 13
	books.Kernel.Kinds[wire.RecordDrop] = wire.KindStats{Seen: 10, Submitted: 5, Suppressed: 3, Lost: 2}

	telemetry := componenttest.NewTelemetry()
	t.Cleanup(func() { assert.NoError(t, telemetry.Shutdown(context.Background())) })
	set := nopSettings()
	set.ID = idOf("ebpf_net/a")
	set.TelemetrySettings = telemetry.NewTelemetrySettings()
	fake := &fakeEngine{books: books}
	all := createSignals(t, newFactory(fake.open), set, defaultConfig(), consumertest.NewNop())
	require.NoError(t, all.metrics.Start(t.Context(), componenttest.NewNopHost()))

	metadatatest.AssertEqualEbpfNetConnectionsTracked(t, telemetry, []metricdata.DataPoint[int64]{point[int64](7)}, ignoreTimes)
	metadatatest.AssertEqualEbpfNetRingFill(t, telemetry, []metricdata.DataPoint[float64]{point(0.25)}, ignoreTimes)
	metadatatest.AssertEqualEbpfNetProbeStatus(t, telemetry, []metricdata.DataPoint[int64]{
		point[int64](1, "capability", "payload", "hook", "raw_tp/sys_exit"),
		point[int64](0, "capability", "payload", "hook", "fexit/tcp_sendmsg"),
		point[int64](0, "capability", "drops", "hook", "tp_btf/kfree_skb"),
	}, ignoreTimes)
	metadatatest.AssertEqualEbpfNetProgramRuns(t, telemetry,
		[]metricdata.DataPoint[int64]{point[int64](5, "program", "kfree_skb")}, ignoreTimes)
	metadatatest.AssertEqualEbpfNetProgramTime(t, telemetry,
		[]metricdata.DataPoint[float64]{point(2.5, "program", "kfree_skb")}, ignoreTimes)
	metadatatest.AssertEqualEbpfNetProgramMisses(t, telemetry,
		[]metricdata.DataPoint[int64]{point[int64](1, "program", "kfree_skb")}, ignoreTimes)
	assertRecords(t, telemetry, "otelcol_ebpf_net_records_seen", point[int64](10, "kind", "drop"))
	assertRecords(t, telemetry, "otelcol_ebpf_net_records",
		point[int64](5, "kind", "drop", "outcome", "submitted"),
		point[int64](3, "kind", "drop", "outcome", "suppressed"),
		point[int64](2, "kind", "drop", "outcome", "lost"))

	metadatatest.AssertEqualEbpfNetPayloadGaps(t, telemetry, []metricdata.DataPoint[int64]{point[int64](3)}, ignoreTimes)
	metadatatest.AssertEqualEbpfNetConnections(t, telemetry, []metricdata.DataPoint[int64]{
		point[int64](9, "event", "opened"), point[int64](0, "event", "adopted"), point[int64](0, "event", "failed"),
		point[int64](0, "event", "abandoned"), point[int64](3, "event", "closed"), point[int64](0, "event", "lost_close"),
	}, ignoreTimes)
	metadatatest.AssertEqualEbpfNetLimits(t, telemetry, []metricdata.DataPoint[int64]{
		point[int64](0, "limit", "metrics_queue"), point[int64](0, "limit", "logs_queue"), point[int64](0, "limit", "traces_queue"),
		point[int64](0, "limit", "kernel_connections"), point[int64](0, "limit", "kernel_counts"),
		point[int64](0, "limit", "kernel_flows"),
		point[int64](2, "limit", "connections"), point[int64](0, "limit", "attributes"),
		point[int64](8, "limit", "flows"), point[int64](13, "limit", "stage_owners"),
	}, ignoreTimes)
	metadatatest.AssertEqualEbpfNetStagesUnmeasured(t, telemetry, []metricdata.DataPoint[int64]{
		point[int64](11, "direction", "transmit", "stage", "qdisc", "reason", "no_stamp"),
		point[int64](12, "direction", "", "stage", "netfilter", "reason", "interrupted"),
	}, ignoreTimes)
	metadatatest.AssertEqualEbpfNetCalls(t, telemetry, []metricdata.DataPoint[int64]{
		point[int64](5, "outcome", "span"), point[int64](0, "outcome", "unsampled"),
		point[int64](6, "outcome", "over_limit"), point[int64](0, "outcome", "unwanted"),
	}, ignoreTimes)
	metadatatest.AssertEqualEbpfNetCallsCaptured(t, telemetry, []metricdata.DataPoint[int64]{
		point[int64](0, "capture", "complete"), point[int64](0, "capture", "truncated"),
		point[int64](4, "capture", "mid_stream"), point[int64](0, "capture", "gap"),
	}, ignoreTimes)

	require.NoError(t, all.metrics.Shutdown(t.Context()))
	_, err := telemetry.GetMetric("otelcol_ebpf_net_ring_fill")
	assert.Error(t, err, "nothing is read from an engine that stopped")
}

// assertRecords looks at the drops only; the other kinds are there too, at 0.
func assertRecords(t *testing.T, telemetry *componenttest.Telemetry, name string, want ...metricdata.DataPoint[int64]) {
	t.Helper()
	metric, err := telemetry.GetMetric(name)
	require.NoError(t, err)
	sum := metric.Data.(metricdata.Sum[int64])
	assert.Len(t, sum.DataPoints, (wire.RecordKindMax-1)*len(want))
	var drops []metricdata.DataPoint[int64]
	for _, got := range sum.DataPoints {
		if kind, _ := got.Attributes.Value("kind"); kind.AsString() == "drop" {
			drops = append(drops, got)
		}
	}
	sum.DataPoints = drops
	metricdatatest.AssertEqual(t, metricdata.Sum[int64]{
		Temporality: metricdata.CumulativeTemporality, IsMonotonic: true, DataPoints: want,
	}, sum, ignoreTimes)
}

// point is a data point of the receiver ebpf_net/a with attributes given as key, value, key, value.
func point[N int64 | float64](value N, keyValues ...string) metricdata.DataPoint[N] {
	attributes := []attribute.KeyValue{attribute.String("receiver", "ebpf_net/a")}
	for i := 0; i < len(keyValues); i += 2 {
		attributes = append(attributes, attribute.String(keyValues[i], keyValues[i+1]))
	}
	return metricdata.DataPoint[N]{Value: value, Attributes: attribute.NewSet(attributes...)}
}
