//go:build linux && (amd64 || arm64)

package kerneltest

import (
	"fmt"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

// where describes attributes of a point, a log record or a span, or of its Resource: key, value, ….
type where []any

// matches: do attributes, or else those of the Resource, have all the values that are asked for?
func (w where) matches(attributes, resource pcommon.Map) bool {
	for i := 0; i < len(w); i += 2 {
		value, ok := attributes.Get(w[i].(string))
		if !ok {
			value, ok = resource.Get(w[i].(string))
		}
		if !ok || value.AsString() != fmt.Sprint(w[i+1]) {
			return false
		}
	}
	return true
}

// each calls f for the metric of this name in each Resource of the newest metrics.
func (o *observer) each(name string, f func(pmetric.Metric, pcommon.Map)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for i := len(o.metrics) - 1; i >= 0 && collectedAt(o.metrics[i]) == collectedAt(o.metrics[len(o.metrics)-1]); i-- {
		for _, resource := range o.metrics[i].ResourceMetrics().All() {
			for _, scope := range resource.ScopeMetrics().All() {
				for _, metric := range scope.Metrics().All() {
					if metric.Name() == name {
						f(metric, resource.Resource().Attributes())
					}
				}
			}
		}
	}
}

// collectedAt is when a batch of metrics was collected: one collection may come in several.
func collectedAt(metrics pmetric.Metrics) pcommon.Timestamp {
	metric := metrics.ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().At(0)
	switch metric.Type() {
	case pmetric.MetricTypeGauge:
		return metric.Gauge().DataPoints().At(0).Timestamp()
	case pmetric.MetricTypeSum:
		return metric.Sum().DataPoints().At(0).Timestamp()
	default:
		return metric.ExponentialHistogram().DataPoints().At(0).Timestamp()
	}
}

// sum adds the newest values of all points that have these attributes.
func (o *observer) sum(name string, attributes ...any) (total int64) {
	o.each(name, func(metric pmetric.Metric, resource pcommon.Map) {
		for _, point := range metric.Sum().DataPoints().All() {
			if where(attributes).matches(point.Attributes(), resource) {
				total += point.IntValue()
			}
		}
	})
	return total
}

// by adds the newest values of all points by the value of one attribute.
func (o *observer) by(attribute, name string, attributes ...any) map[string]int64 {
	totals := map[string]int64{}
	o.each(name, func(metric pmetric.Metric, resource pcommon.Map) {
		for _, point := range metric.Sum().DataPoints().All() {
			if value, ok := point.Attributes().Get(attribute); ok && where(attributes).matches(point.Attributes(), resource) {
				if totals[value.AsString()] += point.IntValue(); totals[value.AsString()] == 0 {
					delete(totals, value.AsString())
				}
			}
		}
	})
	return totals
}

// distribution adds counts and sums of a histogram's points.
func (o *observer) distribution(name string, attributes ...any) (count uint64, sum float64) {
	o.each(name, func(metric pmetric.Metric, resource pcommon.Map) {
		for _, point := range metric.ExponentialHistogram().DataPoints().All() {
			if where(attributes).matches(point.Attributes(), resource) {
				count += point.Count()
				sum += point.Sum()
			}
		}
	})
	return count, sum
}

// events are the log records of this name, in their order.
func (o *observer) events(name string, attributes ...any) (found []plog.LogRecord) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, logs := range o.logs {
		for _, resource := range logs.ResourceLogs().All() {
			for _, scope := range resource.ScopeLogs().All() {
				for _, record := range scope.LogRecords().All() {
					if record.EventName() == name &&
						where(attributes).matches(record.Attributes(), resource.Resource().Attributes()) {
						found = append(found, record)
					}
				}
			}
		}
	}
	return found
}

// spans are all spans of one kind.
func (o *observer) spans(kind ptrace.SpanKind) (found []ptrace.Span) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, traces := range o.traces {
		for _, resource := range traces.ResourceSpans().All() {
			for _, scope := range resource.ScopeSpans().All() {
				for _, span := range scope.Spans().All() {
					if span.Kind() == kind {
						found = append(found, span)
					}
				}
			}
		}
	}
	return found
}

// text is an attribute as text, empty where it is absent.
func text(attributes pcommon.Map, name string) string {
	value, ok := attributes.Get(name)
	if !ok {
		return ""
	}
	return value.AsString()
}
