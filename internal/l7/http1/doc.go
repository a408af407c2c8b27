// Package http1 reads the framing of HTTP/1.0 and HTTP/1.1 messages (RFC 9112) from pieces of them: heads
// line by line, chunked content chunk by chunk. It never holds more than one unfinished line.
//
// It watches other people's connections, so it cannot answer 400: what is malformed or ambiguous, above
// all anything two parsers could frame differently, is reported as Invalid or Unknown. Bare LF as a line
// end, folded lines, whitespace before a colon, repeated Content-Length and Content-Length beside
// Transfer-Encoding are all in that class.
package http1
