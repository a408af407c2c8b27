package otlp

import (
	"cmp"
	"slices"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"

	"github.com/ebpfnet/ebpfnetreceiver/internal/conn"
	"github.com/ebpfnet/ebpfnetreceiver/internal/conn/histogram"
	"github.com/ebpfnet/ebpfnetreceiver/internal/l7/dns"
)

// EventLookupFailed is the name of the log records of lookups.
const EventLookupFailed = "dns.lookup.failed"

// maxLookupSets bounds the combinations of attributes per owner: whoever asks chooses the type.
const maxLookupSets = 200

// lookups are what one owner asked of DNS, ascending by set.
type lookups []*lookupSeries

type lookupSeries struct {
	set      lookupSet
	duration histogram.Histogram // of those that were answered
	failed   uint64
}

// lookupSet is one combination of attributes.
type lookupSet struct {
	kind     uint16
	rcode    uint8
	timedOut bool
	overflow bool
}

func (a lookupSet) number() int {
	n := int(a.kind)<<8 | int(a.rcode)
	if a.timedOut {
		n |= 1 << 7
	}
	if a.overflow {
		n |= 1 << 24
	}
	return n
}

// Lookup counts a lookup that has ended.
func (m *Metrics) Lookup(l *dns.Lookup) {
	if m.disabled[dnsLookupDuration] && m.disabled[dnsLookupFailed] {
		return
	}
	entry := m.lookups.Of(m.counts.environment.Owners.Resolve(l.Owner, l.Comm, l.StartNs), m.sinceNs)
	entry.Touch()
	s := entry.Value.of(lookupSet{kind: l.Type, rcode: l.RCode, timedOut: l.TimedOut}, &m.options)
	if !l.TimedOut {
		s.duration.Record(float64(l.EndNs-l.StartNs) / 1e9)
	}
	if l.Failed() {
		s.failed++
	}
}

func (l *lookups) of(set lookupSet, options *Options) *lookupSeries {
	at, found := l.search(set)
	if found {
		return (*l)[at]
	}
	if len(*l) >= maxLookupSets-1 && !set.overflow {
		return l.of(lookupSet{overflow: true}, options)
	}
	s := &lookupSeries{set: set, duration: histogram.New(options.bounds(dnsLookupDuration))}
	*l = slices.Insert(*l, at, s)
	return s
}

func (l *lookups) search(set lookupSet) (int, bool) {
	return slices.BinarySearchFunc(*l, set, func(s *lookupSeries, set lookupSet) int {
		return cmp.Compare(s.set.number(), set.number())
	})
}

// lookups writes what one owner asked of DNS.
func (w *writer) lookups(entry *conn.Owned[lookups]) {
	if w.instrument(dnsLookupDuration, entry.StartNs) {
		for _, s := range entry.Value {
			if s.duration.Count > 0 {
				to := w.histogram(&s.duration)
				if s.set.write(to) {
					to.PutStr(attrDNSResponseCode, dns.RCodeName(s.set.rcode))
				}
			}
		}
	}
	if w.instrument(dnsLookupFailed, entry.StartNs) {
		for _, s := range entry.Value {
			if s.failed > 0 {
				to := w.number(s.failed)
				if s.set.write(to) {
					to.PutStr(attrErrorType, lookupError(s.set.timedOut, s.set.rcode))
				}
			}
		}
	}
}

// write writes what all lookups have; false: the set stands for many.
func (a lookupSet) write(to pcommon.Map) bool {
	if a.overflow {
		to.PutBool(attrOverflow, true)
		return false
	}
	to.PutStr(attrDNSQuestionType, dns.TypeName(a.kind))
	return true
}

func lookupError(timedOut bool, rcode uint8) string {
	if timedOut {
		return "timeout"
	}
	return dns.RCodeName(rcode)
}

// LookupFailed adds a lookup that has no answer, or one that there is none.
func (l *Logs) LookupFailed(lookup *dns.Lookup) {
	o := l.environment.Owners.Resolve(lookup.Owner, lookup.Comm, lookup.StartNs)
	process := l.processOf(lookup.Owner.TGID, lookup.Comm, lookup.StartNs)
	record := l.append(o, lookup.EndNs, EventLookupFailed, plog.SeverityNumberWarn, Link{})
	to := record.Attributes()
	failure := lookupError(lookup.TimedOut, lookup.RCode)
	to.PutStr(attrDNSQuestionName, lookup.Name)
	to.PutStr(attrDNSQuestionType, dns.TypeName(lookup.Type))
	to.PutStr(attrErrorType, failure)
	to.PutInt(attrDNSQuestions, int64(lookup.Questions))
	to.PutDouble(attrDNSDuration, float64(lookup.EndNs-lookup.StartNs)/1e9)
	server := ""
	if lookup.Server.Addr().IsValid() && lookup.Server.Port() != 0 {
		server = lookup.Server.Addr().String()
		to.PutStr(attrServerAddress, server)
		putPort(to, attrServerPort, lookup.Server.Port())
	}
	putStr(to, attrTransport, transport(lookup.Transport))
	process.write(o, to)
	line := append(l.line[:0], "Lookup of "...)
	line = append(append(line, lookup.Name...), " ("...)
	line = append(append(line, dns.TypeName(lookup.Type)...), ')')
	if server != "" {
		line = append(append(line, " at "...), server...)
	}
	l.line = append(append(line, " failed: "...), failure...)
	record.Body().SetStr(string(l.line))
}
