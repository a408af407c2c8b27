package http1

import "bytes"

// MaxTarget is how much of a request-target is kept.
const MaxTarget = 8 << 10

// maxMethod bounds methods; the longest registered one (UPDATEREDIRECTREF) has 17 characters.
const maxMethod = 32

// RequestLine is a request line taken apart. Method and Target point into the line.
type RequestLine struct {
	Method, Target []byte
	Minor          uint8 // of HTTP/1.Minor
}

// ParseRequestLine reads "method SP request-target SP HTTP-version" without its CRLF. The line has no control
// characters but HTAB.
func ParseRequestLine(line []byte) (r RequestLine, ok bool) {
	space := method(line)
	end := len(line) - len(" HTTP/1.1")
	if space <= 0 || end <= space+1 || string(line[:space]) == "PRI" { // reserved for the HTTP/2 preface
		return r, false
	}
	minor, ok := version(line[end+1:])
	if !ok || line[end] != ' ' {
		return r, false
	}
	target := line[space+1 : end]
	if !targetStart(target[0], line[:space]) || bytes.IndexByte(target, ' ') >= 0 || bytes.IndexByte(target, '\t') >= 0 {
		return r, false
	}
	return RequestLine{Method: line[:space], Target: target, Minor: minor}, true
}

// method is the length of the method that line begins with, 0 if none does; -1 if line ends too early.
func method(line []byte) int {
	for i, c := range line {
		if c == ' ' {
			return i
		}
		if class[c]&isToken == 0 || i == maxMethod {
			return 0
		}
	}
	return -1
}

func version(v []byte) (minor uint8, ok bool) {
	if string(v) == "HTTP/1.1" {
		return 1, true
	}
	return 0, string(v) == "HTTP/1.0"
}

// validTarget accepts the four forms of RFC 9112 section 3.2 by their first character.
func validTarget(target, method []byte) bool {
	if !targetStart(target[0], method) {
		return false
	}
	for _, c := range target {
		if class[c]&isTarget == 0 {
			return false
		}
	}
	return true
}

func targetStart(c byte, method []byte) bool {
	switch {
	case c == '/', c == '*', c|0x20 >= 'a' && c|0x20 <= 'z':
		return true
	default:
		return string(method) == "CONNECT" && (c == '[' || c >= '0' && c <= '9')
	}
}

// ParseStatusLine reads "HTTP-version SP status-code [SP reason]" without its CRLF.
func ParseStatusLine(line []byte) (status int, minor uint8, ok bool) {
	if len(line) < len("HTTP/1.1 200") || line[8] != ' ' {
		return 0, 0, false
	}
	minor, ok = version(line[:8])
	if !ok || len(line) > 12 && line[12] != ' ' {
		return 0, 0, false
	}
	for _, c := range line[9:12] {
		if c < '0' || c > '9' {
			return 0, 0, false
		}
		status = status*10 + int(c-'0')
	}
	return status, minor, status >= 100 && status <= 599
}

// None of them is the end of another registered one, as LOCK is of UNLOCK: a head that was cut at its
// beginning is not taken for another.
var knownMethods = [...]string{"GET", "POST", "PUT", "HEAD", "DELETE", "PATCH", "OPTIONS", "CONNECT", "TRACE",
	"QUERY", "PROPFIND", "PROPPATCH", "REPORT", "PURGE", "COPY", "MOVE", "MKCOL", "UNLOCK", "NOTIFY"}

// KnownMethod is method as a constant string if it is in common use, else "".
func KnownMethod(method []byte) string {
	for _, known := range knownMethods {
		if string(method) == known {
			return known
		}
	}
	return ""
}

// Guess is what the beginning of a stream or record looks like.
type Guess uint8

const (
	Other    Guess = iota // no HTTP/1 head begins like that
	Maybe                 // too short to tell
	Request               // a whole request line, or one that is cut after a well-known method and the start of a target
	Response              // a whole status line
	Preface               // HTTP/2's connection preface, RFC 9113 section 3.4
)

const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// Recognize says what begins at the start of data. cut tells that more bytes follow that will never be
// seen, so that waiting for them is no use. strict accepts only well-known methods, for where data may as well be the middle of something.
func Recognize(data []byte, cut, strict bool) Guess {
	guess := recognize(data, cut, strict)
	if guess == Maybe && cut {
		return Other
	}
	return guess
}

func recognize(data []byte, cut, strict bool) Guess {
	if n := min(len(data), len(preface)); string(data[:n]) == preface[:n] {
		if n == len(preface) {
			return Preface
		}
		return Maybe
	}
	end := control(data, 0)
	line, whole := data[:end], false
	if end < len(data) {
		if data[end] != '\r' {
			return Other
		}
		if whole = end+1 < len(data); whole && data[end+1] != '\n' {
			return Other
		}
	}
	const http = "HTTP/1."
	if n := min(len(line), len(http)); string(line[:n]) == http[:n] {
		if _, _, ok := ParseStatusLine(line); ok && (whole || len(line) > 12) {
			return Response
		}
		if whole || len(line) >= len("HTTP/1.1 200 ") {
			return Other
		}
		return Maybe
	}
	if whole {
		if r, ok := ParseRequestLine(line); ok && (!strict || KnownMethod(r.Method) != "") {
			return Request
		}
		return Other
	}
	return partialRequest(line, cut, strict)
}

// partialRequest judges the beginning of a request line of which the end was not seen.
func partialRequest(line []byte, cut, strict bool) Guess {
	space := method(line)
	switch {
	case space == 0:
		return Other
	case space < 0:
		if len(line) == 0 || len(line) > maxMethod || strict && !knownPrefix(line) {
			return Other
		}
		return Maybe
	case strict && KnownMethod(line[:space]) == "":
		return Other
	case len(line) == space+1:
		return Maybe
	case !targetStart(line[space+1], line[:space]):
		return Other
	}
	// What follows the target is the version: a second space must begin " HTTP/1.x".
	rest := line[space+1:]
	cut = cut || len(rest) > MaxTarget // more of it would not be kept
	if i := bytes.IndexByte(rest, ' '); i >= 0 {
		tail := rest[i:]
		for _, end := range [2]string{" HTTP/1.1", " HTTP/1.0"} {
			if len(tail) <= len(end) && string(tail) == end[:len(tail)] {
				return maybeKnown(line[:space], cut)
			}
		}
		return Other
	}
	return maybeKnown(line[:space], cut)
}

func knownPrefix(line []byte) bool {
	for _, method := range knownMethods {
		if len(line) <= len(method) && string(line) == method[:len(line)] {
			return true
		}
	}
	return false
}

func maybeKnown(method []byte, cut bool) Guess {
	if cut && KnownMethod(method) != "" {
		return Request
	}
	return Maybe
}
