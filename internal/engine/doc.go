// Package engine joins the rooms: it takes records from a source, keeps connections and calls, has
// metrics, logs and spans made of them and hands these to a sink. It knows no Collector component.
//
//	source ─ records ─> connections ─┬─> metrics ─┐
//	                 └> calls ───────┼─> spans ───┼─> sink
//	                 └> events ──────┴─> logs ────┘
//
// One goroutine takes the records and owns all state. A second one hands finished batches to the sink, so
// that a slow exporter does not keep the first from emptying the kernel's ring buffer.
package engine
