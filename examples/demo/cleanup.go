package main

import (
	"fmt"
	"slices"
)

// cleanup remembers how to undo what was done, and undoes it in reverse order, whatever fails on the way.
type cleanup struct {
	steps []undoing
}

type undoing struct {
	what string
	undo func() error
}

func (c *cleanup) add(what string, undo func() error) {
	c.steps = append(c.steps, undoing{what, undo})
}

// run gives what could not be undone. It may be called twice.
func (c *cleanup) run() (left []error) {
	for _, step := range slices.Backward(c.steps) {
		if err := step.undo(); err != nil {
			left = append(left, fmt.Errorf("%s is left behind: %w", step.what, err))
		}
	}
	c.steps = nil
	return left
}
