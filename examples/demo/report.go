package main

import (
	"fmt"
	"strings"
)

// witness is what the programs and the kernel say of a run, independently of the collector. It is kept
// beside the recording, so that a replay can be compared too.
type witness struct {
	Probes     []string         // the collector's probe table
	Namespaces map[int64]string // by inode number
	Setting    []string         // what ran where, for the top of a replay

	LossWith string // netem or nft; empty: nothing was lost on purpose
	Lost     int64  // packets, both sides

	Requests      []requestCount // nginx's access log
	BytesSent     int64          // by nginx, headers included
	BytesReceived int64
	Answered      int64 // calls, say curl and wrk
	Failed        int64
	Refused       int64 // connections, says curl
	Cut           bool  // some of them were ended before they could say anything

	Client, Server map[string]int64 // nstat

	// Differences to what was collected, when the recording was made.
	Differences map[string]int64 `json:",omitempty"`
}

type requestCount struct {
	Method, Path string
	Status       int64
	Count        int64
}

func (w *witness) requests() (n int64) {
	for _, r := range w.Requests {
		n += r.Count
	}
	return n
}

// comparison is one number as the collector has it and as somebody else says.
type comparison struct {
	what     string
	measured int64
	who      string
	said     int64
	note     string // where they differ
}

func (c *comparison) difference() int64 { return c.measured - c.said }

// compare holds what was collected against the witness.
func (v *view) compare(w *witness) []comparison {
	var server, client int64
	for _, e := range v.ends {
		if e.server {
			server++
		} else {
			client++
		}
	}
	same, different := v.sameRequests(w)
	onPurpose, noSocket, others := v.drops()
	total := func(metric string, wanted ...string) int64 { return v.books.total(metric, "", wanted...) }
	opened := func(role string) int64 {
		return total("network.tcp.connection.opened", "network.tcp.handshake.role", role)
	}
	all := []comparison{
		{"server spans", server, "nginx, lines of its access log", w.requests(), ""},
		{"  with the same method, path, status", same, "nginx, lines of its access log", w.requests(), different},
		{"client spans", client, "curl and wrk, calls with an answer", w.Answered, fmt.Sprintf("%d calls got no answer", w.Failed)},
		{"calls with both spans in one trace", int64(v.pairs.joined), "nginx, lines of its access log", w.requests(), ""},
		{"  server span not within the client's", int64(v.pairs.outside), "time", 0, ""},
		{"bytes sent, nginx", v.books.total("network.io", "nginx", "network.io.direction", "transmit"),
			"nginx, $bytes_sent", w.BytesSent, ""},
		{"bytes received, nginx", v.books.total("network.io", "nginx", "network.io.direction", "receive"),
			"nginx, $request_length, and curl, size_upload", w.BytesReceived, ""},
		{"connections opened, client side", opened("client"), "nstat, TcpActiveOpens - TcpAttemptFails",
			w.Client["TcpActiveOpens"] - w.Client["TcpAttemptFails"], ""},
		{"connections opened, server side", opened("server"), "nstat, TcpPassiveOpens", w.Server["TcpPassiveOpens"], ""},
		{"connections failed", total("network.tcp.connection.failed"), "nstat, TcpAttemptFails",
			w.Client["TcpAttemptFails"] + w.Server["TcpAttemptFails"], ""},
		{"  of these refused", total("network.tcp.connection.failed", "error.type", "ECONNREFUSED"), "curl, exit code 7", w.Refused, ""},
		{"segments sent again", total("network.tcp.retransmits"), "nstat, TcpRetransSegs",
			w.Client["TcpRetransSegs"] + w.Server["TcpRetransSegs"], ""},
		{"resets sent", total("network.tcp.resets", "network.io.direction", "transmit"), "nstat, TcpOutRsts",
			w.Client["TcpOutRsts"] + w.Server["TcpOutRsts"], ""},
		{"packets dropped on purpose", onPurpose, map[string]string{
			"netem": "tc, packets that netem dropped", "nft": "nftables, counter of the rule", "": "nothing drops here",
		}[w.LossWith], w.Lost, ""},
		// More than connects that were refused: where the reset is lost, the SYN comes again.
		{"packets dropped for a closed port", noSocket, "nstat, TcpOutRsts of the server", w.Server["TcpOutRsts"], ""},
		{"packets dropped for another reason", sum(others), "nothing else drops here", 0, frequencies(others)},
	}
	return all
}

