package main

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// terminal writes whole lines: when, what kind, and the text, with everything below a line indented under its
// text. Colour only helps the eye; no line needs it.
type terminal struct {
	mu     sync.Mutex
	to     io.Writer
	colour bool
	failed func() // called when nobody reads any more (make run | head)
}

// Kinds of lines.
const (
	kindLog    = "log"
	kindSpan   = "span"
	kindMetric = "metric"
	kindDemo   = "demo"
)

const (
	clockLayout = "15:04:05.000"
	indent      = "                      " // as wide as the clock and the kind
)

// A style is an SGR parameter of ECMA-48.
type style string

const (
	bold   style = "1"
	dim    style = "2"
	red    style = "31"
	green  style = "32"
	yellow style = "33"
	cyan   style = "36"
)

var kindStyles = map[string]style{kindLog: yellow, kindSpan: cyan, kindMetric: green, kindDemo: bold}

// paint gives text in a style, unchanged where the terminal takes none.
func (t *terminal) paint(s style, text string) string {
	if !t.colour || text == "" {
		return text
	}
	return "\x1b[" + string(s) + "m" + text + "\x1b[0m"
}

// event writes a line of the stream and what belongs below it.
func (t *terminal) event(at time.Time, kind, text string, below ...string) {
	var out strings.Builder
	fmt.Fprintf(&out, "%s  %s%s\n", t.paint(dim, at.Local().Format(clockLayout)),
		t.paint(kindStyles[kind], kind), pad(kind, 8)+text)
	for _, line := range below {
		out.WriteString(indent + line + "\n")
	}
	t.write(out.String())
}

// lines writes lines outside of the stream.
func (t *terminal) lines(lines ...string) {
	t.write(strings.Join(lines, "\n") + "\n")
}

func (t *terminal) write(text string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, err := io.WriteString(t.to, text); err != nil && t.failed != nil {
		t.failed()
	}
}

// pad is the space that fills text up to width.
func pad(text string, width int) string {
	return strings.Repeat(" ", max(0, width-utf8.RuneCountInString(text)))
}

// columns lays rows out as a table. Columns named in right are flush right; the last is not padded.
func columns(rows [][]string, right ...int) []string {
	var widths []int
	for _, row := range rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	flushRight := make([]bool, len(widths))
	for _, i := range right {
		flushRight[i] = true
	}
	lines := make([]string, len(rows))
	for n, row := range rows {
		var line strings.Builder
		for i, cell := range row {
			if i > 0 {
				line.WriteString("  ")
			}
			space := pad(cell, widths[i])
			if flushRight[i] {
				line.WriteString(space + cell)
			} else {
				line.WriteString(cell + space)
			}
		}
		lines[n] = strings.TrimRight(line.String(), " ")
	}
	return lines
}

// seconds writes a duration with three digits in the unit that people use for its size.
func seconds(s float64) string {
	switch {
	case s < 0.9995e-3:
		return digits(s*1e6) + " µs"
	case s < 0.9995:
		return digits(s*1e3) + " ms"
	default:
		return digits(s) + " s"
	}
}

// bytes writes a size in powers of 1000, as OpenTelemetry's By and network people count.
func bytes(n int64) string {
	for _, unit := range []struct {
		name string
		size float64
	}{{"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3}} {
		if v := float64(n) / unit.size; v >= 1 {
			return digits(v) + " " + unit.name
		}
	}
	return fmt.Sprintf("%d B", n)
}

// digits writes three significant digits of 0 to 999, all of larger numbers.
func digits(v float64) string {
	switch {
	case v < 9.995:
		return fmt.Sprintf("%.2f", v)
	case v < 99.95:
		return fmt.Sprintf("%.1f", v)
	default:
		return fmt.Sprintf("%.0f", v)
	}
}

// counted is "1 call", "2 calls".
func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
