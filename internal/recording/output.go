package recording

import (
	"errors"
	"io"
	"sync/atomic"
	"time"
)

const (
	chunkSize  = 256 << 10 // bytes handed to the disk at once
	chunkCount = 16        // so 4 MiB may wait for the disk

	// A disk may stall for a moment; the ring buffer holds what the kernel sends meanwhile.
	stallLimit = 2 * time.Second
	closeLimit = 10 * time.Second
)

var errStalled = errors.New("the disk does not keep up: nothing was written for 2 s and 4 MiB wait")

// output writes chunks from a goroutine of its own, so that a slow disk does not hold up the handler
// while there are free chunks.
type output struct {
	w         io.Writer
	full      chan []byte
	free      chan []byte
	allocated int
	done      chan struct{}
	failure   atomic.Pointer[error]
}

func newOutput(w io.Writer) *output {
	// As many places as chunks: neither channel ever blocks its sender.
	o := &output{
		w: w, done: make(chan struct{}),
		full: make(chan []byte, chunkCount), free: make(chan []byte, chunkCount),
	}
	go o.run()
	return o
}

func (o *output) run() {
	defer close(o.done)
	for chunk := range o.full {
		if o.failure.Load() == nil {
			if _, err := o.w.Write(chunk); err != nil {
				o.failure.Store(&err)
			}
		}
		o.free <- chunk[:0]
	}
}

// err is the first error of a write.
func (o *output) err() error {
	if failure := o.failure.Load(); failure != nil {
		return *failure
	}
	return nil
}

// take gives an empty chunk, waiting at most stallLimit for one.
func (o *output) take() ([]byte, error) {
	select {
	case chunk := <-o.free:
		return chunk, nil
	default:
	}
	if o.allocated < chunkCount {
		o.allocated++
		return make([]byte, 0, chunkSize), nil
	}
	timer := time.NewTimer(stallLimit)
	defer timer.Stop()
	select {
	case chunk := <-o.free:
		return chunk, nil
	case <-timer.C:
		return nil, errStalled
	}
}

// put hands a chunk of take over for writing.
func (o *output) put(chunk []byte) { o.full <- chunk }

// close ends the goroutine after everything that was put is written. A write that hangs for closeLimit
// is left behind: the file's owner closes the file, the receiver goes on.
func (o *output) close() error {
	close(o.full)
	timer := time.NewTimer(closeLimit)
	defer timer.Stop()
	select {
	case <-o.done:
		return o.err()
	case <-timer.C:
		return errStalled
	}
}
