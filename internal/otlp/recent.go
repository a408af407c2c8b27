package otlp

import (
	"github.com/ebpfnet/ebpfnetreceiver/internal/conn/histogram"
	"github.com/ebpfnet/ebpfnetreceiver/internal/l7"
)

// recent remembers into which histogram calls went that say the same of themselves, so that most need neither
// be taken apart nor looked up. It holds copies of what they said: a call's strings are soon others.
type recent [16]seen

type seen struct {
	histogram  *histogram.Histogram
	server     bool
	rpc        bool
	status     int
	scheme     string // constants, as is version
	version    string
	lengths    [5]uint8
	text       [maxSeen]byte // see said
	textLength int
}

const maxSeen = 160

// said are the strings of a call that decide its attributes, in the form in which they came. ok is false
// where the connection's addresses or the form of the target decide too.
func said(call *l7.Call) (parts [5]string, ok bool) {
	target := call.Target
	if target != "" && target[0] != '/' {
		return parts, false
	}
	if call.RPC != "" {
		return [5]string{call.Method, call.Error, call.Authority, target, call.RPCStatus}, true
	}
	if call.Server {
		return [5]string{call.Method, call.Error}, true
	}
	return [5]string{call.Method, call.Error, call.Authority}, call.Authority != ""
}

// slot is where a call has its place; others may have the same.
func (r *recent) slot(call *l7.Call, parts *[5]string) *seen {
	at := call.Status + 3*len(parts[0]) + 5*len(parts[2])
	if call.Server {
		at++
	}
	if path := parts[3]; path != "" {
		at += 7*len(path) + int(path[len(path)-1]) + int(path[len(path)/2])<<1 + len(parts[4])
	}
	return &r[at&(len(r)-1)]
}

func (s *seen) is(call *l7.Call, parts *[5]string) bool {
	if s.histogram == nil || s.status != call.Status || s.server != call.Server || s.rpc != (call.RPC != "") ||
		s.version != call.ProtocolVersion || s.scheme != call.Scheme {
		return false
	}
	text := s.text[:s.textLength]
	for i, part := range parts {
		n := int(s.lengths[i])
		if n != len(part) || string(text[:n]) != part {
			return false
		}
		text = text[n:]
	}
	return true
}

// set takes the place of the call that was there, if there is room for what this one said.
func (s *seen) set(call *l7.Call, parts *[5]string, h *histogram.Histogram) {
	length := 0
	for _, part := range parts {
		length += len(part)
	}
	if length > maxSeen {
		return
	}
	s.histogram, s.server, s.rpc, s.status, s.textLength = h, call.Server, call.RPC != "", call.Status, length
	s.version, s.scheme = call.ProtocolVersion, call.Scheme
	text := s.text[:0]
	for i, part := range parts {
		s.lengths[i] = uint8(len(part))
		text = append(text, part...)
	}
}
