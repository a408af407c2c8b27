package otlp

import (
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/ebpfnet/ebpfnetreceiver/internal/conn/histogram"
	"github.com/ebpfnet/ebpfnetreceiver/internal/owner"
)

// writer writes the metrics of one collection: resource by resource, instrument by instrument, point by
// point. What stays empty is not there at all.
type writer struct {
	disabled *[instrumentCount]bool
	version  string
	metrics  pmetric.Metrics
	now      pcommon.Timestamp

	owner    owner.Owner
	overflow bool
	scope    pmetric.ScopeMetrics
	inScope  bool // scope is of this owner

	id     instrument
	metric pmetric.Metric
	begun  bool // metric is of id
	start  pcommon.Timestamp
}

func (w *writer) resource(o owner.Owner, overflow bool) {
	w.owner, w.overflow, w.inScope = o, overflow, false
}

// instrument chooses what the points that follow are of, and since when they count.
func (w *writer) instrument(id instrument, startNs uint64) (wanted bool) {
	w.id, w.begun = id, false
	w.start = min(pcommon.Timestamp(startNs), w.now)
	return !w.disabled[id]
}

func (w *writer) begin() pmetric.Metric {
	if w.begun {
		return w.metric
	}
	w.begun = true
	if !w.inScope {
		w.inScope = true
		resource := w.metrics.ResourceMetrics().AppendEmpty()
		resource.SetSchemaUrl(SchemaURL)
		if w.overflow {
			resource.Resource().Attributes().PutBool(attrOverflow, true)
		} else {
			writeResource(w.owner, resource.Resource().Attributes())
		}
		w.scope = resource.ScopeMetrics().AppendEmpty()
		w.scope.SetSchemaUrl(SchemaURL)
		writeScope(w.version, w.scope.Scope())
	}
	what := &instruments[w.id]
	w.metric = w.scope.Metrics().AppendEmpty()
	w.metric.SetName(what.Name)
	w.metric.SetUnit(what.Unit)
	w.metric.SetDescription(what.Description)
	if what.Kind != Histogram {
		sum := w.metric.SetEmptySum()
		sum.SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
		sum.SetIsMonotonic(what.Kind == Sum)
	}
	return w.metric
}

func (w *writer) number(value uint64) pcommon.Map { return w.point(value).Attributes() }

func (w *writer) point(value uint64) pmetric.NumberDataPoint {
	point := w.begin().Sum().DataPoints().AppendEmpty()
	point.SetStartTimestamp(w.start)
	point.SetTimestamp(w.now)
	point.SetIntValue(int64(value))
	return point
}

func (w *writer) histogram(h *histogram.Histogram) pcommon.Map {
	if len(h.Bounds) > 0 {
		return w.explicit(h)
	}
	metric := w.begin()
	if metric.Type() == pmetric.MetricTypeEmpty {
		metric.SetEmptyExponentialHistogram().SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
	}
	point := metric.ExponentialHistogram().DataPoints().AppendEmpty()
	point.SetStartTimestamp(w.start)
	point.SetTimestamp(w.now)
	point.SetCount(h.Count)
	point.SetSum(h.Sum)
	point.SetMin(h.Min)
	point.SetMax(h.Max)
	point.SetScale(int32(h.Scale))
	point.SetZeroCount(h.ZeroCount)
	point.Positive().SetOffset(int32(h.Offset))
	point.Positive().BucketCounts().FromRaw(h.Counts)
	exemplify(point.Exemplars(), h)
	return point.Attributes()
}

func (w *writer) explicit(h *histogram.Histogram) pcommon.Map {
	metric := w.begin()
	if metric.Type() == pmetric.MetricTypeEmpty {
		metric.SetEmptyHistogram().SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
	}
	point := metric.Histogram().DataPoints().AppendEmpty()
	point.SetStartTimestamp(w.start)
	point.SetTimestamp(w.now)
	point.SetCount(h.Count)
	point.SetSum(h.Sum)
	point.SetMin(h.Min)
	point.SetMax(h.Max)
	point.ExplicitBounds().FromRaw(h.Bounds)
	point.BucketCounts().FromRaw(h.Counts)
	exemplify(point.Exemplars(), h)
	return point.Attributes()
}

func exemplify(to pmetric.ExemplarSlice, h *histogram.Histogram) {
	if e, ok := h.TakeExemplar(); ok {
		writeExemplar(to.AppendEmpty(), &e).SetDoubleValue(e.Value)
	}
}

func writeExemplar(to pmetric.Exemplar, e *histogram.Exemplar) pmetric.Exemplar {
	to.SetTimestamp(pcommon.Timestamp(e.TimeNs))
	to.SetTraceID(e.TraceID)
	to.SetSpanID(e.SpanID)
	return to
}
