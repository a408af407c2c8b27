package l7

// InFlight is the oldest request that is in flight on a connection: it has begun, and its final answer is
// not complete. The call is what is known of it so far, valid until the next call of the tracker.
//
// Of several in flight on an HTTP/2 connection it is the one of which a frame was seen last: HTTP/1 answers
// in order, so that what holds up the oldest holds up all, but of streams the one that moves is the one that
// an event on the connection meets.
//
// It is for events on the connection, which carry the trace of the request that they hurt.
func (t *Tracker) InFlight(connID uint64) (call *Call, ok bool) {
	c := t.connections[connID].conn
	if c == nil {
		return nil, false
	}
	if c.h2 != nil {
		return c.h2.inFlight()
	}
	for _, e := range c.queue {
		if !e.done {
			return &e.Call, true
		}
	}
	return nil, false
}
