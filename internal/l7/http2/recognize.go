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

// Guess is what the start of a record looks like.
type Guess uint8

const (
	Other   Guess = iota // not frames
	Maybe                // it could be, but not enough of it is there
	Certain              // a chain of frames, as far as data goes
)

// Recognize says whether a chain of frames begins at the start of data.
// open, which may be nil, says which streams are known to be open. It is for the start of a record in the
// middle of a connection: there a sender is nearly always between two frames, and content that looks like
// this by chance is one in many billions.
func Recognize(data []byte, open func(stream uint32) bool) Guess {
	guess := Maybe
	for first := true; len(data) >= HeaderSize; first = false {
		h := ParseHeader(data)
		if h.Reserved || h.Type > Continuation || h.Flags&^flags[h.Type] != 0 || h.Check(DefaultMaxFrame) != nil ||
			h.Stream >= plausibleStream || first && h.Type == Continuation {
			return Other
		}
		payload := data[HeaderSize:]
		if int(h.Length) > len(payload) {
			if h.Type == Data && open != nil && open(h.Stream) {
				guess = Certain
			}
			return guess
		}
		payload = payload[:h.Length]
		if h.CheckPayload(payload) != nil {
			return Other
		}
		switch h.Type {
		case Data:
			if open != nil && open(h.Stream) {
				guess = Certain
			}
		case Headers, PushPromise:
			if h.Has(FlagEndHeaders) {
				prefix := payload[:h.Prefix()]
				n, _ := h.Content(prefix)
				if !wellFormed(payload[len(prefix) : len(prefix)+n]) {
					return Other
				}
				if h.Stream%2 == 1 {
					guess = Certain
				}
			}
		case RSTStream:
			if binary.BigEndian.Uint32(payload) >= uint32(len(errorNames)) {
				return Other
			}
			guess = Certain
		case Settings, Ping, WindowUpdate, GoAway:
			guess = Certain // nearly all of their bits are fixed
		}
		data = data[HeaderSize+len(payload):]
	}
	if len(data) > 0 && data[0] != 0 { // of a length beyond DefaultMaxFrame
		return Other
	}
	return guess
}
