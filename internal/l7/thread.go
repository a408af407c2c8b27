package l7

import "github.com/ebpfnet/ebpfnetreceiver/internal/tracecontext"

// Within is the request that a thread was serving when it sent another. It is known of threads that wait for
// their requests in receive calls that block, as servers with a thread per request do: such a thread does
// nothing else meanwhile. Of event loops, coroutines and work that is handed to another thread nothing is told,
// nor of HTTP/2.
type Within struct {
	Known    bool
	ConnID   uint64
	Sequence uint32   // TCP sequence number of its first byte
	TraceID  [16]byte // that it carried; zero: none
}

// thread is what one is known to serve.
type thread struct {
	serving *exchange // nil: several
	count   int       // in flight
}

// serve notes that a thread received a request.
func (t *Tracker) serve(id uint32, e *exchange) {
	if id == 0 {
		return
	}
	at := t.threads[id]
	if at.serving != nil && at.serving.done { // it was answered, and is yet to be emitted
		at.serving.thread, at.serving = 0, nil
		at.count--
	}
	at.count++
	if at.serving = nil; at.count == 1 {
		at.serving = e
	}
	e.thread = id
	t.threads[id] = at
}

// leave takes a request from its thread.
func (t *Tracker) leave(e *exchange) {
	if e.thread == 0 {
		return
	}
	at := t.threads[e.thread]
	if at.count--; at.count == 0 {
		delete(t.threads, e.thread)
		return
	}
	at.serving = nil // the others were interleaved
	t.threads[e.thread] = at
}

// within is the request that a thread serves, as it sends another.
func (t *Tracker) within(id uint32) (w Within) {
	e := t.threads[id].serving
	if id == 0 || e == nil || e.done || e.requestLost || e.Capture != Complete {
		return w
	}
	c := t.connections[e.ConnID].conn
	if c == nil || c.h2 != nil || c.request().current == e && c.request().state == head {
		return w
	}
	w = Within{Known: true, ConnID: e.ConnID, Sequence: e.RequestSequence}
	if carried, ok := tracecontext.FromHeaders(e.Traceparent, "", e.B3); ok {
		w.TraceID = carried.TraceID
	}
	return w
}
