package http2

import "encoding/binary"

// Messages counts the messages that one side of a gRPC call sends: each is a byte (compressed or not), its
// length in four bytes, and as many bytes (the Length-Prefixed-Message of gRPC over HTTP/2).
type Messages struct {
	count  int64
	left   uint32 // of the message that is being sent
	prefix [5]byte
	have   uint8 // bytes of prefix
	lost   bool
}

// Feed reads content.
func (m *Messages) Feed(data []byte) {
	for len(data) > 0 && !m.lost {
		if m.have < 5 {
			n := copy(m.prefix[m.have:], data)
			m.have += uint8(n)
			data = data[n:]
			if m.have == 5 {
				m.left = binary.BigEndian.Uint32(m.prefix[1:])
				m.lost = m.prefix[0] > 1 // neither of the two flags that there are
				m.end()
			}
			continue
		}
		n := min(int64(m.left), int64(len(data)))
		m.left -= uint32(n)
		data = data[n:]
		m.end()
	}
}

// Skip goes over content that was not seen.
func (m *Messages) Skip(n int64) {
	if n == 0 || m.lost {
		return
	}
	if m.have < 5 || n > int64(m.left) {
		m.lost = true
		return
	}
	m.left -= uint32(n)
	m.end()
}

// Lose says that an unknown amount of content was not seen.
func (m *Messages) Lose() { m.lost = true }

// Count is how many whole messages there were, -1 if that is not known.
func (m *Messages) Count() int64 {
	if m.lost {
		return -1
	}
	return m.count
}

func (m *Messages) end() {
	if m.left == 0 {
		m.count++
		m.have = 0
	}
}
