package main

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestDurationsAreShortAndHaveAUnit(t *testing.T) {
	for s, want := range map[float64]string{
		0: "0.00 µs", 17.44e-6: "17.4 µs", 0.0002: "200 µs", 0.0009996: "1.00 ms", 0.012345: "12.3 ms",
		0.2: "200 ms", 0.99949: "999 ms", 1: "1.00 s", 61.5: "61.5 s", 1234: "1234 s",
	} {
		assert.Equal(t, want, seconds(s))
	}
}

func TestSizes(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 999: "999 B", 1000: "1.00 kB", 400_244: "400 kB", 4_700_000: "4.70 MB"} {
		assert.Equal(t, want, bytes(n))
	}
}

func TestColumnsLineUp(t *testing.T) {
	assert.Equal(t, []string{
		"name     n",
		"µ     1000  x",
		"ab       7",
	}, columns([][]string{{"name", "n"}, {"µ", "1000", "x"}, {"ab", "7", ""}}, 1))
}

func TestALineOfTheStream(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 6e6, time.Local)
	assert.Equal(t, "03:04:05.006  log     what\n                      below\n", streamed(false, at))
	assert.Contains(t, streamed(true, at), "\x1b[33mlog\x1b[0m     what")
}

func TestAReaderWhoIsGoneIsNoticed(t *testing.T) {
	gone := false
	terminal := &terminal{to: closed{}, failed: func() { gone = true }}
	terminal.lines("x")
	assert.True(t, gone)
}

type closed struct{}

func (closed) Write([]byte) (int, error) { return 0, errors.New("broken pipe") }

func streamed(colour bool, at time.Time) string {
	var out strings.Builder
	terminal := &terminal{to: &out, colour: colour}
	terminal.event(at, kindLog, "what", "below")
	return out.String()
}
