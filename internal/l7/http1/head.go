package http1

import (
	"bytes"

	"github.com/ebpfnet/ebpfnetreceiver/internal/l7/buffer"
)

// Progress says how far Feed came.
type Progress uint8

const (
	More      Progress = iota // all of data was used, the head goes on
	StartLine                 // the start line is complete: see Request or Status; feed the rest
	Done                      // the head is complete
	Invalid                   // not HTTP/1, or not safely so
)

// maxLine is the longest line that is kept whole.
const maxLine = MaxTarget + maxMethod + len("  HTTP/1.1\r\n")

// Sink takes header fields as they are read; value is valid during the call. ascii says that it is known to be
// all ASCII.
type Sink interface {
	Field(name Name, value []byte, ascii bool)
}

// Head reads one message head, or the trailer section of chunked content. Reset before each.
type Head struct {
	// Request is the request line once StartLine was reported, valid until the next call of Feed.
	Request RequestLine
	// TargetCut says that Request.Target is only the beginning of it.
	TargetCut bool
	// Status is the status code of a response, 0 for a request.
	Status int
	// Minor is the message's minor version.
	Minor uint8
	// Dropped says that the value of a wanted field was too long to be kept.
	Dropped bool

	Framing

	names   *Names
	partial []byte // the line that is not complete yet
	skip    bool   // the line is too long: partial holds its beginning, tail its end
	tail    [16]byte
	started bool
	trailer bool
}

// Reset prepares for a new head, whose wanted fields names lists; nil: none.
func (h *Head) Reset(names *Names, pool *buffer.Pool) {
	pool.Put(h.partial)
	*h = Head{names: names, Framing: Framing{ContentLength: -1}}
}

// Trailer prepares for the trailer section that follows chunked content. Its fields say nothing about the
// message's framing, and what the head said stays.
func (h *Head) Trailer(pool *buffer.Pool) {
	pool.Put(h.partial)
	h.partial, h.skip, h.trailer = nil, false, true
}

// Release gives the partial line back.
func (h *Head) Release(pool *buffer.Pool) {
	pool.Put(h.partial)
	h.partial = nil
}

// Feed reads the next bytes of the head and returns how many it used.
func (h *Head) Feed(data []byte, pool *buffer.Pool, sink Sink) (used int, progress Progress) {
	if len(h.partial) > 0 || h.skip {
		end := bytes.IndexByte(data, '\n')
		if end < 0 {
			h.store(data, pool)
			if !h.skip {
				// What is wrong already is so however it was cut.
				if _, progress = h.line(h.partial, sink); progress == Invalid {
					return len(data), Invalid
				}
			}
			return len(data), More
		}
		h.store(data[:end+1], pool)
		used = end + 1
		line := h.partial
		if h.skip {
			progress = h.longLine()
		} else {
			_, progress = h.line(line, sink)
		}
		if progress != StartLine { // its parts point into partial; the next call puts it back
			h.Release(pool)
		} else {
			h.partial = line[:0]
		}
		h.skip = false
		if progress != More {
			return used, progress
		}
	} else if cap(h.partial) > 0 {
		h.Release(pool)
	}
	for used < len(data) {
		n, progress := h.line(data[used:], sink)
		if n == 0 && progress == More {
			h.store(data[used:], pool)
			return len(data), More
		}
		used += n
		if progress != More {
			return used, progress
		}
	}
	return used, More
}

// line reads one line at the start of data; 0 and More: it is not complete.
func (h *Head) line(data []byte, sink Sink) (int, Progress) {
	if !h.started {
		return h.startLine(data)
	}
	if data[0] == '\r' {
		switch {
		case len(data) == 1:
			return 0, More
		case data[1] != '\n':
			return 0, Invalid
		}
		return 2, Done
	}
	memorable := len(data) >= minRemembered && h.names != nil && !h.trailer
	if memorable {
		if n := h.again(data, sink); n > 0 {
			return n, More
		}
	}
	colon := token(data)
	if colon == len(data) {
		return 0, More
	}
	if data[colon] != ':' || colon == 0 {
		return 0, Invalid
	}
	end, ascii := scan(data, colon+1)
	if end+1 >= len(data) {
		if end < len(data) && data[end] != '\r' {
			return 0, Invalid
		}
		return 0, More
	}
	if data[end] != '\r' || data[end+1] != '\n' {
		return 0, Invalid
	}
	if means := h.field(data[:colon], data[colon+1:end], ascii, sink); means.certain && memorable {
		h.names.memo.remember(data[:end+2], colon, means)
	}
	return end + 2, More
}

