package http1

import "encoding/binary"

// memo remembers whole lines that say nothing that is wanted: most heads are made of the same few, again and
// again (accept, server, content-type). A line that is equal to one that was read before, to its end, reads the
// same, at the cost of the comparison.
type memo [64]remembered

type remembered struct {
	text      [maxRemembered]byte // with its CRLF
	length    uint8               // 0: there is none
	misses    uint8               // other lines that came instead since it last did
	keepAlive bool                // it says Connection: keep-alive, and nothing else
}

const (
	minRemembered = 8 // which slot reads
	maxRemembered = 116
	maxMisses     = 8 // then another line takes the place
)

// slot is where a line has its place, by its first eight bytes.
func (m *memo) slot(line []byte) *remembered {
	return &m[binary.LittleEndian.Uint64(line)*0x9e3779b97f4a7c15>>58]
}

// again is the length of a remembered line that data begins with, 0 if there is none.
func (h *Head) again(data []byte) int {
	slot := h.names.memo.slot(data)
	n := int(slot.length)
	if n == 0 || n > len(data) || string(data[:n]) != string(slot.text[:n]) {
		return 0
	}
	if slot.misses > 0 {
		slot.misses = 0
	}
	h.KeepAlive = h.KeepAlive || slot.keepAlive
	return n
}

func (m *memo) remember(line []byte, keepAlive bool) {
	if len(line) < minRemembered || len(line) > maxRemembered {
		return
	}
	slot := m.slot(line)
	if slot.length > 0 && slot.misses < maxMisses {
		slot.misses++
		return
	}
	slot.length, slot.misses, slot.keepAlive = uint8(copy(slot.text[:], line)), 0, keepAlive
}
