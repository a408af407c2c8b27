package http2

import "encoding/binary"

// flags that mean something, by frame type.
var flags = [Continuation + 1]uint8{
	Data:         FlagEndStream | FlagPadded,
	Headers:      FlagEndStream | FlagEndHeaders | FlagPadded | FlagPriority,
	Settings:     FlagAck,
	PushPromise:  FlagEndHeaders | FlagPadded,
	Ping:         FlagAck,
	Continuation: FlagEndHeaders,
}

// plausibleStream bounds stream ids where nothing is known of the connection: one that gets that far has
// made eight million requests.
const plausibleStream = 1 << 24

// Recognize says whether a chain of frames begins at the start of data for certain, as far as data goes.
// open, which may be nil, says which streams are known to be open. It is for the start of a record in the
// middle of a connection: there a sender is nearly always between two frames, and content that looks like
// this by chance is one in many billions.
func Recognize(data []byte, open func(stream uint32) bool) bool {
	certain := false
	for first := true; len(data) >= HeaderSize; first = false {
		h := ParseHeader(data)
		if h.Reserved || h.Type > Continuation || h.Flags&^flags[h.Type] != 0 || h.Check(DefaultMaxFrame) != nil ||
			h.Stream >= plausibleStream || first && h.Type == Continuation {
			return false
		}
		payload := data[HeaderSize:]
		if int(h.Length) > len(payload) {
			return certain || h.Type == Data && open != nil && open(h.Stream)
		}
		payload = payload[:h.Length]
		if h.CheckPayload(payload) != nil {
			return false
		}
		switch h.Type {
		case Data:
			certain = certain || open != nil && open(h.Stream)
		case Headers, PushPromise:
			if h.Has(FlagEndHeaders) {
				prefix := payload[:h.Prefix()]
				n, _ := h.Content(prefix)
				if !wellFormed(payload[len(prefix) : len(prefix)+n]) {
					return false
				}
				certain = certain || h.Stream%2 == 1
			}
		case RSTStream:
			if binary.BigEndian.Uint32(payload) >= uint32(len(errorNames)) {
				return false
			}
			certain = true
		case Settings, Ping, WindowUpdate, GoAway:
			certain = true // nearly all of their bits are fixed
		}
		data = data[HeaderSize+len(payload):]
	}
	return certain
}
