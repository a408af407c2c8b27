package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// table is what is known of each owner since the start: one line of numbers, and below it what went wrong
// and why.
func (b *books) table() []string {
	names, pids := b.owners()
	rows := [][]string{{"", "open", "opened", "closed", "failed", "sent", "received", "RTT p50 / p99", "HTTP p50 / p99"}}
	var details []string
	for _, name := range names {
		number := func(metric string, wanted ...string) string {
			return fmt.Sprint(b.total(metric, name, wanted...))
		}
		size := func(direction string) string {
			return bytes(b.total("network.io", name, "network.io.direction", direction))
		}
		rtt := b.distribution("network.tcp.rtt", name)
		// None of the demo's programs is both.
		http := b.distribution("http.server.request.duration", name)
		if http.count == 0 {
			http = b.distribution("http.client.request.duration", name)
		}
		row := []string{
			label(name, pids[name]),
			number("network.tcp.connection.count", "network.connection.state", "established"),
			number("network.tcp.connection.opened"),
			number("network.tcp.connection.closed"),
			number("network.tcp.connection.failed"),
			size("transmit"), size("receive"),
			rtt.p50p99(), http.p50p99(),
		}
		detail := b.details(name)
		if detail == "" && !slices.ContainsFunc(row[1:], func(cell string) bool { return strings.ContainsAny(cell, "123456789") }) {
			continue // such as a namespace of which only the kernel's counters are known
		}
		rows, details = append(rows, row), append(details, detail)
	}
	lines := columns(rows, 1, 2, 3, 4, 5, 6, 7, 8)
	out := lines[:1:1]
	for i, line := range lines[1:] {
		out = append(out, line)
		if details[i] != "" {
			out = append(out, "    "+details[i])
		}
	}
	return out
}

func label(name string, pids map[int64]bool) string {
	if len(pids) > 1 {
		return fmt.Sprintf("%s, %d processes", name, len(pids))
	}
	for pid := range pids {
		return fmt.Sprintf("%s %d", name, pid)
	}
	return name
}

// details names what went wrong and why, most frequent first, in the values that the attributes have.
func (b *books) details(name string) string {
	var parts []string
	for _, what := range []struct {
		title      string
		metric     string
		attributes []string
	}{
		{"failed", "network.tcp.connection.failed", []string{"error.type"}},
		{"closed", "network.tcp.connection.closed", []string{"network.tcp.close.reason"}},
		{"retransmits", "network.tcp.retransmits", []string{"network.tcp.retransmit.type"}},
		{"resets", "network.tcp.resets", []string{"network.io.direction", "network.tcp.reset.reason"}},
		{"drops", "network.packet.drops", []string{"network.io.direction", "network.packet.drop.reason"}},
		{"zero window", "network.tcp.zero_window", []string{"network.io.direction"}},
	} {
		if list := frequencies(b.by(what.metric, name, what.attributes...)); list != "" {
			parts = append(parts, what.title+": "+list)
		}
	}
	return strings.Join(parts, " · ")
}

func frequencies(counts map[string]int64) string {
	keys := slices.SortedFunc(maps.Keys(counts), func(a, b string) int {
		if counts[a] != counts[b] {
			return int(counts[b] - counts[a])
		}
		return strings.Compare(a, b)
	})
	for i, key := range keys {
		keys[i] = fmt.Sprintf("%d %s", counts[key], key)
	}
	return strings.Join(keys, ", ")
}
