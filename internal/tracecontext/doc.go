// Package tracecontext says which trace a call belongs to: the one that its headers carry (W3C Trace
// Context, B3), or one that both ends of the connection derive alike from what they both see.
package tracecontext
