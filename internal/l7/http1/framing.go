package http1

// Framing is what a head says about the length of its content (RFC 9112 section 6.3) and about the
// connection.
type Framing struct {
	ContentLength int64 // -1: none
	Chunked       bool  // chunked is the last transfer coding
	transfer      bool  // there is a Transfer-Encoding
	faulty        bool  // fields that a careful recipient rejects
	Close         bool  // Connection: close
	KeepAlive     bool  // Connection: keep-alive
	Upgrade       bool  // Connection: upgrade
	H2C           bool  // Upgrade: h2c, and nothing else
}

// Body says how content is delimited.
type Body uint8

const (
	Empty      Body = iota
	Length          // ContentLength bytes
	Chunked         // see Chunks
	UntilClose      // as long as the connection
	Unknown         // cannot be told, or recipients may differ about it
)

func framingField(name []byte) bool {
	return fold(name, "content-length") || fold(name, "transfer-encoding") || fold(name, "connection")
}

func (f *Framing) field(name, value []byte) {
	switch len(name) {
	case 7:
		if fold(name, "upgrade") {
			f.H2C = fold(trim(value), "h2c")
		}
	case 10:
		if name[0]|0x20 == 'c' && fold(name, "connection") {
			f.connection(value)
		}
	case 14:
		if fold(name, "content-length") {
			f.contentLength(trim(value))
		}
	case 17:
		if fold(name, "transfer-encoding") {
			f.transferEncoding(value)
		}
	}
}

func (f *Framing) contentLength(value []byte) {
	if f.ContentLength >= 0 || len(value) == 0 {
		f.faulty = true // repeated: even equal values are not for us to reconcile
		return
	}
	n := int64(0)
	for _, c := range value {
		if c < '0' || c > '9' || n > (1<<62)/10 {
			f.faulty = true
			return
		}
		n = n*10 + int64(c-'0')
	}
	f.ContentLength = n
}

func (f *Framing) transferEncoding(value []byte) {
	f.transfer = true
	f.faulty = f.faulty || len(trim(value)) == 0
	for coding := range list(value) {
		if f.Chunked {
			f.faulty = true // chunked must be the last
		}
		f.Chunked = fold(coding, "chunked")
		f.faulty = f.faulty || !f.Chunked && !knownCoding(coding)
	}
}

// knownCoding says whether a transfer coding is one that is registered. Of another, recipients differ about whether
// it is chunked after all ("chunked;a=b", "xchunked").
func knownCoding(coding []byte) bool {
	for _, known := range [...]string{"gzip", "deflate", "compress", "x-gzip", "x-compress"} {
		if equalFold(coding, known) {
			return true
		}
	}
	return false
}

func (f *Framing) connection(value []byte) {
	if option := trim(value); fold(option, "keep-alive") { // nearly always
		f.KeepAlive = true
		return
	}
	for option := range list(value) {
		switch {
		case fold(option, "close"):
			f.Close = true
		case fold(option, "keep-alive"):
			f.KeepAlive = true
		case fold(option, "upgrade"):
			f.Upgrade = true
		}
	}
}

// list goes through the elements of a comma-separated list, empty ones left out.
func list(value []byte) func(func([]byte) bool) {
	return func(yield func([]byte) bool) {
		for start := 0; start <= len(value); {
			end := start
			for end < len(value) && value[end] != ',' {
				end++
			}
			if item := trim(value[start:end]); len(item) > 0 && !yield(item) {
				return
			}
			start = end + 1
		}
	}
}

// ambiguous says that recipients may disagree about where the message ends.
func (h *Head) ambiguous() bool {
	return h.faulty || h.transfer && (h.ContentLength >= 0 || h.Minor == 0)
}

// RequestBody is how the content of a request is delimited.
func (h *Head) RequestBody() Body {
	switch {
	case h.ambiguous(), h.transfer && !h.Chunked:
		return Unknown
	case h.Chunked:
		return Chunked
	case h.ContentLength > 0:
		return Length
	}
	return Empty
}

// ResponseBody is how the content of a response to a request with this method is delimited; the method
// is empty if it is not known.
func (h *Head) ResponseBody(method string) Body {
	switch {
	case h.Status < 200, h.Status == 204, h.Status == 304, method == "HEAD":
		return Empty
	case method == "":
		if !h.faulty && !h.transfer && h.ContentLength == 0 {
			return Empty
		}
		return Unknown
	case h.ambiguous():
		return Unknown
	case h.Chunked:
		return Chunked
	case h.transfer:
		return UntilClose
	case h.ContentLength > 0:
		return Length
	case h.ContentLength == 0:
		return Empty
	}
	return UntilClose
}

// Last says whether the connection ends with this message (RFC 9112 section 9.3).
func (h *Head) Last() bool { return h.Close || h.Minor == 0 && !h.KeepAlive }
