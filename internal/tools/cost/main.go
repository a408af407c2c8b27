//go:build linux

// cost measures what the collector costs: requests of wrk to one nginx worker over a veth pair in two network
// namespaces of its own, both ends traced. What is compared takes turns in each round; of each the best counts, as what
// else runs on the machine only adds. CPU times are those of control groups.
package main

import (
	"flag"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// mode is what is on: a part of the receiver's configuration, and the signals that are asked for.
type mode struct {
	name    string
	config  string
	signals []string
	idle    bool     // the load is out of scope
	hooks   []string // instead of a collector, programs that do nothing at these tracepoints
}

const (
	events = "drops: {enabled: true}\n    resets: {enabled: true}\n    retransmits: {enabled: true}"
	off    = "stages: {enabled: false}\n    flows: {enabled: false}\n    dns: {enabled: false}"
)

var modes = []mode{
	{name: "untraced"},
	{name: "empty", hooks: slices.Concat(stageHooks, otherHooks)}, // of all that is on by default
	{name: "stages-empty", hooks: stageHooks},
	{name: "stages-alone", config: "connections: {enabled: false}\n    drops: {enabled: false}\n" +
		"    resets: {enabled: false}\n    retransmits: {enabled: false}\n    http: {enabled: false}\n" +
		"    flows: {enabled: false}\n    dns: {enabled: false}\n    counters: {enabled: false}",
		signals: []string{"metrics"}},
	// All is on, for a namespace in which nothing happens.
	{name: "idle", config: "http: {spans: {per_second: 1000000}}", signals: []string{"metrics", "logs", "traces"}, idle: true},
	{name: "events", config: events + "\n    http: {enabled: false}\n    " + off, signals: []string{"metrics", "logs"}},
	{name: "stages", config: events + "\n    http: {enabled: false}\n    flows: {enabled: false}\n    dns: {enabled: false}",
		signals: []string{"metrics", "logs"}},
	{name: "calls", config: events + "\n    " + off, signals: []string{"metrics", "logs"}},
	{name: "default", config: events, signals: []string{"metrics", "logs"}},
	{name: "call-spans", config: "http: {spans: {per_second: 1000000}}\n    " + off,
		signals: []string{"metrics", "logs", "traces"}},
	{name: "spans", config: "http: {spans: {per_second: 1000000}}", signals: []string{"metrics", "logs", "traces"}},
}

// The tracepoints of the programs that run for each request where there are no trampolines: those of stages and of the
// waits that come with them, and the others.
var (
	stageHooks = []string{
		"net_dev_queue", "net_dev_start_xmit", "net_dev_xmit", "netif_receive_skb", "skb_copy_datagram_iovec",
		"sock_send_length", "tcp_probe", "tcp_rcv_space_adjust", "tcp_sendmsg_locked",
	}
	otherHooks = []string{"kfree_skb", "sock_recv_length"}
)

type options struct {
	collectors []string
	modes      []string
	rounds     int
	length     time.Duration
	kept       bool
	programs   bool
}

// Children end with the thread that started them.
func init() { runtime.LockOSThread() }

func main() {
	var o options
	collectors := flag.String("collectors", "bin/otelcol-ebpfnet", "the collectors to compare")
	wanted := flag.String("modes", "untraced,empty,events,calls,default,spans", "what is to be on, of "+names())
	flag.IntVar(&o.rounds, "rounds", 3, "of all modes in turn")
	flag.DurationVar(&o.length, "length", 5*time.Second, "of each measurement")
	flag.BoolVar(&o.kept, "keepalive", true, "many requests on a connection; else one")
	flag.BoolVar(&o.programs, "programs", false, "instead of comparing, print the run time of each kernel program")
	flag.Parse()
	o.collectors, o.modes = strings.Split(*collectors, ","), strings.Split(*wanted, ",")
	if err := run(o); err != nil {
		log.Fatal(err)
	}
}

func names() string {
	var all []string
	for _, m := range modes {
		all = append(all, m.name)
	}
	return strings.Join(all, ", ")
}

// subject is one thing to measure: a mode of one of the collectors.
type subject struct {
	mode
	collector string
	samples   []sample
}

func run(o options) error {
	var subjects []*subject
	for _, name := range o.modes {
		at := slices.IndexFunc(modes, func(m mode) bool { return m.name == name })
		if at < 0 {
			return fmt.Errorf("no mode %q: there are %s", name, names())
		}
		for i, collector := range o.collectors {
			if i > 0 && modes[at].signals == nil {
				continue
			}
			subjects = append(subjects, &subject{mode: modes[at], collector: collector})
		}
	}
	dir, err := os.MkdirTemp("", "ebpfnet-cost")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	bench, err := newBench(dir, o)
	defer bench.close()
	if err != nil {
		return err
	}
	for round := range o.rounds {
		for _, s := range subjects {
			measured, err := bench.measure(s)
			if err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
			s.samples = append(s.samples, measured)
			fmt.Fprintf(os.Stderr, "round %d %-12s %-24s %s\n", round+1, s.name, filepath.Base(s.collector), measured)
		}
	}
	print(subjects)
	return nil
}

// print gives the best of each, and ratios to the first subject.
func print(subjects []*subject) {
	fmt.Printf("%-12s %-24s %10s %7s %12s %12s %7s\n", "mode", "collector", "requests/s", "ratio", "load µs/req",
		"collect. µs", "ratio")
	first := subjects[0].best()
	for _, s := range subjects {
		m := s.best()
		fmt.Printf("%-12s %-24s %10.0f %7.2f %12.2f %12.2f %7.2f\n", s.name, filepath.Base(s.collector), m.rate,
			first.rate/m.rate, m.load, m.collector, (m.load+m.collector)/(first.load+first.collector))
	}
}

// best: one that gets too little CPU loses records, and then costs less. So of the collector the median counts.
func (s *subject) best() sample {
	best := s.samples[0]
	var collector []float64
	for _, one := range s.samples {
		best.rate, best.load = max(best.rate, one.rate), min(best.load, one.load)
		collector = append(collector, one.collector)
	}
	slices.Sort(collector)
	best.collector = collector[len(collector)/2]
	return best
}
