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
func control(b []byte, from int) int {
	end, _ := scan(b, from)
	return end
}

// scan is control, and says whether all before that is ASCII.
func scan(b []byte, from int) (end int, ascii bool) {
	rest, seen := b[from:], uint64(0)
	for len(rest) >= 16 {
		one, two := binary.LittleEndian.Uint64(rest), binary.LittleEndian.Uint64(rest[8:])
		if controls(one)|controls(two) != 0 {
			break
		}
		seen |= one | two
		rest = rest[16:]
	}
	for len(rest) >= 8 {
		word := binary.LittleEndian.Uint64(rest)
		flagged := controls(word)
		if flagged == 0 {
			seen |= word
			rest = rest[8:]
			continue
		}
		at := bits.TrailingZeros64(flagged) >> 3
		seen |= word & (1<<(8*(at&7)) - 1)
		if rest[at&7] != '\t' {
			return len(b) - len(rest) + at, seen&high == 0
		}
		rest = rest[at+1:]
	}
	for i, c := range rest {
		if c < ' ' && c != '\t' || c == 0x7f {
			return len(b) - len(rest) + i, seen&high == 0
		}
		seen |= uint64(c)
	}
	return len(b), seen&high == 0
}

// token is the length of the token that b begins with.
func token(b []byte) int {
	rest := b
	for len(rest) >= 8 {
		flagged := notAlphanumeric(binary.LittleEndian.Uint64(rest))
		if flagged == 0 {
			rest = rest[8:]
			continue
		}
		at := bits.TrailingZeros64(flagged) >> 3
		if class[rest[at&7]]&isToken == 0 {
			return len(b) - len(rest) + at
		}
		rest = rest[at+1:]
	}
	for i, c := range rest {
		if class[c]&isToken == 0 {
			return len(b) - len(rest) + i
		}
	}
	return len(b)
}

// notAlphanumeric sets the high bit of each of eight bytes that is no letter, digit or hyphen, of which nearly
// all names are made. Seven bits plus 0x80 less a character carry into the eighth from that character on.
func notAlphanumeric(w uint64) uint64 {
	seven := w & ^uint64(high)
	folded := seven | low*0x20
	letter := (folded + low*(0x80-'a')) &^ (folded + low*(0x80-'z'-1))
	digit := (seven + low*(0x80-'0')) &^ (seven + low*(0x80-'9'-1))
	other := (seven ^ low*'-') + low*0x7f
	return (^(letter|digit)&other | w) & high
}

// controls sets the high bit of each of eight bytes that is below 0x20 or is 0x7f. Of seven bits, adding 1
// moves 0x7f to 0 and so below the others; adding 0x5f then carries into the eighth unless the sum is below
// 0x21. Nothing carries into the next byte.
func controls(w uint64) uint64 {
	seven := ((w & ^uint64(high)) + low) & ^uint64(high)
	return ^((seven + low*0x5f) | w) & high
}

// fold compares name with a lower-case word of letters, digits and hyphens without regard to ASCII case.
// Setting bit 5 makes upper case lower, and turns no other character that may stand in a token or in a
// checked value into one of the word's.
func fold(name []byte, word string) bool {
	if len(name) != len(word) {
		return false
	}
	for len(name) >= 8 {
		if binary.LittleEndian.Uint64(name)|low*0x20 != load(word) {
			return false
		}
		name, word = name[8:], word[8:]
	}
	for i, c := range name {
		if c|0x20 != word[i] {
			return false
		}
	}
	return true
}

func load(s string) uint64 {
	_ = s[7]
	return uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
		uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
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

// equalFold is fold for any lower-case word.
func equalFold(name []byte, word string) bool {
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
