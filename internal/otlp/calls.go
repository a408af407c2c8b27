package otlp

import (
	"cmp"
	"slices"
	"strings"

	"github.com/ebpfnet/ebpfnetreceiver/internal/conn"
	"github.com/ebpfnet/ebpfnetreceiver/internal/conn/histogram"
	"github.com/ebpfnet/ebpfnetreceiver/internal/l7"
)

// calls are the durations of one owner's calls.
type calls struct {
	sets   map[callSet]*histogram.Histogram
	sorted []callSet
	recent *recent
}

// budget is how many combinations of attributes there may be yet, over all owners.
type budget int

// callSet is one combination of attributes.
type callSet struct {
	instrument instrument
	method     string
	scheme     string
	status     int
	errorType  string
	version    string
	server     server // of client calls
	rpcSystem  string
	rpcStatus  string
	overflow   bool
}

func (a callSet) compare(b callSet) int {
	if c := cmp.Or(cmp.Compare(a.instrument, b.instrument), cmp.Compare(a.method, b.method),
		cmp.Compare(a.scheme, b.scheme), cmp.Compare(a.status, b.status), cmp.Compare(a.errorType, b.errorType),
		cmp.Compare(a.version, b.version), cmp.Compare(a.rpcSystem, b.rpcSystem), cmp.Compare(a.rpcStatus, b.rpcStatus), cmp.Compare(a.server.host, b.server.host)); c != 0 {
		return c
	}
	return cmp.Or(a.server.address.Compare(b.server.address), cmp.Compare(a.server.port, b.server.port))
}

// add counts a call whose duration is known, that is both ends of it were seen, and returns where; nil: it is not.
func (c *calls) add(call *l7.Call, on *conn.Connection, options *Options, left *budget) *histogram.Histogram {
	if call.StartNs == 0 || call.EndNs < call.StartNs {
		return nil
	}
	parts, plain := said(call)
	if !plain {
		h := c.of(setOf(call, on), options, left)
		h.Record(call.Seconds())
		return h
	}
	if c.recent == nil {
		c.recent = &recent{}
	}
	slot := c.recent.slot(call, &parts)
	if slot.is(call, &parts) {
		slot.histogram.Record(call.Seconds())
		return slot.histogram
	}
	h := c.of(setOf(call, on), options, left)
	slot.set(call, &parts, h)
	h.Record(call.Seconds())
	return h
}

func setOf(call *l7.Call, on *conn.Connection) callSet {
	if call.RPC != "" {
		return rpcSet(call)
	}
	to := targetOf(call)
	set := callSet{
		instrument: httpServerDuration,
		method:     knownMethod(call.Method),
		scheme:     to.scheme,
		status:     call.Status,
		errorType:  errorType(call),
		version:    call.ProtocolVersion,
	}
	if !call.Server {
		set.instrument = httpClientDuration
		set.server = serverOf(call, &to, on)
	}
	return set
}

func (c *calls) of(set callSet, options *Options, left *budget) *histogram.Histogram {
	// What is longer than any name has no place in a metric.
	if len(set.method) > maxMethod || len(set.server.host) > maxHost || len(set.rpcStatus) > maxStatus {
		set = callSet{instrument: set.instrument, overflow: true}
	}
	if h, ok := c.sets[set]; ok {
		return h
	}
	return c.make(set, options, left)
}

// Bounds of what a metric's attributes may hold: of a gRPC method no more than a path segment or two, of a host
// what DNS allows, of a status that has no name a number.
const (
	maxMethod = 256
	maxHost   = 255
	maxStatus = 20
)

func (c *calls) make(set callSet, options *Options, left *budget) *histogram.Histogram {
	if len(c.sets) >= options.MaxSets-4 || *left <= 0 { // one place for the overflow of each instrument
		set = callSet{instrument: set.instrument, overflow: true}
		if h, ok := c.sets[set]; ok {
			return h
		}
	}
	if c.sets == nil {
		c.sets = map[callSet]*histogram.Histogram{}
	}
	// The call's strings may hold on to more than themselves.
	for _, s := range []*string{&set.server.host, &set.version, &set.errorType, &set.method, &set.rpcStatus} {
		*s = strings.Clone(*s)
	}
	*left--
	h := histogram.New(options.bounds(set.instrument))
	c.sets[set] = &h
	at, _ := slices.BinarySearchFunc(c.sorted, set, callSet.compare)
	c.sorted = slices.Insert(c.sorted, at, set)
	return &h
}

// calls writes the durations of one owner's calls.
func (w *writer) calls(entry *conn.Owned[calls]) {
	for _, id := range [...]instrument{httpServerDuration, httpClientDuration, rpcServerDuration, rpcClientDuration} {
		if !w.instrument(id, entry.StartNs) {
			continue
		}
		for _, set := range entry.Value.sorted {
			if set.instrument != id {
				continue
			}
			to := w.histogram(entry.Value.sets[set])
			if set.overflow {
				to.PutBool(attrOverflow, true)
				continue
			}
			if set.rpcSystem != "" {
				to.PutStr(attrRPCSystem, set.rpcSystem)
				putStr(to, attrRPCMethod, text(set.method))
				putStr(to, attrRPCStatus, set.rpcStatus)
			} else {
				putStr(to, attrMethod, set.method)
				to.PutStr(attrURLScheme, set.scheme)
				if set.status != 0 {
					to.PutInt(attrStatusCode, int64(set.status))
				}
				putStr(to, attrProtocolVersion, set.version)
			}
			putStr(to, attrErrorType, set.errorType)
			putStr(to, attrServerAddress, text(set.server.name()))
			putPort(to, attrServerPort, set.server.port)
		}
	}
}
