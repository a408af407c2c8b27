//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	client = "ebpfnet-cost-c"
	server = "ebpfnet-cost-s"
	idle   = "ebpfnet-cost-i"
	at     = "10.213.77.2:8080"
)

// sample is what one measurement gave.
type sample struct {
	rate      float64 // requests per second
	load      float64 // µs of CPU per request of nginx and wrk
	collector float64 // and of the collector
}

func (s sample) String() string {
	return fmt.Sprintf("%8.0f requests/s, %6.2f µs + %5.2f µs of the collector", s.rate, s.load, s.collector)
}

// bench is the two namespaces, the web server and the control groups.
type bench struct {
	options
	dir    string
	groups map[string]string
	nginx  *exec.Cmd
}

const nginxConfig = `
daemon off;
master_process on;
user root;
worker_processes 1;
pid %[1]s/pid;
error_log %[1]s/error.log;
events { worker_connections 2048; }
http {
	access_log off;
	keepalive_requests 1000000000;
	client_body_temp_path %[1]s/body;
	proxy_temp_path %[1]s/proxy;
	fastcgi_temp_path %[1]s/fastcgi;
	uwsgi_temp_path %[1]s/uwsgi;
	scgi_temp_path %[1]s/scgi;
	server {
		listen %[2]s;
		location / { return 200 "hello\n"; }
	}
}
`

func newBench(dir string, o options) (*bench, error) {
	b := &bench{options: o, dir: dir, groups: map[string]string{}}
	root, err := controlGroups()
	if err != nil {
		return b, err
	}
	for _, name := range []string{"load", "collector"} {
		b.groups[name] = filepath.Join(root, "ebpfnet-cost-"+name)
		if err := os.Mkdir(b.groups[name], 0o755); err != nil && !errors.Is(err, os.ErrExist) {
			return b, err
		}
	}
	inClient := []string{"netns", "exec", client, "sysctl", "-qw"}
	for _, arguments := range [][]string{
		{"netns", "add", client},
		{"netns", "add", server},
		{"netns", "add", idle},
		{"-n", client, "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", server},
		{"-n", client, "addr", "add", "10.213.77.1/24", "dev", "eth0"},
		{"-n", server, "addr", "add", "10.213.77.2/24", "dev", "eth0"},
		{"-n", client, "link", "set", "eth0", "up"},
		{"-n", server, "link", "set", "eth0", "up"},
		// A connection for each request must not wait for ports.
		slices.Concat(inClient, []string{"net.ipv4.tcp_tw_reuse=1"}),
		slices.Concat(inClient, []string{"net.ipv4.ip_local_port_range=1024 65000"}),
	} {
		if printed, err := exec.Command("ip", arguments...).CombinedOutput(); err != nil {
			return b, fmt.Errorf("ip %s: %w: %s", strings.Join(arguments, " "), err, printed)
		}
	}
	config := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(config, fmt.Appendf(nil, nginxConfig, dir, at), 0o600); err != nil {
		return b, err
	}
	b.nginx, err = b.start("load", os.Stderr, "ip", "netns", "exec", server,
		"nginx", "-p", dir, "-c", config, "-e", dir+"/error.log")
	if err != nil {
		return b, err
	}
	for range 100 {
		time.Sleep(20 * time.Millisecond)
		if pid, _ := os.ReadFile(dir + "/pid"); len(pid) > 0 {
			return b, nil
		}
	}
	return b, errors.New("nginx does not start")
}

func (b *bench) close() {
	if b.nginx != nil {
		_ = b.nginx.Process.Signal(os.Interrupt)
		_ = b.nginx.Wait()
	}
	for _, namespace := range []string{client, server, idle} {
		_ = exec.Command("ip", "netns", "del", namespace).Run()
	}
	for _, group := range b.groups {
		_ = os.Remove(group)
	}
}

// controlGroups is where the hierarchy of version 2 is mounted.
func controlGroups() (string, error) {
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(mounts)) {
		if fields := strings.Fields(line); fields[2] == "cgroup2" {
			return fields[1], nil
		}
	}
	return "", errors.New("no cgroup v2 is mounted")
}

// start runs a program in a control group.
func (b *bench) start(group string, output io.Writer, program string, arguments ...string) (*exec.Cmd, error) {
	dir, err := os.Open(b.groups[group])
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	command := exec.Command(program, arguments...)
	command.Stdout, command.Stderr = output, output
	command.SysProcAttr = &syscall.SysProcAttr{
		UseCgroupFD: true, CgroupFD: int(dir.Fd()), Pdeathsig: syscall.SIGTERM,
	}
	return command, command.Start()
}

// used is the CPU time of a control group in microseconds.
func (b *bench) used(group string) float64 {
	stat, err := os.ReadFile(filepath.Join(b.groups[group], "cpu.stat"))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(stat)) {
		if value, ok := strings.CutPrefix(line, "usage_usec "); ok {
			used, _ := strconv.ParseFloat(strings.TrimSpace(value), 64)
			return used
		}
	}
	return 0
}

var requests = regexp.MustCompile(`(\d+) requests in`)

// load has wrk ask for so long, and gives how many answers it got.
func (b *bench) load(length time.Duration) (int, error) {
	var printed bytes.Buffer
	arguments := []string{"netns", "exec", client, "wrk", "-t1", "-c8", fmt.Sprintf("-d%.0f", length.Seconds())}
	if !b.kept {
		arguments = append(arguments, "-H", "Connection: close")
	}
	wrk, err := b.start("load", &printed, "ip", append(arguments, "http://"+at+"/")...)
	if err != nil {
		return 0, err
	}
	if err := wrk.Wait(); err != nil {
		return 0, fmt.Errorf("wrk: %w: %s", err, printed.String())
	}
	found := requests.FindStringSubmatch(printed.String())
	if found == nil {
		return 0, fmt.Errorf("wrk says %q", printed.String())
	}
	return strconv.Atoi(found[1])
}

func (b *bench) measure(s *subject) (sample, error) {
	before := programs()
	stop, err := b.trace(s)
	if err != nil {
		return sample{}, err
	}
	defer stop()
	if _, err := b.load(time.Second); err != nil {
		return sample{}, err
	}
	own := added(before)
	if b.programs {
		end, err := countRuns()
		if err != nil {
			return sample{}, err
		}
		defer end()
	}
	load, collector, began := b.used("load"), b.used("collector"), time.Now()
	answers, err := b.load(b.length)
	if err != nil {
		return sample{}, err
	}
	time.Sleep(100 * time.Millisecond) // for what the collector still has to read
	n := float64(answers)
	if b.programs {
		printRuns(s.name, own, n)
	}
	return sample{
		rate:      n / (time.Since(began).Seconds() - 0.1),
		load:      (b.used("load") - load) / n,
		collector: (b.used("collector") - collector) / n,
	}, nil
}
