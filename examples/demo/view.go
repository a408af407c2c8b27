package main

import (
	"slices"
	"strings"
	"time"

	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

// view shows the three signals as they come. A round lasts from one collection of the metrics to the next:
// in each, the first call and the first event of a kind are shown, the others counted.
//
// It lives in the time that the data say, not in that of the clock on the wall, so that a recording looks
// the way it did live.
type view struct {
	*terminal
	books  books
	own    books // of what the collector says of itself
	pairs  pairing
	calls  gate
	events gate
	ends   []end           // all spans, for the comparison at the end
	stacks map[string]bool // those that were shown
	newest time.Time       // of the collection that is not shown yet; zero: all are
}

func newView(t *terminal) *view { return &view{terminal: t, stacks: map[string]bool{}} }

// batch is one request of the collector's exporter. A collection comes in several: whoever passes them on says with
// endRound when it is whole.
func (v *view) batch(b batch) {
	switch {
	case b.own != nil:
		v.own.add(*b.own)
	case b.logs != nil:
		v.showLogs(*b.logs)
	case b.traces != nil:
		v.showSpans(*b.traces, b.at)
	case b.metrics != nil:
		v.books.add(*b.metrics)
		v.showLonely(b.at)
		if b.at.After(v.newest) {
			v.newest = b.at
		}
	}
}

func (v *view) showSpans(traces ptrace.Traces, now time.Time) {
	var complete []*call
	for _, resource := range traces.ResourceSpans().All() {
		o := ownerOf(resource.Resource(), v.books.namespaces)
		for _, scope := range resource.ScopeSpans().All() {
			for _, span := range scope.Spans().All() {
				e := endOf(span, o)
				v.ends = append(v.ends, e)
				if c := v.pairs.add(e, now); c != nil {
					complete = append(complete, c)
				}
			}
		}
	}
	slices.SortStableFunc(complete, func(a, b *call) int { return a.first().start.Compare(b.first().start) })
	for _, c := range complete {
		v.showCall(c)
	}
	v.showLonely(now)
}

// showLonely shows the calls of which only one end was seen.
func (v *view) showLonely(now time.Time) {
	for _, c := range v.pairs.alone(now) {
		v.showCall(c)
	}
}

func (v *view) showCall(c *call) {
	e := c.first()
	if v.calls.pass(c.shape(), e.duration, "trace "+e.trace.String()[:8]) {
		text, below := c.tree(v.terminal)
		v.event(e.start, kindSpan, text, below...)
	}
}

// stackFrames is how many frames of a stack are shown: enough to see which part of the kernel it was.
const stackFrames = 3

func (v *view) showLogs(logs plog.Logs) {
	for _, resource := range logs.ResourceLogs().All() {
		for _, scope := range resource.ScopeLogs().All() {
			for _, record := range scope.LogRecords().All() {
				v.showLog(record)
			}
		}
	}
}

func (v *view) showLog(record plog.LogRecord) {
	attribute := func(name string) string {
		value, ok := record.Attributes().Get(name)
		if !ok {
			return ""
		}
		return value.AsString()
	}
	what, _, _ := strings.Cut(record.Body().Str(), ":")
	kind, _, _ := strings.Cut(what, ",") // behind it: how long it took
	if !v.events.pass(kind, 0, "") {
		return
	}
	text := record.Body().Str()
	if trace := record.TraceID(); !trace.IsEmpty() {
		text += ", trace " + trace.String()[:8]
	}
	text = v.paint(severityStyle(record), what) + text[len(what):]
	v.event(record.Timestamp().AsTime(), kindLog, text+v.paint(dim, "  ["+record.EventName()+"]"),
		v.stack(what, attribute("code.stacktrace"))...)
}

// stack is the top of a kernel stack, unless the same was shown for the same kind of event before.
func (v *view) stack(what, text string) (lines []string) {
	frames := strings.Split(strings.TrimSpace(text), "\n")
	top := frames[:min(stackFrames, len(frames))]
	key := what + strings.Join(top, "\n")
	if text == "" || v.stacks[key] {
		return nil
	}
	v.stacks[key] = true
	for _, frame := range top {
		lines = append(lines, v.paint(dim, "  at "+strings.TrimSpace(frame)))
	}
	if more := len(frames) - len(top); more > 0 {
		lines = append(lines, v.paint(dim, "  … "+counted(more, "more frame")))
	}
	return lines
}

func severityStyle(record plog.LogRecord) style {
	if record.SeverityNumber() >= plog.SeverityNumberWarn {
		return yellow
	}
	return dim
}

// endRound says what was held back, and shows the collection, once.
func (v *view) endRound() {
	if v.newest.IsZero() {
		return
	}
	at := v.newest
	v.newest = time.Time{}
	v.showHeldBack(at)
	if table := v.books.table(); len(table) > 1 {
		v.event(at, kindMetric, v.paint(dim, "since the start"))
		v.lines("  " + v.paint(dim, table[0]))
		for _, line := range table[1:] {
			v.lines("  " + line)
		}
		v.lines("")
	}
}

func (v *view) showHeldBack(at time.Time) {
	for _, call := range v.calls.round() {
		v.event(at, kindSpan, "… "+call)
	}
	if events := v.events.round(); len(events) > 0 {
		v.event(at, kindLog, "… "+strings.Join(events, ", "))
	}
}

// end shows what is still waiting.
func (v *view) end(at time.Time) {
	v.showLonely(at.Add(2 * partnerWait))
	v.endRound()
	v.showHeldBack(at)
}
