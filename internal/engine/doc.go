// Package engine joins the rooms: it takes records from a source, keeps connections and calls, has
// metrics, logs and spans made of them and hands these to a sink. It knows no Collector component.
//
//	source ─ records ─> connections ─┬─> metrics ─┐
//	                 └> calls ───────┼─> spans ───┼─> sink
//	                 └> events ──────┴─> logs ────┘
//
// One goroutine takes the records and owns all state. Another per signal hands finished batches to the sink,
// so that a slow exporter keeps neither the first from emptying the kernel's ring buffer nor the other
// signals waiting; what it is too slow for is lost and counted.
package engine
