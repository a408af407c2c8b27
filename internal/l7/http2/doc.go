// Package http2 reads what HTTP/2 (RFC 9113) puts on the wire: frames, header blocks compressed with HPACK
// (RFC 7541), and the messages of gRPC inside DATA frames. It reads as an onlooker does, who may have
// come late or missed bytes: what it cannot know it says it does not know.
package http2

// Preface is what a client sends first (RFC 9113 section 3.4).
const Preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
