// Package buffer lends byte slices under one limit for all and one for each borrower, so that whatever peers send, the memory that is held
// for bytes waiting to be understood stays bounded.
package buffer

import (
	"math"
	"math/bits"
)

const (
	minShift = 6  // 64 bytes: a partial header line
	maxShift = 16 // 64 KiB: more than any record carries
	classes  = maxShift - minShift + 1
	keep     = 64 // free buffers kept per size class
)

// Pool lends buffers whose capacity is a power of two. Not for concurrent use.
type Pool struct {
	limit   int
	held    int
	account *int // what is lent now counts there too
	most    int  // that it may get to
	nobody  int
	free    [classes][][]byte
}

// New makes a pool that lends at most limit bytes at any time.
func New(limit int) *Pool {
	p := &Pool{limit: limit, most: math.MaxInt}
	p.account = &p.nobody
	return p
}

// Charge says on whose account everything is lent and given back from here on, and how much that may hold.
func (p *Pool) Charge(account *int, most int) { p.account, p.most = account, most }

func (p *Pool) take(n int) bool {
	if p.held+n > p.limit || *p.account+n > p.most {
		return false
	}
	p.held += n
	*p.account += n
	return true
}

// Held is how many bytes are lent.
func (p *Pool) Held() int { return p.held }

// Get lends an empty buffer with room for n bytes; nil when a limit or the largest size is exceeded.
func (p *Pool) Get(n int) []byte {
	class := classOf(n)
	if class >= classes {
		return nil
	}
	size := 1 << (class + minShift)
	if !p.take(size) {
		return nil
	}
	if list := p.free[class]; len(list) > 0 {
		b := list[len(list)-1]
		p.free[class] = list[:len(list)-1]
		return b
	}
	return make([]byte, 0, size)
}

// Put takes back a buffer that Get or Append lent; nil is nothing.
func (p *Pool) Put(b []byte) {
	if cap(b) == 0 {
		return
	}
	p.Unreserve(cap(b))
	class := classOf(cap(b))
	if len(p.free[class]) < keep {
		p.free[class] = append(p.free[class], b[:0])
	}
}

// Append is append for a lent buffer. When there is no room, it returns b unchanged and false.
func (p *Pool) Append(b, data []byte) ([]byte, bool) {
	if len(b)+len(data) <= cap(b) {
		return append(b, data...), true
	}
	bigger := p.Get(len(b) + len(data))
	if bigger == nil {
		return b, false
	}
	bigger = append(append(bigger, b...), data...)
	p.Put(b)
	return bigger, true
}

// Reserve counts memory that is not lent here towards the limit; false: there is no room.
func (p *Pool) Reserve(n int) bool { return p.take(n) }

// Unreserve takes back what Reserve counted.
func (p *Pool) Unreserve(n int) {
	p.held -= n
	*p.account -= n
}

func classOf(n int) int {
	if n <= 1<<minShift {
		return 0
	}
	return bits.Len(uint(n-1)) - minShift
}
