// Package tracecontext tells which trace a request belongs to: the one that its header fields carry
// (W3C Trace Context, B3), or one that both ends of its connection can derive without talking to each
// other.
package tracecontext
