package engine

import (
	"context"
	"slices"
	"sync"

	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/ebpfnet/ebpfnetreceiver/internal/conn"
	"github.com/ebpfnet/ebpfnetreceiver/internal/l7"
	"github.com/ebpfnet/ebpfnetreceiver/internal/l7/dns"
	"github.com/ebpfnet/ebpfnetreceiver/internal/otlp"
	"github.com/ebpfnet/ebpfnetreceiver/internal/owner"
	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

// batchItems is after how many spans or log records a batch is handed on without waiting for Flush.
const batchItems = 1000

// pipeline is the wire.Handler of an engine: all its state, in one goroutine.
type pipeline struct {
	engine  *Engine
	out     struct{ metrics, logs, spans *output }
	table   *conn.Table
	calls   *l7.Tracker
	metrics *otlp.Metrics
	logs    *otlp.Logs
	spans   *otlp.Spans
	sampler sampler
	times   times
	parts   otlp.Parts // of the call at hand
	longest longest
	slow    []slowEvent
	lookups lookups
	stats   Stats
}

func newPipeline(ctx context.Context, e *Engine) *pipeline {
	facts := e.source.Facts()
	environment := otlp.Environment{Owners: owner.NewResolver(facts), Facts: facts}
	p := &pipeline{
		engine:  e,
		table:   newTable(e.config.OTLP.Connections(), facts, environment.Owners),
		metrics: otlp.NewMetrics(e.config.OTLP, environment),
		logs:    otlp.NewLogs(e.config.OTLP, environment),
		spans:   otlp.NewSpans(e.config.OTLP),
		sampler: newSampler(e.config.Trace),
		times:   newTimes(),
		longest: newLongest(),
	}
	p.calls = l7.NewTracker(e.config.L7, p.call)
	p.lookups.tracker = dns.NewTracker(dns.Options{Timeout: e.config.DNS.Timeout}, p.lookup)
	p.lookups.bucket = newBucket(e.config.DNS.PerSecond)
	p.out.metrics, p.out.logs, p.out.spans = newOutput(ctx), newOutput(ctx), newOutput(ctx)
	return p
}

func newTable(options conn.Options, facts wire.Facts, owners conn.Resolver) *conn.Table {
	if translator, ok := facts.(wire.Translator); ok {
		options.Translation = translator.Translation
	}
	return conn.New(options, owners)
}

// close hands over what is queued.
func (p *pipeline) close() {
	p.calls.End()
	p.sendSpans()
	p.tellWaiting() // for the second time
	p.sendLogs()
	var all sync.WaitGroup
	for _, out := range []*output{p.out.metrics, p.out.logs, p.out.spans} {
		all.Go(out.close)
	}
	all.Wait()
	p.publish()
}

// send queues a batch of so many items. A recording can wait, the kernel cannot.
func (p *pipeline) send(to *output, items int, lost *uint64, batch func(context.Context)) {
	if p.engine.config.Replay != "" {
		to.wait(batch)
	} else if !to.put(batch) {
		*lost += uint64(items)
	}
}

// Begin implements wire.Handler.
func (p *pipeline) Begin(begin *wire.Begin) {
	p.table.Begin(begin)
	p.metrics.Begin(begin)
	p.logs.SetOffset(begin.OffsetNs)
	p.spans.SetOffset(begin.OffsetNs)
	p.stats.Probes = begin.Probes
	p.publish()
}

// Conn implements wire.Handler.
func (p *pipeline) Conn(record *wire.ConnRecord) {
	p.table.Conn(record)
	switch record.Header.Kind {
	case wire.RecordConnOpen:
		p.calls.Mark(record.ID, origin(record))
		p.lookups.follow(record)
	case wire.RecordConnFailed:
		if p.engine.sink.Logs != nil {
			c, _ := p.table.Get(record.ID)
			p.logs.ConnectionFailed(record, c, otlp.Link{}) // there was no call yet
			p.logged()
		}
	case wire.RecordConnClose:
		p.calls.Totals(record.ID, record.BytesReceived, sent(record))
		p.lookups.tracker.Close(record.ID)
		if record.Flags&wire.ConnUnread != 0 { // what is known of it is swept up when the table lets it go
			p.calls.CloseUnread(record.ID, record.Header.TimeNs, otlp.CloseError(record))
			return
		}
		p.calls.Close(record.ID, record.Header.TimeNs, otlp.CloseError(record))
		p.tellWaitingOf(record.ID)
		p.times.forget(record.ID)
		p.longest.forget(record.ID)
	}
}

// origin is what the announcement of a connection tells of its beginning.
func origin(record *wire.ConnRecord) l7.Origin {
	if record.Flags&wire.ConnAdopted != 0 {
		return l7.Origin{MidStream: true, Counted: true, Received: record.BytesReceived, Sent: sent(record)}
	}
	return l7.Origin{
		Sequences: record.Flags&wire.ConnSequences != 0,
		Receive:   record.FirstReceived,
		Transmit:  record.FirstSent,
	}
}

// sent is how much payload went out, each byte once.
func sent(record *wire.ConnRecord) uint64 {
	return record.BytesSent - min(record.BytesSent, record.BytesRetrans)
}

// Packet implements wire.Handler.
func (p *pipeline) Packet(event *wire.PacketEvent) {
	c, _ := p.table.Get(event.ConnID)
	sent := event.Direction == wire.DirectionTransmit && event.HasTCP&wire.TCPSequence != 0
	link := p.hurt(event.ConnID, event.Sequence, sent, c)
	if p.engine.sink.Traces != nil && p.sampler.samples(link.TraceID) {
		p.metrics.Hurt(event, link)
	}
	if p.engine.sink.Logs != nil {
		p.logs.Packet(event, c, link)
		p.logged()
	}
}

// hurt is the span of the call that an event happens to, zero if none is known. It is the call in flight on
// the connection, unless the event is about bytes of an answer that was given before. Its ids are known
// before it ends, and are the same whether or not it will be sampled.
func (p *pipeline) hurt(connID uint64, sequence uint32, sent bool, c *conn.Connection) otlp.Link {
	if connID == 0 {
		return otlp.Link{}
	}
	call, inFlight := p.calls.InFlight(connID)
	begun := inFlight && call.Server && call.ResponseSequenceKnown && int32(sequence-call.ResponseSequence) >= 0
	if sent && !begun {
		if ended := p.times.spanAt(connID, false, sequence); ended != nil {
			return p.made(ended.ids, c)
		}
	}
	if !inFlight {
		return otlp.Link{}
	}
	return p.link(call, c)
}

// Slow implements wire.Handler. A read ends before its bytes are told of, and so before it is known what call
// they belong to: it waits for the next Flush.
func (p *pipeline) Slow(event *wire.SlowEvent) {
	if p.engine.sink.Logs == nil {
		return
	}
	c, _ := p.table.Get(event.ConnID)
	if link := p.sentBy(event, c); link != (otlp.Link{}) { // of later calls' bytes it may be known no more
		p.tellSlow(event, c, link)
		return
	}
	if event.ConnID != 0 && len(p.slow) < batchItems {
		p.slow = append(p.slow, slowEvent{SlowEvent: *event})
		return
	}
	p.tellSlow(event, c, otlp.Link{})
}

// sentBy is the call that has ended whose bytes were slow on their way out, zero if none is known.
func (p *pipeline) sentBy(event *wire.SlowEvent, c *conn.Connection) otlp.Link {
	if event.Direction != wire.DirectionTransmit || event.Sequence == 0 {
		return otlp.Link{}
	}
	ended := p.times.spanAt(event.ConnID, false, event.Sequence)
	if ended == nil {
		return otlp.Link{}
	}
	return p.made(ended.ids, c)
}

// slowEvent waits for its call.
type slowEvent struct {
	wire.SlowEvent
	asked bool // at one Flush already, and nobody knew the call
}

// tellWaiting tells of the slow events whose call is known by now, and of those whose is not the second time.
func (p *pipeline) tellWaiting() {
	waiting := p.slow[:0]
	for i := range p.slow { // what stays is written over what has been looked at
		event := p.slow[i]
		c, _ := p.table.Get(event.ConnID)
		link := p.slowed(&event.SlowEvent, c)
		if link == (otlp.Link{}) && !event.asked {
			event.asked = true
			waiting = append(waiting, event)
			continue
		}
		p.tellSlow(&event.SlowEvent, c, link)
	}
	p.slow = waiting
}

// tellWaitingOf tells of those of a connection that is gone, before its calls are forgotten.
func (p *pipeline) tellWaitingOf(connID uint64) {
	p.slow = slices.DeleteFunc(p.slow, func(event slowEvent) bool {
		if event.ConnID != connID {
			return false
		}
		c, _ := p.table.Get(connID)
		p.tellSlow(&event.SlowEvent, c, p.slowed(&event.SlowEvent, c))
		return true
	})
}

func (p *pipeline) tellSlow(event *wire.SlowEvent, c *conn.Connection, link otlp.Link) {
	p.logs.Slow(event, c, link)
	p.logged()
}

// slowed is the span of the call whose bytes were slow on their way out, where that is known and has ended; else of the
// one that was under way, the newest to begin of those that have ended.
func (p *pipeline) slowed(event *wire.SlowEvent, c *conn.Connection) otlp.Link {
	if event.What == wire.SlowWindow && event.Direction == wire.DirectionTransmit {
		return p.hurt(event.ConnID, event.Sequence, true, c)
	}
	if link := p.sentBy(event, c); link != (otlp.Link{}) {
		return link
	}
	if of, ok := p.times.during(event.ConnID, event.Header.TimeNs); ok {
		return p.made(of, c)
	}
	reads := event.What == wire.SlowRead || event.What == wire.SlowWindow
	call, ok := p.calls.InFlight(event.ConnID)
	if ok && (call.StartNs <= event.Header.TimeNs || reads && begins(call, event.Sequence) || asks(call, event)) {
		return p.link(call, c)
	}
	return otlp.Link{}
}

// begins: that byte was received, and is the first of the call.
func begins(call *l7.Call, sequence uint32) bool {
	return call.Server && call.SequenceKnown && call.RequestSequence == sequence
}

// asks: a byte of the request was slow on its way out, or one behind it.
func asks(call *l7.Call, event *wire.SlowEvent) bool {
	return event.Direction == wire.DirectionTransmit && event.Sequence != 0 &&
		!call.Server && call.SequenceKnown && int32(event.Sequence-call.RequestSequence) >= 0
}

// Payload implements wire.Handler.
func (p *pipeline) Payload(record *wire.PayloadRecord, data []byte) {
	if record.Flags&wire.PayloadDNS != 0 {
		p.lookups.tracker.Payload(record, data)
		return
	}
	if p.engine.sink.Traces != nil || p.engine.sink.Logs != nil {
		p.times.note(record)
	}
	p.calls.Payload(record, data)
}

// call takes a finished call: always into the metrics, as far as the sampler lets it into a span.
func (p *pipeline) call(call *l7.Call) {
	c, _ := p.table.Get(call.ConnID)
	p.stats.Spans.Calls++
	counted := p.metrics.Call(call, c)
	if p.engine.sink.Traces == nil {
		p.stats.Spans.Unwanted++
		if p.engine.sink.Logs != nil {
			p.untold(call, c)
		}
		return
	}
	identity := p.identify(call, c)
	link := otlp.Link{TraceID: identity.TraceID, SpanID: identity.SpanID}
	seconds := call.Seconds() // as counted: what the request waited before it was read is the span's alone
	ended, parts := p.times.take(call, ids{Link: link})
	p.parts = parts
	if ended.exported = p.export(call, c, identity); ended.exported {
		p.metrics.Exemplify(counted, seconds, call.EndNs, link)
	}
	p.settle(call.ConnID)
}

// export makes a span of a call, as far as the sampler lets it.
func (p *pipeline) export(call *l7.Call, c *conn.Connection, identity otlp.Identity) (exported bool) {
	switch p.sampler.decide(identity.TraceID, call) {
	case unsampled:
		p.stats.Spans.Unsampled++
		return false
	case overLimit:
		p.stats.Spans.OverLimit++
		return false
	}
	p.stats.Spans.Spans++
	if c != nil {
		c.SetSpan(identity.TraceID, identity.SpanID)
	}
	p.spans.Add(otlp.Span{Call: call, Conn: c, Identity: identity, Parts: &p.parts})
	if p.spans.Len() >= batchItems {
		p.sendSpans()
	}
	return true
}

// untold takes a finished call of which there will be no span: what is told of later may still name it.
func (p *pipeline) untold(call *l7.Call, c *conn.Connection) {
	of, ok := later(call, c)
	if !ok {
		of.Link = p.link(call, c)
	}
	p.times.take(call, of)
}

// Flush implements wire.Handler.
func (p *pipeline) Flush(timeNs uint64) {
	p.calls.Flush(timeNs)
	p.lookups.flush(timeNs)
	p.tellWaiting()
	p.sendSpans()
	p.sendLogs()
}

// Collect implements wire.Handler.
func (p *pipeline) Collect(collection *wire.Collection) {
	if !collection.Snapshot {
		p.table.NoSnapshot()
	}
	p.lookups.collect(&collection.Stats)
	p.table.Datagrams(collection.Flows, collection.TimeNs)
	p.table.Collect(collection.TimeNs, collection.OffsetNs)
	known := func(id uint64) bool { _, known := p.table.Get(id); return known }
	p.times.sweep(known)
	p.longest.sweep(collection.TimeNs)
	p.logs.SetOffset(collection.OffsetNs)
	p.spans.SetOffset(collection.OffsetNs)
	metrics := p.metrics.Collect(collection, p.table)
	if sink, points := p.engine.sink.Metrics, metrics.DataPointCount(); sink != nil && points > 0 {
		p.send(p.out.metrics, points, &p.stats.Lost.Metrics, func(ctx context.Context) {
			otlp.Split(metrics, func(batch pmetric.Metrics) { _ = sink(ctx, batch) })
		})
	}
	p.sendFlows(collection)
	p.stats.Kernel = collection.Stats
	p.publish()
}

// sendFlows hands over the flows after all else of the collection, which is free again by then. They are one batch of
// the queue and many of the sink's: made all at once they would take more memory than everything else.
func (p *pipeline) sendFlows(collection *wire.Collection) {
	sink := p.engine.sink.Metrics
	if sink == nil {
		return
	}
	flows := p.metrics.Flows(collection, p.table.Flows())
	if flows == nil {
		return
	}
	p.send(p.out.metrics, flows.Len(), &p.stats.Lost.Metrics, func(ctx context.Context) {
		flows.Each(func(metrics pmetric.Metrics) { _ = sink(ctx, metrics) })
	})
}

func (p *pipeline) logged() {
	p.stats.Logs++
	if p.logs.Len() >= batchItems {
		p.sendLogs()
	}
}

func (p *pipeline) sendSpans() {
	if p.spans.Len() == 0 {
		return
	}
	traces, sink := p.spans.Take(), p.engine.sink.Traces
	p.send(p.out.spans, traces.SpanCount(), &p.stats.Lost.Spans, func(ctx context.Context) { _ = sink(ctx, traces) })
}

func (p *pipeline) sendLogs() {
	if p.logs.Len() == 0 {
		return
	}
	logs, sink := p.logs.Take(), p.engine.sink.Logs
	p.send(p.out.logs, logs.LogRecordCount(), &p.stats.Lost.Logs, func(ctx context.Context) { _ = sink(ctx, logs) })
}

// publish makes the books readable for others. What a sink refused is its own to count.
func (p *pipeline) publish() {
	stats := p.stats
	stats.Connections, stats.Calls, stats.Lookups = p.table.Stats(), p.calls.Stats(), p.lookups.tracker.Stats()
	p.engine.stats.Store(&stats)
}