// leftOut is what is missing above, by the collector's own account. A replay has none.
func (v *view) leftOut() []comparison {
	if len(v.own.series) == 0 {
		return nil
	}
	missing := map[string]int64{}
	for program, n := range v.own.by("otelcol_ebpf_net_program_misses", "", "program") {
		missing["runs of "+program] = n
	}
	for kind, n := range v.own.by("otelcol_ebpf_net_records", "", "outcome", "kind") {
		if record, lost := strings.CutPrefix(kind, "lost "); lost {
			missing["records of "+record] = n
		}
	}
	for limit, n := range v.own.by("otelcol_ebpf_net_limits", "", "limit") {
		missing["beyond the limit of "+limit] = n
	}
	return []comparison{{"left out, as the collector said last", sum(missing), "nothing is left out", 0, frequencies(missing)}}
}

// drops tells the drops that the demo brought about from others. The names are those of kernels with drop
// reasons; in lower case the functions of those without.
func (v *view) drops() (onPurpose, noSocket int64, others map[string]int64) {
	others = map[string]int64{}
	for reason, n := range v.books.by("network.packet.drops", "", "network.packet.drop.reason") {
		switch reason {
		case "NETFILTER_DROP", "nf_hook_slow", "nft_do_chain", "QDISC_DROP", "netem_enqueue":
			onPurpose += n
		case "NO_SOCKET":
			noSocket += n
		default:
			others[reason] += n
		}
	}
	return onPurpose, noSocket, others
}

func sum(counts map[string]int64) (n int64) {
	for _, count := range counts {
		n += count
	}
	return n
}

// sameRequests counts the server spans that have a line in nginx's log, and names the others.
func (v *view) sameRequests(w *witness) (same int64, different string) {
	lines := map[requestCount]int64{}
	for _, r := range w.Requests {
		n := r.Count
		r.Count = 0
		lines[r] = n
	}
	var unknown []string
	for _, e := range v.ends {
		if !e.server {
			continue
		}
		r := requestCount{Method: e.method, Path: e.path, Status: e.status}
		if lines[r] > 0 {
			lines[r]--
			same++
		} else {
			unknown = append(unknown, fmt.Sprintf("span without a line: %s %s %s", e.method, e.path, status(&e)))
		}
	}
	for r, n := range lines {
		if n > 0 {
			unknown = append(unknown, fmt.Sprintf("%d without a span: %s %s %d", n, r.Method, r.Path, r.Status))
		}
	}
	return same, strings.Join(unknown, ", ")
}

// report writes the comparison.
func (v *view) report(w *witness) {
	rows := [][]string{{"", "collected", "", "independent", "says"}}
	for _, c := range append(v.compare(w), v.leftOut()...) {
		mark, note := "✓", ""
		if c.difference() != 0 {
			mark, note = "≠", fmt.Sprintf("difference %+d", c.difference())
			if c.note != "" {
				note += "; " + c.note
			}
		}
		rows = append(rows, []string{mark, fmt.Sprint(c.measured), c.what, fmt.Sprint(c.said), c.who, note})
	}
	lines := columns(rows, 1, 3)
	for i, line := range lines {
		switch {
		case i == 0:
			lines[i] = v.paint(dim, line)
		case strings.HasPrefix(line, "✓"):
			lines[i] = v.paint(green, "✓") + strings.TrimPrefix(line, "✓")
		default:
			lines[i] = v.paint(red, "≠") + strings.TrimPrefix(line, "≠")
		}
	}
	v.lines("", v.paint(bold, "Held against what the programs and the kernel say"))
	v.lines(lines...)
	if w.Cut {
		v.lines("", "Some clients were ended before they could say what they did: their numbers are too small.")
	}
}
