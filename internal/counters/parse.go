package counters

import (
	"bytes"
	"strconv"
	"unsafe"
)

// columns remembers the names in a header line that is the same each time.
type columns struct {
	header string
	names  []string // "": not wanted
}

// of gives the names of the columns of header, for which wants says what name each has.
func (c *columns) of(header []byte, wants func(name string) string) []string {
	if string(header) != c.header || c.names == nil {
		c.header, c.names = string(header), []string{}
		for _, name := range bytes.Fields(header) {
			c.names = append(c.names, wants(string(name)))
		}
	}
	return c.names
}

// line cuts the first line off text.
func line(text []byte) (first, rest []byte) {
	if end := bytes.IndexByte(text, '\n'); end >= 0 {
		return text[:end], text[end+1:]
	}
	return text, nil
}

// field cuts the first of the fields that blanks separate off text; empty: there is none.
func field(text []byte) (first, rest []byte) {
	start := 0
	for start < len(text) && (text[start] == ' ' || text[start] == '\t') {
		start++
	}
	end := start
	for end < len(text) && text[end] != ' ' && text[end] != '\t' {
		end++
	}
	return text[start:end], text[end:]
}

// number reads a field; false: it is none, or negative.
func number(text []byte, base int) (uint64, bool) {
	value, err := strconv.ParseUint(unsafe.String(unsafe.SliceData(text), len(text)), base, 64)
	return value, err == nil
}

// values calls each for every column that has a name.
func values(row []byte, names []string, base int, each func(name string, value uint64)) {
	for _, name := range names {
		var text []byte
		if text, row = field(row); len(text) == 0 {
			return
		}
		if name == "" {
			continue
		}
		if value, ok := number(text, base); ok {
			each(name, value)
		}
	}
}
