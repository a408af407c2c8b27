package http1

import (
	"encoding/binary"
	"math/bits"
)

const (
	isToken  = 1 << iota // tchar, RFC 9110 section 5.6.2
	isTarget             // what may stand in a request-target; bytes above 127 are seen there though RFC 3986 has none
	isHex
	isQuoted // qdtext without obs-text, RFC 9110 section 5.6.4
)

var class = func() (t [256]uint8) {
	for c := 0; c < 256; c++ {
		alnum := c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if alnum {
			t[c] |= isToken
		}
		if c > ' ' && c != 0x7f {
			t[c] |= isTarget
		}
		if c == '\t' || c >= ' ' && c != 0x7f {
			t[c] |= isQuoted
		}
		if c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F' {
			t[c] |= isHex
		}
	}
	for _, c := range []byte("!#$%&'*+-.^_`|~") {
		t[c] |= isToken
	}
	return t
}()

const (
	low  = 0x0101010101010101
	high = 0x8080808080808080
)

// control finds the first control character other than HTAB, at or after from; len(b) if there is none.
// Eight bytes at a time: the test is exact for the lowest byte that it flags (Mycroft's zero-byte test),
// and only that one is used.
func control(b []byte, from int) int {
	i := from
	for ; i+8 <= len(b); i += 8 {
		w := binary.LittleEndian.Uint64(b[i:])
		below := (w - low*0x20) & ^w
		del := w ^ low*0x7f
		if flagged := (below | (del-low)&^del) & high; flagged != 0 {
			at := i + bits.TrailingZeros64(flagged)>>3
			if b[at] != '\t' {
				return at
			}
			i = at + 1 - 8
		}
	}
	for ; i < len(b); i++ {
		if c := b[i]; c < ' ' && c != '\t' || c == 0x7f {
			return i
		}
	}
	return len(b)
}

// fold compares name with a lower-case word without regard to ASCII case.
func fold(name []byte, word string) bool {
	if len(name) != len(word) {
		return false
	}
	for i, c := range name {
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		if c != word[i] {
			return false
		}
	}
	return true
}

func trim(value []byte) []byte {
	for len(value) > 0 && (value[0] == ' ' || value[0] == '\t') {
		value = value[1:]
	}
	for len(value) > 0 && (value[len(value)-1] == ' ' || value[len(value)-1] == '\t') {
		value = value[:len(value)-1]
	}
	return value
}