func (h *Head) startLine(data []byte) (int, Progress) {
	end := control(data, 0)
	if end+1 >= len(data) {
		if end < len(data) && data[end] != '\r' {
			return 0, Invalid
		}
		return 0, More
	}
	if data[end] != '\r' || data[end+1] != '\n' {
		return 0, Invalid
	}
	line := data[:end]
	h.started = true
	if bytes.HasPrefix(line, []byte("HTTP/")) {
		status, minor, ok := ParseStatusLine(line)
		if !ok {
			return 0, Invalid
		}
		h.Status, h.Minor = status, minor
		return end + 2, StartLine
	}
	request, ok := ParseRequestLine(line)
	if !ok {
		return 0, Invalid
	}
	if len(request.Target) > MaxTarget {
		request.Target, h.TargetCut = request.Target[:MaxTarget], true
	}
	h.Request, h.Minor = request, request.Minor
	return end + 2, StartLine
}

// store keeps the piece of a line that goes on: all of a line up to maxLine, else its beginning and end.
func (h *Head) store(piece []byte, pool *buffer.Pool) {
	if !h.skip {
		room := maxLine - len(h.partial)
		before := len(h.partial)
		kept, ok := pool.Append(h.partial, piece[:min(room, len(piece))])
		h.partial = kept
		if ok && len(piece) <= room {
			return
		}
		h.skip = true
		seen := h.partial[:before]
		seen = seen[max(0, before-len(h.tail)):]
		copy(h.tail[len(h.tail)-len(seen):], seen)
	}
	n := copy(h.tail[:], h.tail[min(len(piece), len(h.tail)):])
	copy(h.tail[n:], piece[max(0, len(piece)-len(h.tail)):])
}

// longLine judges a line of which only the beginning and the end were kept.
func (h *Head) longLine() Progress {
	if string(h.tail[14:]) != "\r\n" {
		return Invalid
	}
	if h.started {
		colon := 0
		for colon < len(h.partial) && class[h.partial[colon]]&isToken != 0 {
			colon++
		}
		if colon == 0 || colon == len(h.partial) || h.partial[colon] != ':' || control(h.partial, colon) < len(h.partial) {
			return Invalid
		}
		if framingField(h.partial[:colon]) {
			return Invalid
		}
		h.Dropped = h.Dropped || h.names != nil && !h.trailer && h.names.wanted(h.partial[:colon])
		return More
	}
	space := method(h.partial)
	minor, ok := version(h.tail[6:14])
	if space <= 0 || !ok || h.tail[5] != ' ' || len(h.partial) < space+1+MaxTarget ||
		!validTarget(h.partial[space+1:space+1+MaxTarget], h.partial[:space]) {
		return Invalid
	}
	h.started, h.TargetCut, h.Minor = true, true, minor
	h.Request = RequestLine{Method: h.partial[:space], Target: h.partial[space+1 : space+1+MaxTarget], Minor: minor}
	return StartLine
}

// Partial is the request line as far as it was seen, for a head of which the rest will not be seen.
// Its method is nil if that was cut too.
func (h *Head) Partial() RequestLine {
	if h.started || len(h.partial) == 0 {
		return RequestLine{}
	}
	space := method(h.partial)
	if space <= 0 || len(h.partial) == space+1 || !targetStart(h.partial[space+1], h.partial[:space]) {
		return RequestLine{}
	}
	target := h.partial[space+1:]
	for i, c := range target {
		if class[c]&isTarget == 0 {
			target = target[:i]
			break
		}
	}
	return RequestLine{Method: h.partial[:space], Target: target[:min(len(target), MaxTarget)]}
}

// Started says whether the start line was read.
func (h *Head) Started() bool { return h.started }
