package otlp

import (
	"cmp"
	"maps"
	"slices"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/ebpfnet/ebpfnetreceiver/internal/conn"
	"github.com/ebpfnet/ebpfnetreceiver/internal/conn/histogram"
	"github.com/ebpfnet/ebpfnetreceiver/internal/l7"
	"github.com/ebpfnet/ebpfnetreceiver/internal/owner"
	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

// Metrics builds the metrics: of the connection table and the kernel's counts at each Collect, and of all
// calls since the start.
type Metrics struct {
	clock
	options  Options
	disabled [instrumentCount]bool
	counts   counts
	calls    *conn.Owners[calls]
	stages   stages
	lookups  *conn.Owners[lookups]
	callSets budget                              // of calls
	byOwner  map[*owner.Owner]*conn.Owned[calls] // what calls.Of said since the last collection
	last     struct {
		owner *owner.Owner
		calls *conn.Owned[calls]
	}
	netns    namespaceTable
	softirqs softirqs
	commands commands
	sinceNs  uint64 // CLOCK_REALTIME of the collection before, or of the start
}

// NewMetrics makes a builder without any series.
func NewMetrics(options Options, environment Environment) *Metrics {
	options.MaxSets = cmp.Or(options.MaxSets, 2000)
	options.MaxAllSets = cmp.Or(options.MaxAllSets, 20000)
	m := &Metrics{
		options: options,
		counts:  newCounts(options.Limits, environment),
		calls:   conn.NewOwners[calls](options.Limits),
		stages:  newStages(options.Limits, environment),
		netns:   newNamespaceTable(environment.Owners),
		lookups: conn.NewOwners[lookups](options.Limits),

		callSets: budget(options.MaxAllSets),
		byOwner:  map[*owner.Owner]*conn.Owned[calls]{},
	}
	for id := range instruments {
		m.disabled[id] = options.Disabled[instruments[id].Name]
	}
	return m
}

// Begin tells the start.
func (m *Metrics) Begin(begin *wire.Begin) {
	m.SetOffset(begin.OffsetNs)
	m.sinceNs = m.wall(begin.TimeNs)
	m.counts.beforeNs = begin.TimeNs
}

// Call counts a call that has ended. c is its connection, nil where it is not known any more. What it returns
// holds the call's duration, nil if that is not known.
func (m *Metrics) Call(call *l7.Call, c *conn.Connection) *histogram.Histogram {
	if m.disabled[instrumentOf(call)] {
		return nil
	}
	entry := m.callsOf(c)
	entry.Touch()
	return entry.Value.add(call, c, &m.options, &m.callSets)
}

// callsOf is what c's owner has had of calls. Owners are large; where they are kept tells them apart as well.
func (m *Metrics) callsOf(c *conn.Connection) *conn.Owned[calls] {
	var at *owner.Owner
	if c != nil {
		at = c.OwnerAt()
	}
	if m.last.calls != nil && m.last.owner == at {
		return m.last.calls
	}
	entry, ok := m.byOwner[at]
	if !ok {
		entry = m.calls.Of(ownerOf(c), m.sinceNs)
		m.byOwner[at] = entry
	}
	m.last.owner, m.last.calls = at, entry
	return entry
}

// sweepCalls forgets what was idle for too long.
func (m *Metrics) sweepCalls() {
	clear(m.byOwner)
	m.last.owner, m.last.calls = nil, nil
	m.calls.Sweep()
	m.callSets = budget(m.options.MaxAllSets)
	for entry := range m.calls.All {
		m.callSets -= budget(len(entry.Value.sorted))
	}
}

func instrumentOf(call *l7.Call) instrument {
	switch {
	case call.RPC != "" && call.Server:
		return rpcServerDuration
	case call.RPC != "":
		return rpcClientDuration
	case call.Server:
		return httpServerDuration
	default:
		return httpClientDuration
	}
}

// Exemplify has a span stand for the duration that Call has just counted.
func (m *Metrics) Exemplify(counted *histogram.Histogram, seconds float64, endNs uint64, link Link) {
	if counted != nil {
		counted.Exemplify(histogram.Exemplar{
			Value: seconds, TimeNs: m.wall(endNs), TraceID: link.TraceID, SpanID: link.SpanID,
		})
	}
}

// Hurt takes an event that hit a call of which there is, or will be, a span.
func (m *Metrics) Hurt(event *wire.PacketEvent, link Link) {
	if len(m.counts.hurt) >= maxHurt || link.SpanID == ([8]byte{}) {
		return
	}
	key := wire.CountKey{
		Owner: event.Owner, Reason: event.Reason, Kind: uint8(event.Header.Kind),
		Direction: event.Direction, HasReason: event.HasReason,
	}
	if event.HasReason == 0 {
		key.Location = event.Location
	}
	m.counts.hurt = append(m.counts.hurt, hurt{key, event.Header.TimeNs, link})
}

// StageExemplar takes a time that a packet of a call spent in a stage. The call has a span.
func (m *Metrics) StageExemplar(record *wire.StageRecord, link Link) {
	if len(m.stages.examples) < maxStageExamples && link.SpanID != ([8]byte{}) {
		m.stages.examples = append(m.stages.examples, stageExample{*record, link})
	}
}

// share is what there is of one owner.
type share struct {
	conns   *conn.Owned[conn.Group]
	counts  *conn.Owned[tallies]
	calls   *conn.Owned[calls]
	lookups *conn.Owned[lookups]
	stages  *conn.Owned[stageSums]
	netns   *namespaceCounters
}

// Collect makes the metrics at a collection, in an order that depends on owners and attributes alone.
// table.Collect comes before it.
func (m *Metrics) Collect(collection *wire.Collection, table *conn.Table) pmetric.Metrics {
	m.counts.add(collection, m.sinceNs)
	m.counts.exemplify(collection.TimeNs, m.sinceNs, collection.OffsetNs)
	m.stages.add(collection, m.sinceNs)
	m.stages.exemplify(collection, m.sinceNs)
	m.softirqs.add(collection, m.sinceNs)
	m.commands.add(collection, m.sinceNs)
	m.SetOffset(collection.OffsetNs)
	m.netns.add(collection, m.clock, m.sinceNs)
	w := &writer{
		disabled: &m.disabled,
		version:  m.options.Version,
		metrics:  pmetric.NewMetrics(),
		now:      pcommon.Timestamp(m.wall(collection.TimeNs)),
	}
	host := m.stages.environment.Owners.Host()
	owners, shares, overflow := m.shares(table, host)
	for _, o := range owners {
		w.resource(o, false)
		w.share(shares[o], &m.options)
		if o == host {
			w.softirqs(&m.softirqs, m.options.bounds(softirqDuration))
			w.commands(&m.commands, m.options.bounds(interfaceCommandDuration))
		}
	}
	w.resource(owner.Owner{}, true)
	w.share(overflow, &m.options)

	m.counts.owners.Sweep()
	m.sweepCalls()
	m.stages.owners.Sweep()
	m.lookups.Sweep()
	m.sinceNs = uint64(w.now)
	return w.metrics
}

// pointsPerBatch bounds what a backend is given at a time, unless one owner alone has more: 0.25 MB as protobuf at most,
// where a gRPC server takes 4 MiB unless told otherwise.
const pointsPerBatch = 500

// Split hands over metrics in batches of whole owners, each of which is free again as soon as it was taken.
func Split(metrics pmetric.Metrics, take func(pmetric.Metrics)) {
	for from := metrics.ResourceMetrics(); from.Len() > 0; {
		batch, points := pmetric.NewMetrics(), 0
		to := batch.ResourceMetrics()
		from.RemoveIf(func(resource pmetric.ResourceMetrics) bool {
			if to.Len() > 0 && points >= pointsPerBatch {
				return false
			}
			points += pointsOf(resource)
			resource.MoveTo(to.AppendEmpty())
			return true
		})
		take(batch)
	}
}

func pointsOf(resource pmetric.ResourceMetrics) (points int) {
	for _, scope := range resource.ScopeMetrics().All() {
		for _, metric := range scope.Metrics().All() {
			switch metric.Type() {
			case pmetric.MetricTypeGauge:
				points += metric.Gauge().DataPoints().Len()
			case pmetric.MetricTypeSum:
				points += metric.Sum().DataPoints().Len()
			case pmetric.MetricTypeHistogram:
				points += metric.Histogram().DataPoints().Len()
			case pmetric.MetricTypeExponentialHistogram:
				points += metric.ExponentialHistogram().DataPoints().Len()
			}
		}
	}
	return points
}

// shares are what there is of each owner; of the host in any case, whose softirqs and drivers are.
func (m *Metrics) shares(table *conn.Table, host owner.Owner) (owners []owner.Owner, shares map[owner.Owner]*share, overflow *share) {
	shares, overflow = map[owner.Owner]*share{}, &share{}
	of := func(o owner.Owner, isOverflow bool) *share {
		if isOverflow {
			return overflow
		}
		s, ok := shares[o]
		if !ok {
			s = &share{}
			shares[o] = s
			owners = append(owners, o)
		}
		return s
	}
	of(host, false)
	for entry := range table.Groups().All {
		of(entry.Owner, entry.Overflow).conns = entry
	}
	for entry := range m.counts.owners.All {
		of(entry.Owner, entry.Overflow).counts = entry
	}
	for entry := range m.calls.All {
		of(entry.Owner, entry.Overflow).calls = entry
	}
	for entry := range m.stages.owners.All {
		of(entry.Owner, entry.Overflow).stages = entry
	}
	for _, inode := range slices.Sorted(maps.Keys(m.netns.byInode)) {
		namespace := m.netns.byInode[inode]
		of(namespace.owner, false).netns = namespace
	}
	for entry := range m.lookups.All {
		of(entry.Owner, entry.Overflow).lookups = entry
	}
	slices.SortFunc(owners, conn.CompareOwners)
	return owners, shares, overflow
}

func (w *writer) share(s *share, options *Options) {
	if s.conns != nil {
		w.connections(s.conns)
	}
	if s.counts != nil {
		w.tallies(s.counts)
	}
	if s.calls != nil {
		w.calls(s.calls)
	}
	if s.stages != nil {
		w.stages(s.stages, options.bounds(stageDuration))
	}
	if s.netns != nil {
		w.counters(s.netns)
	}
	if s.lookups != nil {
		w.lookups(s.lookups)
	}
}
