package http2

import (
	"encoding/binary"
	"slices"
	"strings"

	"golang.org/x/net/http2/hpack"
)

const (
	fastBits    = 12 // that are looked up at once: two of the symbols that paths, dates and ids are made of
	longestCode = 30 // RFC 7541 appendix B
)

// huffmanCode is the code of RFC 7541 appendix B, taken apart for reading. It is canonical: codes of one length
// follow each other in the order of their symbols, behind all shorter ones. So their lengths say everything.
type huffmanCode struct {
	fast   [1 << fastBits]symbols  // by the next bits
	end    [longestCode + 1]uint32 // by length: behind the last code
	offset [longestCode + 1]int32  // of a code of that length to its place in byCode
	byCode [256]byte
}

// symbols are the one or two that so many bits begin with; none: the first takes more bits.
type symbols struct {
	first, second byte
	count         uint8
	firstLength   uint8
	length        uint8 // of all
}

var huffman = newHuffmanCode()

func newHuffmanCode() (h huffmanCode) {
	var byLength [longestCode + 1][]byte
	for symbol := range 256 {
		// Eight of one symbol take as many bytes as one takes bits.
		length := hpack.HuffmanEncodeLength(strings.Repeat(string([]byte{byte(symbol)}), 8))
		byLength[length] = append(byLength[length], byte(symbol))
	}
	code, place := uint32(0), 0
	for length, all := range byLength {
		code <<= 1
		h.offset[length] = int32(place) - int32(code)
		for _, symbol := range all {
			h.byCode[place] = symbol
			place++
			if length <= fastBits {
				from := code << (fastBits - length)
				for i := range uint32(1) << (fastBits - length) {
					h.fast[from+i] = symbols{first: symbol, count: 1, firstLength: uint8(length), length: uint8(length)}
				}
			}
			code++
		}
		h.end[length] = code
	}
	single := h.fast
	for i := range h.fast {
		s := &h.fast[i]
		next := single[i<<s.firstLength&(1<<fastBits-1)]
		if s.firstLength > 0 && next.firstLength > 0 && s.firstLength+next.firstLength <= fastBits {
			s.second, s.count, s.length = next.first, 2, s.firstLength+next.firstLength
		}
	}
	return h
}

// appendHuffman appends what src encodes; false: it is not valid (section 5.2).
func appendHuffman(dst, src []byte) ([]byte, bool) {
	dst = slices.Grow(dst, len(src)*8/5+2)
	at, out := len(dst), dst[:cap(dst)]
	bits, n := uint64(0), uint(0) // the next bits, from the highest on, and how many there are
	for {
		if n < 32 {
			if len(src) >= 4 {
				bits |= uint64(binary.BigEndian.Uint32(src)) << (32 - n)
				src, n = src[4:], n+32
			} else {
				for _, b := range src {
					bits |= uint64(b) << (56 - n)
					n += 8
				}
				src = nil
			}
		}
		e := huffman.fast[bits>>(64-fastBits)]
		if length := uint(e.length); length <= n && length > 0 {
			out[at], out[at+1] = e.first, e.second
			at += int(e.count)
			bits <<= length
			n -= length
			continue
		}
		length, symbol := uint(e.firstLength), e.first
		if length == 0 {
			for length = fastBits + 1; length <= longestCode; length++ {
				if code := uint32(bits >> (64 - length)); code < huffman.end[length] {
					symbol = huffman.byCode[huffman.offset[length]+int32(code)]
					break
				}
			}
		}
		if length > n { // what is left is padding: less than a byte of the most significant bits of EOS
			return out[:at], n < 8 && bits == ^(^uint64(0)>>n)
		}
		if length > longestCode {
			return out[:at], false // EOS
		}
		out[at] = symbol
		at++
		bits <<= length
		n -= length
	}
}
