//go:build linux && (amd64 || arm64)

package probe

import "golang.org/x/sys/unix"

// stageClock tells the kernel half how far CLOCK_REALTIME, in which arrivals are stamped, is ahead of
// CLOCK_MONOTONIC. The distance stays the same, to the nanosecond, until somebody sets the clock: both are
// slewed alike (timekeeping_update, kernel/time/timekeeping.c). So what each reading leaves possible is
// intersected with what those before left, and where nothing remains the clock was set.
type stageClock struct {
	low, high int64 // between these it lies, if known
	known     bool
	written   int64
	write     func(offset uint64) error
	read      func() (low, high int64) // nil: readOffset
}

// follow takes one more reading.
func (c *stageClock) follow() error {
	read := c.read
	if read == nil {
		read = readOffset
	}
	low, high := read()
	if !c.known || low > c.high || high < c.low {
		c.low, c.high = low, high
	} else {
		c.low, c.high = max(c.low, low), min(c.high, high)
	}
	if middle := c.low + (c.high-c.low)/2; !c.known || middle != c.written {
		c.known, c.written = true, middle
		return c.write(uint64(middle))
	}
	return nil
}

// readOffset reads one clock between two readings of the other: the distance lies in between.
func readOffset() (low, high int64) {
	var before, wall, after unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &before)
	_ = unix.ClockGettime(unix.CLOCK_REALTIME, &wall)
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &after)
	return wall.Nano() - after.Nano(), wall.Nano() - before.Nano()
}
