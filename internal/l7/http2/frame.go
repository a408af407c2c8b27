package http2

import (
	"encoding/binary"
	"errors"
)

// HeaderSize is the size of a frame's header.
const HeaderSize = 9

// DefaultMaxFrame is the longest payload that may be sent without the receiver's leave, LargestFrame what
// it can allow (RFC 9113 section 6.5.2).
const (
	DefaultMaxFrame = 1 << 14
	LargestFrame    = 1<<24 - 1
)

// Frame types of RFC 9113 section 6.
const (
	Data uint8 = iota
	Headers
	Priority
	RSTStream
	Settings
	PushPromise
	Ping
	GoAway
	WindowUpdate
	Continuation
)

// Flags. Ack and EndStream are the same bit, on frames of different types.
const (
	FlagEndStream  = 0x1
	FlagAck        = 0x1
	FlagEndHeaders = 0x4
	FlagPadded     = 0x8
	FlagPriority   = 0x20
)

// Settings of RFC 9113 section 6.5.2 that matter to an onlooker.
const (
	SettingHeaderTableSize = 1
	SettingMaxFrameSize    = 5
)

// Errors of frames that no receiver may accept, by the error code that it has to answer with.
var (
	ErrProtocol  = errors.New("PROTOCOL_ERROR")
	ErrFrameSize = errors.New("FRAME_SIZE_ERROR")
)

// Header is the header of a frame.
type Header struct {
	Length   uint32
	Type     uint8
	Flags    uint8
	Stream   uint32
	Reserved bool // the bit that is to be ignored, and that nobody sets
}

// ParseHeader reads a header from the first HeaderSize bytes of b.
func ParseHeader(b []byte) Header {
	_ = b[HeaderSize-1]
	stream := binary.BigEndian.Uint32(b[5:])
	return Header{
		Length:   uint32(b[0])<<16 | uint32(b[1])<<8 | uint32(b[2]),
		Type:     b[3],
		Flags:    b[4],
		Stream:   stream &^ (1 << 31),
		Reserved: stream>>31 != 0,
	}
}

// Has says whether a flag is set.
func (h *Header) Has(flag uint8) bool { return h.Flags&flag != 0 }

// Check says whether a receiver that allows payloads of maxFrame may accept a frame with this header.
func (h *Header) Check(maxFrame uint32) error {
	if h.Length > maxFrame {
		return ErrFrameSize
	}
	least, exact, onStream := uint32(0), false, true
	switch h.Type {
	case Data, Headers, Continuation:
		least = h.prefix()
	case PushPromise:
		least = h.prefix()
	case Priority:
		least, exact = 5, true
	case RSTStream:
		least, exact = 4, true
	case Settings:
		if h.Length%6 != 0 || h.Has(FlagAck) && h.Length != 0 {
			return ErrFrameSize
		}
		onStream = false
	case Ping:
		least, exact, onStream = 8, true, false
	case GoAway:
		least, onStream = 8, false
	case WindowUpdate:
		if h.Length != 4 {
			return ErrFrameSize
		}
		return nil
	default:
		return nil // RFC 9113 section 5.5: an unknown type is ignored
	}
	if (h.Stream != 0) != onStream {
		return ErrProtocol
	}
	if h.Length < least || exact && h.Length != least {
		return ErrFrameSize
	}
	return nil
}

// prefix is how many bytes of the payload go before its content.
func (h *Header) prefix() (n uint32) {
	if h.Has(FlagPadded) && (h.Type == Data || h.Type == Headers || h.Type == PushPromise) {
		n = 1
	}
	switch {
	case h.Type == Headers && h.Has(FlagPriority):
		n += 5
	case h.Type == PushPromise:
		n += 4
	}
	return n
}

// Prefix is how many bytes of the payload go before its content: the length of the padding, priority, the
// promised stream.
func (h *Header) Prefix() int { return int(h.prefix()) }

// Content is how much of the payload is content, given the prefix: what is left without the padding.
func (h *Header) Content(prefix []byte) (n int, err error) {
	n = int(h.Length) - len(prefix)
	if h.Has(FlagPadded) && h.Type != Continuation && len(prefix) > 0 {
		n -= int(prefix[0])
	}
	if n < 0 {
		return 0, ErrProtocol
	}
	return n, nil
}

// CheckPayload says whether a receiver may accept the payload of a frame whose header it accepts.
func (h *Header) CheckPayload(payload []byte) error {
	switch h.Type {
	case Data, Headers, PushPromise:
		prefix := payload[:h.Prefix()]
		if h.Type == PushPromise {
			promised := Promised(prefix)
			if promised == 0 || promised%2 != 0 {
				return ErrProtocol
			}
		}
		_, err := h.Content(prefix)
		return err
	case WindowUpdate:
		if binary.BigEndian.Uint32(payload)&^(1<<31) == 0 {
			return ErrProtocol
		}
	}
	return nil
}

// Promised is the stream that the prefix of a PUSH_PROMISE names.
func Promised(prefix []byte) uint32 {
	return binary.BigEndian.Uint32(prefix[len(prefix)-4:]) &^ (1 << 31)
}

var errorNames = [...]string{"NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR",
	"SETTINGS_TIMEOUT", "STREAM_CLOSED", "FRAME_SIZE_ERROR", "REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR",
	"CONNECT_ERROR", "ENHANCE_YOUR_CALM", "INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED"}

// ErrorName is the name of an error code of RFC 9113 section 7, "_OTHER" for one that has none.
func ErrorName(code uint32) string {
	if code < uint32(len(errorNames)) {
		return errorNames[code]
	}
	return "_OTHER"
}
