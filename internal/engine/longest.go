package engine

import (
	"slices"

	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

const (
	// longestKept is how many of the longest times of stages wait for their calls to end.
	longestKept = 512
	// longestKeptNs is how long they do.
	longestKeptNs = 60e9
)

// longest are times of stages that wait for the call to end whose packet was in the stage: then it is known
// whether there is a span that can stand for them.
type longest struct {
	byConn map[uint64][]wire.StageRecord
	count  int
}

func newLongest() longest { return longest{byConn: map[uint64][]wire.StageRecord{}} }

// Stage implements wire.Handler.
func (p *pipeline) Stage(record *wire.StageRecord) {
	if p.engine.sink.Traces == nil || p.told(record) {
		return
	}
	if l := &p.longest; l.count < longestKept {
		l.count++
		l.byConn[record.ConnID] = append(l.byConn[record.ConnID], *record)
	}
}

// settle looks whether a call that has ended is what times of its connection wait for.
func (p *pipeline) settle(connID uint64) {
	waiting := p.longest.byConn[connID]
	if waiting == nil {
		return
	}
	left := slices.DeleteFunc(waiting, func(record wire.StageRecord) bool { return p.told(&record) })
	p.longest.keep(connID, waiting, left)
}

// told gives a time to the metrics if its call has ended and has a span. False: its call has not ended.
func (p *pipeline) told(record *wire.StageRecord) bool {
	receive := record.Key.Direction == wire.DirectionReceive
	if call, ok := p.calls.InFlight(record.ConnID); ok && call.StreamID == 0 && call.SequenceKnown && call.Server == receive &&
		int32(record.Sequence-call.RequestSequence) >= 0 {
		return false // of several requests that came at once it is a later one
	}
	ended := p.times.spanAt(record.ConnID, receive, record.Sequence)
	if ended == nil {
		return false
	}
	if ended.exported {
		p.metrics.StageExemplar(record, ended.ids.Link)
	}
	return true
}

func (l *longest) keep(connID uint64, before, left []wire.StageRecord) {
	l.count -= len(before) - len(left)
	if l.byConn[connID] = left; len(left) == 0 {
		delete(l.byConn, connID)
	}
}

func (l *longest) forget(connID uint64) { l.keep(connID, l.byConn[connID], nil) }

// sweep gives up what has waited for too long.
func (l *longest) sweep(nowNs uint64) {
	for connID, waiting := range l.byConn {
		left := slices.DeleteFunc(waiting, func(record wire.StageRecord) bool {
			return nowNs > record.Header.TimeNs+longestKeptNs
		})
		l.keep(connID, waiting, left)
	}
}
