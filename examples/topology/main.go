// Command topology draws who talks to whom, from metrics that the file exporter has written (OTLP as JSON, one
// batch a line): an edge of a Graphviz digraph for each owner, peer and port. See docs/peers.md.
//
//	go run ./examples/topology < metrics.json | dot -Tsvg > topology.svg
package main

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"slices"
	"strconv"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"
)

func main() {
	if err := run(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// edge is one arrow, from who opened the connections to who took them.
type edge struct{ client, server, port string }

// flow is one series; the newest value is what counts.
type flow struct {
	owner     string
	peer      string // address
	dialled   string // address that the client asked for, where it is another
	port      string
	role      string
	direction string
}

type topology struct {
	names map[string]string // of addresses, as the pods that have them say
	bytes map[flow]int64
}

func run(in io.Reader, out io.Writer) error {
	t := topology{names: map[string]string{}, bytes: map[flow]int64{}}
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 64<<20)
	for number := 1; lines.Scan(); number++ {
		metrics, err := (&pmetric.JSONUnmarshaler{}).UnmarshalMetrics(lines.Bytes())
		if err != nil {
			return fmt.Errorf("line %d is no OTLP metrics: %w", number, err)
		}
		t.read(metrics)
	}
	if err := lines.Err(); err != nil {
		return err
	}
	return t.draw(out)
}

func (t *topology) read(metrics pmetric.Metrics) {
	for _, resource := range metrics.ResourceMetrics().All() {
		attributes := resource.Resource().Attributes()
		owner := name(attributes)
		if address := text(attributes, "k8s.pod.ip"); address != "" {
			t.names[address] = owner
		}
		for _, scope := range resource.ScopeMetrics().All() {
			for _, metric := range scope.Metrics().All() {
				if metric.Name() != "network.flow.io" {
					continue
				}
				for _, point := range metric.Sum().DataPoints().All() {
					a := point.Attributes()
					t.bytes[flow{
						owner, text(a, "network.peer.address"), text(a, "server.address"), text(a, "server.port"),
						text(a, "network.flow.role"), text(a, "network.io.direction"),
					}] = point.IntValue()
				}
			}
		}
	}
}

// draw adds up both directions. A flow that both ends tell of is drawn once, as its client told it.
func (t *topology) draw(out io.Writer) error {
	edges, byServer := map[edge]int64{}, map[edge]int64{}
	for f, bytes := range t.bytes {
		if f.peer == "" {
			continue // the overflow, or a datagram of which it is not known who sent it
		}
		peer := cmp.Or(t.names[f.peer], f.peer)
		if f.dialled != "" {
			peer += " as " + f.dialled
		}
		if f.role == "server" {
			byServer[edge{peer, f.owner, f.port}] += bytes
		} else {
			edges[edge{f.owner, peer, f.port}] += bytes
		}
	}
	for e, bytes := range byServer {
		if !slices.Contains(slices.Collect(maps.Values(t.names)), e.client) {
			edges[e] += bytes // nobody else tells of it
		}
	}
	if _, err := fmt.Fprintln(out, "digraph flows {"); err != nil {
		return err
	}
	for _, e := range slices.SortedFunc(maps.Keys(edges), func(a, b edge) int {
		return cmp.Or(cmp.Compare(a.client, b.client), cmp.Compare(a.server, b.server), cmp.Compare(a.port, b.port))
	}) {
		label := fmt.Sprint(edges[e], " B")
		if e.port != "" {
			label = net.JoinHostPort("", e.port) + " " + label
		}
		fmt.Fprintf(out, "  %s -> %s [label=%s];\n", strconv.Quote(e.client), strconv.Quote(e.server), strconv.Quote(label))
	}
	_, err := fmt.Fprintln(out, "}")
	return err
}

// name is the best that a Resource tells of who it is.
func name(attributes pcommon.Map) string {
	if pod := text(attributes, "k8s.pod.name"); pod != "" {
		return text(attributes, "k8s.namespace.name") + "/" + pod
	}
	for _, key := range []string{"service.name", "k8s.pod.uid", "container.id", "ebpfnet.network.namespace.inode"} {
		if value := text(attributes, key); value != "" {
			return value
		}
	}
	return "unknown"
}

func text(attributes pcommon.Map, key string) string {
	value, ok := attributes.Get(key)
	if !ok {
		return ""
	}
	return value.AsString()
}
