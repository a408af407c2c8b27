package engine

import (
	"context"
	"sync"
	"time"
)

const (
	// queuedBatches is how many batches of a signal may wait for the sink.
	queuedBatches = 16
	// lastWords is how long the sink may take for what is left when the engine ends.
	lastWords = 10 * time.Second
)

// output hands the batches of one signal to the sink, in a goroutine of its own: a backend that is slow for
// logs must not hold up metrics, nor anything the emptying of the kernel's ring buffer.
type output struct {
	batches chan func(context.Context)
	done    sync.WaitGroup
	cancel  context.CancelFunc
}

func newOutput(ctx context.Context) *output {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	o := &output{batches: make(chan func(context.Context), queuedBatches), cancel: cancel}
	o.done.Go(func() {
		for batch := range o.batches {
			batch(ctx)
		}
	})
	return o
}

// put queues a batch; false: the queue is full, and the batch is lost.
func (o *output) put(batch func(context.Context)) bool {
	select {
	case o.batches <- batch:
		return true
	default:
		return false
	}
}

// wait queues a batch that came from a recording, which has time.
func (o *output) wait(batch func(context.Context)) { o.batches <- batch }

// close waits until everything is handed over, but not for ever.
func (o *output) close() {
	close(o.batches)
	timer := time.AfterFunc(lastWords, o.cancel)
	defer timer.Stop()
	o.done.Wait()
	o.cancel()
}
