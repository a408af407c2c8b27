package engine

import "time"

// bucket is a token bucket that holds one second's worth.
type bucket struct {
	intervalNs uint64 // per event; 0: none at all
	fullAtNs   uint64 // when it will be full again
	nowNs      uint64 // the latest time: a call may be told of long after it ended
}

func newBucket(perSecond float64) bucket {
	if perSecond <= 0 {
		return bucket{}
	}
	return bucket{intervalNs: max(1, uint64(float64(time.Second)/perSecond))}
}

func (b *bucket) pass(timeNs uint64) bool {
	if b.intervalNs == 0 {
		return false
	}
	b.nowNs = max(b.nowNs, timeNs)
	from := max(b.fullAtNs, b.nowNs)
	if from-b.nowNs+b.intervalNs > max(b.intervalNs, uint64(time.Second)) {
		return false
	}
	b.fullAtNs = from + b.intervalNs
	return true
}
