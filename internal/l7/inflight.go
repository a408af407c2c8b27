package l7

// InFlight is the oldest request that is in flight on a connection: it has begun, and its final answer is
// not complete. The call is what is known of it so far, valid until the next call of the tracker.
//
// It is for events on the connection, which carry the trace of the request that they hurt.
func (t *Tracker) InFlight(connID uint64) (call *Call, ok bool) {
	c := t.connections[connID].conn
	if c == nil {
		return nil, false
	}
	for _, e := range c.queue {
		if !e.done {
			return &e.Call, true
		}
	}
	return nil, false
}
