// Package kerneltest tests the whole path on a real kernel: real programs in network namespaces that each
// test makes, the engine that watches them, and what it says against an independent witness: nstat, ss,
// nft's and tc's counters, a web server's own log.
//
// The tests skip where namespaces cannot be made (not root), and fail where they can and the receiver does
// not do what it promises. They wait for conditions, never for durations: the same binary runs in the
// virtual machines of lab/, which are twelve times slower.
package kerneltest
