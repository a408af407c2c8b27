// Package conn is the connection table: who is connected to whom, since when, and what their connections
// add up to per owner.
//
// The kernel half sends a connection's totals (tcp_sock counters) at each collection and once more at its
// end; the table turns them into sums per owner that only grow, whatever happens to the connections
// behind them. It is bounded in connections, owners and attribute sets, and its books balance (Stats).
//
// Memory: a Connection takes 248 bytes, 312 with its place in the index and the list of live ones; an owner
// at most about 10 KiB, with all histograms as wide as they get; a flow at most 300 bytes. A Table is not safe
// for concurrent use.
package conn
