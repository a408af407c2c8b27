package tracecontext

import (
	"crypto/sha256"
	"encoding/binary"
	"net/netip"
)

// Derive makes the ids of a call that carries none. Both ends of the connection, and all versions of this
// program, get the same ones, so what follows may never change.
//
// The input is 48 bytes, big-endian:
//
//	 0  19  "ebpfnet call ids v1"
//	19   1  0
//	20  16  client address, IPv4 as ::ffff:a.b.c.d, without zone
//	36   2  client port
//	38   2  0
//	40   4  TCP sequence number of the request's first byte
//	44   4  HTTP/2 stream id, 0 for HTTP/1
//
// Of its SHA-256, bytes 0–15 are the trace id, 16–23 the client's span id and 24–31 the server's. An id
// that comes out as zero, which W3C Trace Context forbids, gets 1 as its last byte; so does a server span id
// equal to the client's, whose last byte is inverted.
//
// SHA-256 because it is specified to the last bit, in every standard library, and about as fast as anything
// else where the processor has instructions for it (all arm64 servers, amd64 since 2017).
func Derive(client netip.AddrPort, sequence, streamID uint32) (trace [16]byte, clientSpan, serverSpan [8]byte) {
	var input [48]byte
	copy(input[:], "ebpfnet call ids v1")
	address := client.Addr().As16()
	copy(input[20:], address[:])
	binary.BigEndian.PutUint16(input[36:], client.Port())
	binary.BigEndian.PutUint32(input[40:], sequence)
	binary.BigEndian.PutUint32(input[44:], streamID)
	return cut(sha256.Sum256(input[:]))
}

func cut(sum [sha256.Size]byte) (trace [16]byte, clientSpan, serverSpan [8]byte) {
	copy(trace[:], sum[:16])
	copy(clientSpan[:], sum[16:24])
	copy(serverSpan[:], sum[24:])
	if trace == [16]byte{} {
		trace[15] = 1
	}
	if clientSpan == [8]byte{} {
		clientSpan[7] = 1
	}
	if serverSpan == [8]byte{} {
		serverSpan[7] = 1
	}
	if serverSpan == clientSpan {
		serverSpan[7] = ^serverSpan[7]
	}
	return trace, clientSpan, serverSpan
}
