package http1

// Chunks reads chunked content (RFC 9112 section 7.1) up to and including the last chunk's line; the
// trailer section that follows is a Head without a start line. The zero value is ready.
type Chunks struct {
	Total  int64 // bytes of content so far announced
	left   int64 // of the chunk
	digits uint8
	state  chunkState
}

type chunkState uint8

const (
	chunkSize chunkState = iota
	chunkExtensionStart
	chunkExtensionName
	chunkValueStart
	chunkValue
	chunkQuoted
	chunkEscape
	chunkQuotedEnd
	chunkLF
	chunkData
	chunkDataCR
	chunkDataLF
)

// maxContent bounds sizes so that their sum cannot overflow.
const maxContent = 1 << 62

// Feed reads the next bytes. Done: the line of the last chunk has ended.
func (c *Chunks) Feed(data []byte) (used int, progress Progress) {
	for used < len(data) {
		if c.state == chunkData {
			n := min(c.left, int64(len(data)-used))
			used += int(n)
			if c.left -= n; c.left == 0 {
				c.state = chunkDataCR
			}
			continue
		}
		b := data[used]
		used++
		switch progress = c.step(b); progress {
		case Done, Invalid:
			return used, progress
		}
	}
	return used, More
}

// Skip passes n bytes that were not seen and says whether that is certain: they lie in one chunk, or reach as
// far as the end of the line after it. What is behind that says how long the next one is.
func (c *Chunks) Skip(n int64) bool {
	var end int64 // of that line, from the chunk's last byte on
	switch c.state {
	case chunkData, chunkDataCR:
		end = 2
	case chunkDataLF:
		end = 1
	}
	if end == 0 || n > c.left+end {
		return false
	}
	of := min(n, c.left)
	c.left -= of
	switch end -= n - of; {
	case c.left > 0:
	case end == 2:
		c.state = chunkDataCR
	case end == 1:
		c.state = chunkDataLF
	default:
		c.state, c.digits = chunkSize, 0
	}
	return true
}

func (c *Chunks) step(b byte) Progress {
	switch c.state {
	case chunkSize:
		return c.size(b)
	case chunkLF:
		return c.lineEnd(b)
	case chunkDataCR:
		return c.expect(b, '\r', chunkDataLF)
	case chunkDataLF:
		c.digits = 0
		return c.expect(b, '\n', chunkSize)
	case chunkEscape:
		c.state = chunkQuoted
		return valid(class[b]&isQuoted != 0 || b >= 0x80)
	case chunkQuoted:
		switch {
		case b == '"':
			c.state = chunkQuotedEnd
		case b == '\\':
			c.state = chunkEscape
		default:
			return valid(class[b]&isQuoted != 0 || b >= 0x80)
		}
		return More
	}
	// Between and within the parts of an extension.
	token := class[b]&isToken != 0
	switch {
	case token && (c.state == chunkExtensionStart || c.state == chunkExtensionName):
		c.state = chunkExtensionName
	case token && (c.state == chunkValueStart || c.state == chunkValue):
		c.state = chunkValue
	case b == '"' && c.state == chunkValueStart:
		c.state = chunkQuoted
	case b == '=' && c.state == chunkExtensionName:
		c.state = chunkValueStart
	case b == ';' && c.state != chunkExtensionStart && c.state != chunkValueStart:
		c.state = chunkExtensionStart
	case b == '\r' && c.state != chunkExtensionStart && c.state != chunkValueStart:
		c.state = chunkLF
	default:
		return Invalid
	}
	return More
}

func (c *Chunks) size(b byte) Progress {
	switch {
	case class[b]&isHex != 0:
		digit := int64(b & 0xf)
		if b > '9' {
			digit += 9
		}
		if c.left >= maxContent>>4 {
			return Invalid
		}
		c.left = c.left<<4 | digit
		c.digits = 1
	case c.digits == 0:
		return Invalid
	case b == ';':
		c.state = chunkExtensionStart
	case b == '\r':
		c.state = chunkLF
	default:
		return Invalid
	}
	return More
}

func (c *Chunks) lineEnd(b byte) Progress {
	if b != '\n' {
		return Invalid
	}
	if c.left == 0 {
		return Done
	}
	if c.Total += c.left; c.Total > maxContent {
		return Invalid
	}
	c.state = chunkData
	return More
}

func (c *Chunks) expect(b, want byte, next chunkState) Progress {
	c.state = next
	return valid(b == want)
}

func valid(ok bool) Progress {
	if ok {
		return More
	}
	return Invalid
}
