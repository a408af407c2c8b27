package http1

import "slices"

// Name tells the wanted header fields apart.
type Name uint8

const (
	None Name = iota
	Host
	UserAgent
	Traceparent
	Tracestate
	B3
	B3TraceID
	B3SpanID
	B3ParentSpanID
	B3Sampled
	B3Flags
	Listed // Listed+i is the i-th name of the allow-list
)

// MaxListed is how long an allow-list can be.
const MaxListed = 200

// Names says which fields a Sink gets.
type Names struct {
	known  bool // the named constants above
	listed []string
	memo   memo
}

// NewNames makes the set of the constants (if known is set) and an allow-list of lower-case names.
func NewNames(known bool, listed []string) *Names {
	return &Names{known: known, listed: listed[:min(len(listed), MaxListed)]}
}

func (n *Names) wanted(name []byte) bool {
	return n.find(name) != None || slices.ContainsFunc(n.listed, func(listed string) bool { return equalFold(name, listed) })
}

// Find is the constant for a name, None if there is none; names in the allow-list have none here.
func (n *Names) Find(name []byte) Name { return n.find(name) }

func (n *Names) find(name []byte) Name {
	if !n.known {
		return None
	}
	switch len(name) {
	case 2:
		if fold(name, "b3") {
			return B3
		}
	case 4:
		if fold(name, "host") {
			return Host
		}
	case 10:
		switch name[0] | 0x20 {
		case 'u':
			if fold(name, "user-agent") {
				return UserAgent
			}
		case 't':
			if fold(name, "tracestate") {
				return Tracestate
			}
		case 'x':
			if fold(name, "x-b3-flags") {
				return B3Flags
			}
		}
	case 11:
		switch name[0] | 0x20 {
		case 't':
			if fold(name, "traceparent") {
				return Traceparent
			}
		case 'x':
			if fold(name, "x-b3-spanid") {
				return B3SpanID
			}
		}
	case 12:
		if name[0]|0x20 == 'x' {
			if fold(name, "x-b3-traceid") {
				return B3TraceID
			}
			if fold(name, "x-b3-sampled") {
				return B3Sampled
			}
		}
	case 17:
		if fold(name, "x-b3-parentspanid") {
			return B3ParentSpanID
		}
	}
	return None
}

// field takes a field and says what there was to do for it.
func (h *Head) field(name, value []byte, ascii bool, sink Sink) meaning {
	if h.trailer {
		return meaning{}
	}
	if len(name) > 17 || 1<<len(name)&interesting == 0 {
		return meaning{certain: h.names == nil || !h.names.allowed(name, value, ascii, sink)}
	}
	h.Framing.field(name, value)
	if h.names == nil {
		return meaning{}
	}
	known := h.names.find(name)
	if known != None {
		sink.Field(known, trim(value), ascii)
	}
	switch {
	case h.names.allowed(name, value, ascii, sink):
		return meaning{}
	case known != None:
		return meaning{certain: true, name: known, ascii: ascii}
	case fold(name, "connection"):
		return meaning{certain: fold(trim(value), "keep-alive"), keepAlive: true}
	case fold(name, "content-length"):
		return meaning{certain: true, contentLength: true}
	}
	return meaning{certain: !framingField(name) && !fold(name, "upgrade")}
}

// interesting are the lengths of the names that mean something here.
const interesting = 1<<2 | 1<<4 | 1<<7 | 1<<10 | 1<<11 | 1<<12 | 1<<14 | 1<<17

func (n *Names) allowed(name, value []byte, ascii bool, sink Sink) bool {
	for i, listed := range n.listed {
		if equalFold(name, listed) {
			sink.Field(Listed+Name(i), trim(value), ascii)
			return true
		}
	}
	return false
}
