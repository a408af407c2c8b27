package l7

import "slices"

// Which answer belongs to which request: HTTP/1 says only that answers come in the order of the requests.
// So while nothing is lost, they are counted off. After a loss, two facts are left to build on:
//
//   - The kernel's clock: an answer cannot precede its request.
//   - A client that does not pipeline sends a request only when the answer to the one before is complete.
//     Nearly all clients are like that, but it has to have been seen on the connection before it is relied
//     on where two requests are waiting.
//
// What these do not settle is not paired. Where pairing begins in the middle of a connection, or anew after
// a loss, the connection is on probation: a call is held back until the next request comes without another
// answer having come before it.

// awaitsRequest says whether a response that has no request should wait for it: two CPUs may have
// handed over the records of the two directions in the wrong order.
func (c *conn) awaitsRequest(d *direction) bool {
	if c.answered < len(c.queue) || d.waited || c.blind {
		return false
	}
	r := c.request()
	switch r.state {
	case lost:
		return r.fresh() && !c.midStream
	case finished:
		return false
	}
	return true
}

// pair finds the request of a response that begins where the one before it has ended. nil: there is
// none that is certain; the record is passed over.
func (c *conn) pair(d *direction, cur *cursor) *exchange {
	waiting := c.queue[c.answered:]
	sent := sentBy(waiting, cur.timeNs)
	if len(waiting) == 0 || waiting[0].unsynced && len(sent) == 0 {
		c.orphan(d, cur)
		return nil
	}
	several := len(sent) > 1
	switch first := waiting[0]; {
	case c.probation && first.unknownAfter:
		// A request may have been lost together with its answer, which would be this one.
	case several && first.gapBefore:
		// The client pipelines, and lost requests may be waiting before this one.
	case several && c.probation:
		// The client pipelines, or this is the answer to the second and the first one's was lost.
	case several && d.fresh() && !d.stream.Origin() && sent[len(sent)-1].StartNs != first.StartNs:
		// The client pipelines, or the first answer was lost.
	default:
		return first
	}
	c.ambiguous(sent)
	c.orphan(d, cur)
	return nil
}

// sentBy are the exchanges whose request was sent by timeNs: only they can have an answer by then.
func sentBy(waiting []*exchange, timeNs uint64) []*exchange {
	n := 0
	for n < len(waiting) && waiting[n].StartNs <= timeNs {
		n++
	}
	return waiting[:n]
}

// pairAfterLoss finds the request of a response head that was found where framing had been lost.
func (c *conn) pairAfterLoss(d *direction, cur *cursor) *exchange {
	began := cur.timeNs
	if cur.beganNs != 0 {
		began = cur.beganNs
	}
	waiting := sentBy(c.queue[c.answered:], began)
	var present *exchange // whose response was being read when framing was lost
	if c.answered > 0 && !c.queue[c.answered-1].done {
		present = c.queue[c.answered-1]
	}
	switch {
	case len(waiting) == 0:
		if present == nil {
			c.contradictByAnswer()
		} else { // part of that response's content, as far as can be told
			c.contradict()
		}
		return nil
	case len(waiting) > 1, waiting[0].unknownAfter,
		waiting[0].tunnel && (d.began || d.holed || c.midStream),
		present != nil && waiting[0].StartNs < present.ResponseStartNs:
		c.ambiguous(waiting)
		c.t.stats.GivenUp[NoRequest]++
		return nil
	}
	if present != nil { // the next request proves that it had ended
		if !waiting[0].gapBefore {
			present.EndNs = d.endOfLost(waiting[0].StartNs)
		}
		c.done(present)
	}
	e := waiting[0]
	c.emitFinished(began)
	c.probation = true // this request may have been answered in the hole, and a later one been lost
	return e
}

// unrecognized notes bytes that are no head, while framing is lost. In requests they may be one all the
// same. In responses, if a request is waiting, its response has begun unseen, and what comes next is not
// its beginning.
func (c *conn) unrecognized(d *direction, timeNs uint64) {
	if c.isRequest(d) {
		c.requestsMayFollow()
	}
	if c.requests == undecided || c.isRequest(d) || c.answered == len(c.queue) {
		return
	}
	switch sent := sentBy(c.queue[c.answered:], timeNs); len(sent) {
	case 0:
	case 1:
		c.answerUnseen(sent[0])
	default:
		c.ambiguous(sent)
	}
}

