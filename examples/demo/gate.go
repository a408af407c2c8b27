package main

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

// gate keeps a stream readable: of things that are alike it lets the first pass in each round, and counts the
// others.
type gate struct {
	held map[string]*heldBack
}

type heldBack struct {
	count       int
	least, most time.Duration // 0: they have no duration
	slowest     string        // where to find it
}

// pass says whether this one is to be shown. name is how to find it, should it be the slowest.
func (g *gate) pass(kind string, duration time.Duration, name string) bool {
	if g.held == nil {
		g.held = map[string]*heldBack{}
	}
	h, ok := g.held[kind]
	if !ok {
		g.held[kind] = &heldBack{}
		return true
	}
	h.count++
	if h.count == 1 || duration < h.least {
		h.least = duration
	}
	if h.count == 1 || duration > h.most {
		h.most, h.slowest = duration, name
	}
	return false
}

// round ends a round: a line for each kind of which some were held back.
func (g *gate) round() []string {
	var lines []string
	for _, kind := range slices.Sorted(maps.Keys(g.held)) {
		if h := g.held[kind]; h.count > 0 {
			lines = append(lines, h.line(kind))
		}
	}
	clear(g.held)
	return lines
}

func (h *heldBack) line(kind string) string {
	line := fmt.Sprintf("%d more %s", h.count, kind)
	least, most := seconds(h.least.Seconds()), seconds(h.most.Seconds())
	switch {
	case h.most == 0:
		return line
	case least == most:
		return line + ", " + most
	default:
		return line + fmt.Sprintf(", %s to %s (the slowest: %s)", least, most, h.slowest)
	}
}
