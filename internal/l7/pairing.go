package l7

// Which answer belongs to which request: HTTP/1 says only that answers come in the order of the requests.
// So while nothing is lost, they are counted off. After a loss, two facts are left to build on:
//
//   - The kernel's clock: an answer cannot precede its request.
//   - A client that does not pipeline sends a request only when the answer to the one before is complete.
//     Nearly all clients are like that, but it has to have been seen on the connection before it is relied
//     on where two requests are waiting.
//
// What these do not settle is not paired.

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
	if len(waiting) == 0 || waiting[0].gapBefore && cur.timeNs < waiting[0].StartNs {
		c.orphan(d, cur)
		return nil
	}
	if len(waiting) > 1 && d.fresh() && !c.pipelines && !c.known(d) {
		// Two requests and no response yet: the client pipelines, or the first response was lost.
		c.ambiguous()
		c.orphan(d, cur)
		return nil
	}
	return waiting[0]
}

// known says whether the first sequence number of the direction was known beforehand.
func (c *conn) known(d *direction) bool { return d.stream.Origin() }

// pairAfterLoss finds the request of a response head that was found where framing had been lost.
func (c *conn) pairAfterLoss(d *direction, cur *cursor) *exchange {
	waiting := c.queue[c.answered:]
	began := cur.timeNs
	if cur.beganNs != 0 {
		began = cur.beganNs
	}
	var present *exchange // whose response was being read when framing was lost
	if c.answered > 0 && !c.queue[c.answered-1].done {
		present = c.queue[c.answered-1]
	}
	switch {
	case len(waiting) == 0:
		if present == nil { // else it is part of that response's content, as far as can be told
			c.t.stats.GivenUp[NoRequest]++
		}
		return nil
	case began < waiting[0].StartNs:
		c.t.stats.GivenUp[NoRequest]++
		return nil
	case len(waiting) > 1, waiting[0].unknownAfter,
		present != nil && waiting[0].StartNs < present.ResponseStartNs:
		c.ambiguous()
		c.t.stats.GivenUp[NoRequest]++
		return nil
	}
	if present != nil { // the next request proves that it had ended
		present.EndNs = d.endOfLost()
		c.done(present)
	}
	e := waiting[0]
	c.emitFinished(began)
	return e
}

// orphan passes over a response without a request.
func (c *conn) orphan(d *direction, cur *cursor) {
	c.t.stats.GivenUp[NoRequest]++
	d.state, d.current = lost, nil
	cur.skipAll()
}

// ambiguous gives up pairing what is in flight, and the connection too if later requests could be paired
// with the answers to earlier ones.
func (c *conn) ambiguous() {
	c.unpair()
	if c.pipelines || !c.sequential {
		c.t.stats.GivenUp[PipeliningGap]++
		c.verdict = opaque
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
		from := c.answered + i
		for _, e := range c.queue[from:] {
			e.mark(Gap)
			c.t.stats.GivenUp[NotPaired]++
			c.t.finish(e)
		}
		clear(c.queue[from:])
		c.queue = c.queue[:from]
		c.request().current = nil
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
