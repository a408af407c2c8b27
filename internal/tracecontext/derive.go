package tracecontext

import (
	"crypto/sha256"
	"encoding/binary"
	"net/netip"
)

// domain separates these hashes from any other use of the same input, and carries the version: collectors
// of different versions must agree, or spans of one call would not meet.
const domain = "ebpfnet1"

// Derive gives the ids of a request without trace context. Both ends of a TCP connection know its input:
// the client's address and port, the TCP sequence number of the request's first byte and, for HTTP/2, the
// stream. Destination NAT changes none of them.
//
// The ids are parts of the SHA-256 of 38 bytes, numbers big-endian:
//
//	0   8  "ebpfnet1"
//	8  16  client address, IPv4 as ::ffff:a.b.c.d
//	24  2  client port
//	26  4  sequence number
//	30  4  HTTP/2 stream identifier, 0 for HTTP/1
//	34  4  zero
//
// Bytes 0 to 15 of the hash are the trace id, 16 to 23 the client's span id, 24 to 31 the server's. An id
// of zeros, which the specifications forbid, gets a last byte of 1.
func Derive(client netip.AddrPort, sequence, streamID uint32) (trace [16]byte, clientSpan, serverSpan [8]byte) {
	var input [38]byte
	copy(input[:], domain)
	address := client.Addr().As16()
	copy(input[8:], address[:])
	binary.BigEndian.PutUint16(input[24:], client.Port())
	binary.BigEndian.PutUint32(input[26:], sequence)
	binary.BigEndian.PutUint32(input[30:], streamID)
	hash := sha256.Sum256(input[:])
	copy(trace[:], hash[:])
	copy(clientSpan[:], hash[16:])
	copy(serverSpan[:], hash[24:])
	if trace == ([16]byte{}) {
		trace[15] = 1
	}
	if clientSpan == ([8]byte{}) {
		clientSpan[7] = 1
	}
	if serverSpan == ([8]byte{}) {
		serverSpan[7] = 1
	}
	return trace, clientSpan, serverSpan
}
