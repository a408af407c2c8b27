package engine

import (
	"context"
	"sync"
)

// queuedBatches is how many batches may wait for the sink. When it is full the source waits, and what the
// kernel cannot keep meanwhile is counted there as lost.
const queuedBatches = 16

// output hands batches to the sink, one after the other, in a goroutine of its own.
type output struct {
	batches chan func(context.Context)
	done    sync.WaitGroup
}

func newOutput(ctx context.Context) *output {
	o := &output{batches: make(chan func(context.Context), queuedBatches)}
	o.done.Go(func() {
		for batch := range o.batches {
			batch(ctx)
		}
	})
	return o
}

func (o *output) put(batch func(context.Context)) { o.batches <- batch }

// close waits until everything is handed over.
func (o *output) close() {
	close(o.batches)
	o.done.Wait()
}