// orphan passes over a response without a request.
func (c *conn) orphan(d *direction, cur *cursor) {
	c.contradictByAnswer()
	d.state, d.current = lost, nil
	cur.skipAll()
}

// ambiguous gives up pairing what is in flight, and the connection too if it pipelines: later requests
// would be paired with the answers to earlier ones.
func (c *conn) ambiguous(waiting []*exchange) {
	c.unpair(c.answered + len(waiting))
	c.probation = !c.sequential
	if c.pipelines {
		c.t.stats.GivenUp[PipeliningGap]++
		c.verdict = opaque
	}
}

// contradict acts on an answer without a request, or on the loss of requests. If a call was held back, its
// answer may belong to another request.
func (c *conn) contradict() {
	if !c.probation {
		return
	}
	if d := c.response(); d.current != nil && !d.current.answered {
		c.lose(d, Gap, false)
	}
	for _, e := range c.queue[:c.answered] {
		e.Status, e.ResponseStartNs, e.EndNs, e.ResponseBody = 0, 0, 0, -1
		e.ResponseSequence, e.ResponseSequenceKnown = 0, false
		e.Headers = slices.DeleteFunc(e.Headers, func(h Header) bool { return h.Response })
		e.done = false
	}
	c.unpair(c.answered)
}

func (c *conn) contradictByAnswer() {
	c.t.stats.GivenUp[NoRequest]++
	if c.probation && c.answered > 0 {
		c.contradict()
		if !c.sequential {
			c.t.stats.GivenUp[PipeliningGap]++
			c.verdict = opaque
		}
	}
}

// admitsRequest says whether what looks like a request head where framing had been lost is one, and not
// part of the content of the request before it: a client that does not pipeline sends it only after the
// answer to that.
func (c *conn) admitsRequest(d *direction) bool {
	if len(c.queue) == 0 {
		return true
	}
	last := c.queue[len(c.queue)-1]
	switch {
	case !last.requestLost:
		return true
	case !last.answered:
		last.unknownAfter = true
		return false
	}
	// Answered, but is the answer complete? If not, it came early, and this is still the content.
	return last.done || last.responseLost
}

// observePipelining notes whether a request was sent before the answer to an earlier one, when the final
// response to the first that was waiting begins.
func (c *conn) observePipelining(d *direction) {
	for i, e := range c.queue[c.answered:] {
		if e.StartNs > d.startNs {
			return
		}
		c.pipelines = true
		if !e.gapBefore {
			continue
		}
		// Other requests may have been lost before e: the answers to them and to e look alike.
		for _, e := range c.queue[c.answered+i:] {
			c.abandon(e)
		}
		clear(c.queue[c.answered+i:])
		c.queue = c.queue[:c.answered+i]
		c.blind = true
		return
	}
}

// requestsMayFollow notes that requests may have been sent unseen.
func (c *conn) requestsMayFollow() {
	if last := len(c.queue) - 1; last >= 0 {
		c.queue[last].unknownAfter = true
	}
}

// answer notes that the final response to the first waiting exchange has begun.
func (c *conn) answer(e *exchange) {
	e.answered = true
	c.answered++
}

// answerUnseen notes that the final response to the first waiting exchange has begun, and that nobody will
// know with what status.
func (c *conn) answerUnseen(e *exchange) {
	c.answer(e)
	e.responseLost = true
	e.mark(Gap)
	c.leaveTunnel(e)
}

// leaveTunnel has requests looked for again after one that may have opened a tunnel.
func (c *conn) leaveTunnel(e *exchange) {
	if r := c.request(); e.tunnel && r.blocked {
		r.blocked, r.state = false, lost
	}
}

// done notes that an exchange has had its response.
func (c *conn) done(e *exchange) {
	e.done, e.doneNs = true, c.lastNs
	c.answeredOne = c.answeredOne || e.Capture == Complete
}

func (c *conn) emitAll() {
	for _, e := range c.queue {
		if e.done {
			e.requestDone = true
		}
	}
	c.emitFinished(c.lastNs)
}
