package dns

import (
	"encoding/binary"
	"net/netip"
	"strconv"
)

const (
	headerSize = 12
	maxName    = 255 // RFC 1035 section 2.3.4
	maxLabel   = 63

	flagResponse  = 1 << 15
	opcodeMask    = 0x7800
	flagTruncated = 1 << 9
	rcodeMask     = 0xf
)

// Types of records whose data is read.
const (
	typeA     = 1
	typeCNAME = 5
	typeAAAA  = 28
)

// Message is what is read of a message: its header and its question. It refers to nothing.
type Message struct {
	ID        uint16
	Response  bool
	Truncated bool
	RCode     uint8
	Type      uint16
	name      [maxName]byte // in wire form without the root, letters in lower case
	nameLen   uint8
	answersAt int
	answers   int
}

// Parse reads a standard query or its response with exactly one question, which all that are in use have; false
// where data begins with something else, or is cut before the question ends.
func (m *Message) Parse(data []byte) bool {
	if len(data) < headerSize {
		return false
	}
	flags := binary.BigEndian.Uint16(data[2:])
	if flags&opcodeMask != 0 || binary.BigEndian.Uint16(data[4:]) != 1 {
		return false
	}
	m.ID = binary.BigEndian.Uint16(data)
	m.Response = flags&flagResponse != 0
	m.Truncated = flags&flagTruncated != 0
	m.RCode = uint8(flags & rcodeMask)
	m.answers = int(binary.BigEndian.Uint16(data[6:]))
	if !m.Response && (m.RCode != 0 || m.answers != 0) {
		return false
	}
	at, ok := m.readName(data, headerSize)
	if !ok || len(data) < at+4 || binary.BigEndian.Uint16(data[at+2:]) != 1 { // class IN
		return false
	}
	m.Type = binary.BigEndian.Uint16(data[at:])
	m.answersAt = at + 4
	return true
}

// readName reads the question's name, which nothing comes before that it could be compressed with.
func (m *Message) readName(data []byte, at int) (next int, ok bool) {
	m.nameLen = 0
	for {
		if at >= len(data) {
			return 0, false
		}
		length := int(data[at])
		if length == 0 {
			return at + 1, true
		}
		if length > maxLabel || at+1+length > len(data) || int(m.nameLen)+1+length >= maxName {
			return 0, false
		}
		for i, c := range data[at : at+1+length] {
			if i > 0 && 'A' <= c && c <= 'Z' {
				c += 'a' - 'A'
			}
			m.name[m.nameLen] = c
			m.nameLen++
		}
		at += 1 + length
	}
}

// sameQuestion compares without regard to case, which some resolvers vary (draft-vixie-dnsext-dns0x20).
func (m *Message) sameQuestion(other *Message) bool {
	return m.Type == other.Type && string(m.name[:m.nameLen]) == string(other.name[:other.nameLen])
}

// Name is the name that was asked for, in lower case, without the dot at its end; the root is ".". What is no
// letter, digit, hyphen or underscore is written as \DDD (RFC 1035 section 5.1).
func (m *Message) Name() string {
	if m.nameLen == 0 {
		return "."
	}
	text := make([]byte, 0, m.nameLen)
	for at := 0; at < int(m.nameLen); {
		length := int(m.name[at])
		if at > 0 {
			text = append(text, '.')
		}
		for _, c := range m.name[at+1 : at+1+length] {
			switch {
			case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '-', c == '_':
				text = append(text, c)
			default:
				text = append(text, '\\', '0'+c/100, '0'+c/10%10, '0'+c%10)
			}
		}
		at += 1 + length
	}
	return string(text)
}

// Addresses calls f for each address among the answers in data, of which m was parsed, with the seconds for which
// it holds. It stops at the first record that data does not hold completely.
func (m *Message) Addresses(data []byte, f func(address netip.Addr, ttl uint32)) {
	at := m.answersAt
	for range m.answers {
		var ok bool
		if at, ok = skipName(data, at); !ok || len(data) < at+10 {
			return
		}
		kind, class := binary.BigEndian.Uint16(data[at:]), binary.BigEndian.Uint16(data[at+2:])
		ttl, length := binary.BigEndian.Uint32(data[at+4:]), int(binary.BigEndian.Uint16(data[at+8:]))
		if at += 10; len(data) < at+length {
			return
		}
		switch {
		case class != 1:
		case kind == typeA && length == 4, kind == typeAAAA && length == 16:
			address, _ := netip.AddrFromSlice(data[at : at+length])
			f(address.Unmap(), ttl)
		}
		at += length
	}
}

func skipName(data []byte, at int) (next int, ok bool) {
	for at < len(data) {
		length := int(data[at])
		switch {
		case length == 0:
			return at + 1, true
		case length >= 0xc0: // a pointer ends the name
			return at + 2, true
		case length > maxLabel:
			return 0, false
		}
		at += 1 + length
	}
	return 0, false
}

// TypeName is the mnemonic of a record type that is often asked for, else TYPE and its number (RFC 3597).
func TypeName(number uint16) string {
	switch number {
	case typeA:
		return "A"
	case 2:
		return "NS"
	case typeCNAME:
		return "CNAME"
	case 6:
		return "SOA"
	case 12:
		return "PTR"
	case 15:
		return "MX"
	case 16:
		return "TXT"
	case typeAAAA:
		return "AAAA"
	case 33:
		return "SRV"
	case 35:
		return "NAPTR"
	case 43:
		return "DS"
	case 46:
		return "RRSIG"
	case 48:
		return "DNSKEY"
	case 52:
		return "TLSA"
	case 64:
		return "SVCB"
	case 65:
		return "HTTPS"
	case 255:
		return "ANY"
	case 257:
		return "CAA"
	default:
		return "TYPE" + strconv.Itoa(int(number))
	}
}

var rcodes = [...]string{
	"NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED", "YXDOMAIN", "YXRRSET", "NXRRSET", "NOTAUTH",
	"NOTZONE",
}

// RCodeName is the mnemonic of a response code (IANA's registry "DNS RCODEs"), else RCODE and its number. Codes
// beyond 15, which are in a record of their own, are not read.
func RCodeName(number uint8) string {
	if int(number) < len(rcodes) {
		return rcodes[number]
	}
	return "RCODE" + strconv.Itoa(int(number))
}
