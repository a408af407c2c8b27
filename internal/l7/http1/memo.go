package http1

import "encoding/binary"

// memo remembers whole lines: most heads are made of the same few, again and again. A line that is equal to one
// that was read before, to its end, means the same, at the cost of the comparison.
type memo [64]remembered

type remembered struct {
	text   [maxRemembered]byte // with its CRLF
	length uint8               // 0: there is none
	misses uint8               // other lines that came instead since it last did
	colon  uint8               // where it is
	meaning
}

// meaning is what a field is to a head, where its line alone decides: for most fields nothing.
type meaning struct {
	certain       bool
	keepAlive     bool // Connection: keep-alive, and nothing else
	contentLength bool
	ascii         bool
	name          Name // that a Sink takes
}

const (
	minRemembered = 12 // which slot reads
	maxRemembered = 116
	maxMisses     = 8 // then another line takes the place
)

// slot is where a line has its place, by its first twelve bytes: Content-Type and Content-Length are in most
// heads both.
func (m *memo) slot(line []byte) *remembered {
	first, then := binary.LittleEndian.Uint64(line), uint64(binary.LittleEndian.Uint32(line[8:]))
	return &m[(first^then<<20)*0x9e3779b97f4a7c15>>58]
}

// again is the length of a remembered line that data begins with, 0 if there is none. It is acted upon.
func (h *Head) again(data []byte, sink Sink) int {
	slot := h.names.memo.slot(data)
	n := int(slot.length)
	if n == 0 || n > len(data) || string(data[:n]) != string(slot.text[:n]) {
		return 0
	}
	if slot.misses > 0 {
		slot.misses = 0
	}
	switch {
	case slot.name != None:
		sink.Field(slot.name, trim(data[slot.colon+1:n-2]), slot.ascii)
	case slot.contentLength:
		h.Framing.contentLength(trim(data[slot.colon+1 : n-2]))
	case slot.keepAlive:
		h.KeepAlive = true
	}
	return n
}

func (m *memo) remember(line []byte, colon int, means meaning) {
	if len(line) < minRemembered || len(line) > maxRemembered {
		return
	}
	slot := m.slot(line)
	if slot.length > 0 && slot.misses < maxMisses {
		slot.misses++
		return
	}
	slot.length, slot.misses, slot.colon, slot.meaning = uint8(copy(slot.text[:], line)), 0, uint8(colon), means
}
