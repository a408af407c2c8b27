package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"
)

// books keeps the last point of each series. Sums and histograms are cumulative, so the last points of all
// series, those of processes that have ended included, add up to what happened since the start.
type books struct {
	// namespaces names network namespaces by inode number, for what no process can be named for.
	namespaces map[int64]string

	series map[seriesKey]*series
	at     pcommon.Timestamp // of the newest collection
}

// seriesKey has the start in it, because a series that begins anew begins at 0.
type seriesKey struct {
	owner      owner
	metric     string
	attributes string
	start      pcommon.Timestamp
}

type series struct {
	attributes map[string]string
	at         pcommon.Timestamp
	value      int64
	histogram  pmetric.ExponentialHistogramDataPoint
	isLevel    bool // how many there are, not how many there were
}

// owner is a Resource, shortened to what the demo's processes have. A curl lives for one request, so what
// they have in common is shown, not each of them.
type owner struct {
	name string
	pid  int64
}

func ownerOf(resource pcommon.Resource, namespaces map[int64]string) owner {
	var o owner
	attributes := resource.Attributes()
	if pid, ok := attributes.Get("process.pid"); ok {
		o.pid = pid.Int()
	}
	for _, name := range []string{"service.name", "container.id", "process.executable.name"} {
		if value, ok := attributes.Get(name); ok {
			o.name = value.Str()
			return o
		}
	}
	o.name = "(process without a name)"
	if inode, ok := attributes.Get("ebpfnet.network.namespace.inode"); ok {
		o.name = "(" + cmp.Or(namespaces[inode.Int()], fmt.Sprintf("network namespace %d", inode.Int())) + ")"
	}
	return o
}

// add takes one collection.
func (b *books) add(metrics pmetric.Metrics) {
	if b.series == nil {
		b.series = map[seriesKey]*series{}
	}
	for _, resource := range metrics.ResourceMetrics().All() {
		o := ownerOf(resource.Resource(), b.namespaces)
		for _, scope := range resource.ScopeMetrics().All() {
			for _, metric := range scope.Metrics().All() {
				b.metric(o, metric)
			}
		}
	}
}

func (b *books) metric(o owner, metric pmetric.Metric) {
	switch metric.Type() {
	case pmetric.MetricTypeSum:
		for _, point := range metric.Sum().DataPoints().All() {
			s := b.point(o, metric, point.Attributes(), point.StartTimestamp(), point.Timestamp())
			s.value, s.isLevel = point.IntValue(), !metric.Sum().IsMonotonic()
		}
	case pmetric.MetricTypeExponentialHistogram:
		for _, point := range metric.ExponentialHistogram().DataPoints().All() {
			s := b.point(o, metric, point.Attributes(), point.StartTimestamp(), point.Timestamp())
			s.histogram, s.value = point, int64(point.Count())
		}
	}
}

func (b *books) point(o owner, metric pmetric.Metric, attributes pcommon.Map, start, at pcommon.Timestamp) *series {
	texts := map[string]string{}
	for name, value := range attributes.All() {
		texts[name] = value.AsString()
	}
	key := seriesKey{o, metric.Name(), fmt.Sprint(texts), start} // fmt sorts the keys of maps
	s, ok := b.series[key]
	if !ok {
		s = &series{attributes: texts, histogram: pmetric.NewExponentialHistogramDataPoint()}
		b.series[key] = s
	}
	s.at = at
	b.at = max(b.at, at)
	return s
}

// each calls f for each series of a metric and an owner's name; an empty name is all owners.
// Levels of owners that the newest collection did not mention are over.
func (b *books) each(metric, name string, f func(*series)) {
	for key, s := range b.series {
		if key.metric == metric && (name == "" || key.owner.name == name) && !(s.isLevel && s.at < b.at) {
			f(s)
		}
	}
}

// total adds up a metric's values whose attributes are as wanted: name, value, name, value, …
func (b *books) total(metric, name string, wanted ...string) (sum int64) {
	b.each(metric, name, func(s *series) {
		for i := 0; i < len(wanted); i += 2 {
			if s.attributes[wanted[i]] != wanted[i+1] {
				return
			}
		}
		sum += s.value
	})
	return sum
}

// by adds up a metric by the values of attributes, joined by a space.
func (b *books) by(metric, name string, attributes ...string) map[string]int64 {
	sums := map[string]int64{}
	b.each(metric, name, func(s *series) {
		var values []string
		for _, attribute := range attributes {
			if value := s.attributes[attribute]; value != "" {
				values = append(values, value)
			}
		}
		if s.value != 0 {
			sums[strings.Join(values, " ")] += s.value
		}
	})
	return sums
}

// distribution merges a metric's histograms.
func (b *books) distribution(metric, name string) (d distribution) {
	b.each(metric, name, func(s *series) { d.add(s.histogram) })
	return d
}

// owners are the names of all owners, and their processes.
func (b *books) owners() (names []string, pids map[string]map[int64]bool) {
	pids = map[string]map[int64]bool{}
	for key := range b.series {
		of := pids[key.owner.name]
		if of == nil {
			of = map[int64]bool{}
			pids[key.owner.name] = of
		}
		if key.owner.pid != 0 {
			of[key.owner.pid] = true
		}
	}
	return slices.Sorted(maps.Keys(pids)), pids
}
