package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// network is two network namespaces with a cable between them. Nothing outside of them is changed.
type network struct {
	client, server side
	loss           string // how packets are lost, for a reader; empty: not at all
	lossWith       string // netem or nft
}

type side struct {
	name  string // as in ip netns
	path  string
	inode int64
	ip4   string
	ip6   string
}

const (
	device      = "eth0"
	lossPercent = 2
)

func newSide(role, ip4, ip6 string) side {
	name := fmt.Sprintf("ebpfnet-demo-%s-%d", role, os.Getpid())
	return side{name: name, path: "/var/run/netns/" + name, ip4: ip4, ip6: ip6}
}

// leftBehind are namespaces of demos that were killed and could not clean up.
func leftBehind() (names []string) {
	paths, _ := filepath.Glob("/var/run/netns/ebpfnet-demo-*")
	for _, path := range paths {
		pid := path[strings.LastIndexByte(path, '-')+1:]
		if _, err := os.Stat("/proc/" + pid); errors.Is(err, os.ErrNotExist) {
			names = append(names, filepath.Base(path))
		}
	}
	return names
}

// newNetwork makes the namespaces. What undoes it is registered before the next step can fail.
func newNetwork(undo *cleanup) (*network, error) {
	n := &network{
		client: newSide("client", "10.77.0.1", "fd00:77::1"),
		server: newSide("server", "10.77.0.2", "fd00:77::2"),
	}
	for _, s := range []*side{&n.client, &n.server} {
		if _, err := output("", "ip", "netns", "add", s.name); err != nil {
			return nil, fmt.Errorf("%w: no network namespace: %w", errRefused, err)
		}
		undo.add("network namespace "+s.name, func() error {
			_, err := output("", "ip", "netns", "del", s.name)
			return err
		})
		var file unix.Stat_t
		if err := unix.Stat(s.path, &file); err != nil {
			return nil, fmt.Errorf("%s: %w", s.path, err)
		}
		s.inode = int64(file.Ino)
	}
	steps := [][]string{
		{"link", "add", device, "netns", n.client.name, "type", "veth", "peer", "name", device, "netns", n.server.name},
	}
	for _, s := range []*side{&n.client, &n.server} {
		steps = append(steps,
			[]string{"-n", s.name, "addr", "add", s.ip4 + "/24", "dev", device},
			[]string{"-n", s.name, "link", "set", "lo", "up"},
			[]string{"-n", s.name, "link", "set", device, "up"},
			// Without duplicate address detection, which would take a second.
			[]string{"-n", s.name, "addr", "add", s.ip6 + "/64", "dev", device, "nodad"})
	}
	for _, step := range steps {
		if _, err := output("", "ip", step...); err != nil {
			return nil, fmt.Errorf("%w: no network between the namespaces: %w", errRefused, err)
		}
	}
	n.lose()
	return n, nil
}

// lose makes both sides lose some packets: with netem where the kernel has it, else with a rule of nftables.
// Without either the demo goes on.
func (n *network) lose() {
	netem := func(s side) error {
		_, err := output(s.path, "tc", "qdisc", "add", "dev", device, "root", "netem", "loss", fmt.Sprintf("%d%%", lossPercent))
		return err
	}
	if err := errors.Join(netem(n.client), netem(n.server)); err == nil {
		n.lossWith, n.loss = "netem", fmt.Sprintf("%d %% of all packets that either side sends (tc netem)", lossPercent)
		return
	}
	rules := fmt.Sprintf(`table inet demo {
	counter lost { }
	chain lossy {
		type filter hook input priority 0;
		meta l4proto tcp numgen random mod 100 < %d counter name lost drop
	}
}`, lossPercent)
	nft := func(s side) error {
		_, err := output(s.path, "nft", rules)
		return err
	}
	if err := errors.Join(nft(n.client), nft(n.server)); err == nil {
		n.lossWith, n.loss = "nft", fmt.Sprintf("%d %% of the TCP packets that arrive at either side (an nftables rule)", lossPercent)
	}
}

var (
	netemDropped = regexp.MustCompile(`qdisc netem .*\n.*\(dropped (\d+),`)
	nftDropped   = regexp.MustCompile(`packets (\d+) `)
)

// lost is how many packets one side lost, as what made it lose them says.
func (n *network) lost(s side) (int64, error) {
	switch n.lossWith {
	case "netem":
		return number(netemDropped)(output(s.path, "tc", "-s", "qdisc", "show", "dev", device))
	case "nft":
		return number(nftDropped)(output(s.path, "nft", "list", "counter", "inet", "demo", "lost"))
	}
	return 0, nil
}

func number(pattern *regexp.Regexp) func(string, error) (int64, error) {
	return func(text string, err error) (int64, error) {
		if err != nil {
			return 0, err
		}
		found := pattern.FindStringSubmatch(text)
		if found == nil {
			return 0, fmt.Errorf("no number in %q", text)
		}
		return strconv.ParseInt(found[1], 10, 64)
	}
}

// kernelCounters are what nstat tells of one side's TCP (RFC 4022) since it was made.
func kernelCounters(s side) (map[string]int64, error) {
	// -s: no history file; -a, -z: everything since the start of the namespace, zeros too.
	text, err := output(s.path, "nstat", "-asz")
	if err != nil {
		return nil, err
	}
	counters := map[string]int64{}
	for line := range strings.Lines(text) {
		if fields := strings.Fields(line); len(fields) >= 2 && strings.HasPrefix(line, "Tcp") && !strings.HasPrefix(line, "TcpExt") {
			if value, err := strconv.ParseInt(fields[1], 10, 64); err == nil {
				counters[fields[0]] = value
			}
		}
	}
	return counters, nil
}
