package counters

import (
	"bytes"
	"errors"
	"os"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

// Options say what is read.
type Options struct {
	Groups   []wire.CounterGroup // empty: all
	Complete bool                // every counter of the tables, not just those in names.go
	// SkipHostDevices are patterns (path.Match) of network devices in the host's namespace that are left out: the
	// host's ends of the pods' links, whose traffic the pods' own ends tell.
	SkipHostDevices []string
	Processes       bool   // what the processes of each namespace have open, read and write, too
	ProcRoot        string // empty: /proc
	SysRoot         string // empty: /sys
}

// Target is a network namespace to read.
type Target struct {
	Inode    uint32
	Identity uint64
	ZeroNs   uint64
	Host     bool
	TGID     uint32 // a process that lives there

	Processes []uint32 // all that do, for Options.Processes
}

// maxDevices is how many network devices of a namespace are told. They come in the order in which they were made,
// so that those of the hardware are the first.
const maxDevices = 64

// Reader reads the counters of network namespaces. For one goroutine at a time.
type Reader struct {
	options   Options
	groups    [32]bool
	own       uint32 // the reader's own network namespace; 0: not known
	tables    map[string]*tableReader
	conntrack columns
	wide      map[uint64]map[wideKey]*wide
	io        map[uint64]*namespaceIO
	texts     map[string]string
	buffer    []byte
	page      uint64
	visitor   *visitor // during Read
	refused   error    // why other namespaces cannot be entered
	hidden    error    // why processes cannot be read
	failed    error    // what the last Read could not read
	out       []wire.Counter
}

type tableReader struct {
	*table
	*wanted
	columns columns
}

// NewReader reads nothing yet.
func NewReader(options Options) *Reader {
	r := &Reader{
		options: options, tables: map[string]*tableReader{}, wide: map[uint64]map[wideKey]*wide{},
		io:    map[uint64]*namespaceIO{},
		texts: map[string]string{}, buffer: make([]byte, 64<<10), page: uint64(os.Getpagesize()),
	}
	if r.options.ProcRoot == "" {
		r.options.ProcRoot = "/proc"
	}
	if r.options.SysRoot == "" {
		r.options.SysRoot = "/sys"
	}
	for group := range r.groups {
		r.groups[group] = len(options.Groups) == 0
	}
	for _, group := range options.Groups {
		r.groups[group] = true
	}
	r.groups[wire.CounterProcess] = options.Processes
	for i := range tables {
		r.tables[tables[i].prefix] = &tableReader{table: &tables[i], wanted: newWanted(&tables[i], options.Complete)}
	}
	r.own, _ = namespaceOf(r.options.ProcRoot + "/self")
	return r
}

// namespaceOf is the inode number of the network namespace of the process at path. It takes CAP_SYS_PTRACE for
// processes of others.
func namespaceOf(process string) (uint32, bool) {
	var stat unix.Stat_t
	if unix.Stat(process+"/ns/net", &stat) != nil {
		return 0, false
	}
	return uint32(stat.Ino), true
}

// Read gives the counters of each target that there still is. lives is asked afterwards whether the process
// that a target was read through is still the same.
func (r *Reader) Read(targets []Target, lives func(*Target) bool) []wire.NamespaceCounters {
	read := make([]wire.NamespaceCounters, 0, len(targets))
	r.failed = nil
	for i := range targets {
		target := &targets[i]
		r.out = make([]wire.Counter, 0, 128)
		r.read(target)
		inode, known := namespaceOf(r.process(target))
		if known && inode != target.Inode || !lives(target) {
			continue
		}
		read = append(read, wire.NamespaceCounters{
			Inode: target.Inode, Identity: target.Identity, ZeroNs: target.ZeroNs, Counters: r.out,
		})
	}
	if r.visitor != nil {
		r.visitor.close()
		r.visitor = nil
	}
	r.forget(targets)
	return read
}

// Refused says why the queueing disciplines of other namespaces are not told; nil: they are, or nobody asked.
func (r *Reader) Refused() error { return r.refused }

// Hidden says why nothing is told of processes; nil: it is, or nobody asked.
func (r *Reader) Hidden() error { return r.hidden }

// Failed says what the last Read could not read although it may; nil: nothing.
func (r *Reader) Failed() error { return r.failed }

func (r *Reader) process(target *Target) string {
	return r.options.ProcRoot + "/" + strconv.FormatUint(uint64(target.TGID), 10)
}

func (r *Reader) read(target *Target) {
	net := r.process(target) + "/net/"
	if r.any(wire.CounterTCP, wire.CounterUDP, wire.CounterIP, wire.CounterICMP, wire.CounterSocket) {
		r.readTables(r.file(net + "snmp"))
	}
	if r.any(wire.CounterTCP, wire.CounterIP, wire.CounterMPTCP) {
		r.readTables(r.file(net + "netstat"))
	}
	if r.any(wire.CounterUDP6, wire.CounterIP6, wire.CounterICMP6) {
		r.readSNMP6(r.file(net + "snmp6"))
	}
	if r.any(wire.CounterSocket) {
		r.readSockets(r.file(net+"sockstat"), target.Host)
		r.readSockets(r.file(net+"sockstat6"), target.Host)
	}
	if r.any(wire.CounterInterface) {
		r.readDevices(r.file(net+"dev"), target)
	}
	if r.any(wire.CounterConntrack) {
		r.readConntrack(r.file(net+"stat/nf_conntrack"), target)
	}
	if r.any(wire.CounterSoftnet) && target.Host {
		r.readSoftnet(r.file(net+"softnet_stat"), target)
	}
	if r.any(wire.CounterIPVS) {
		r.readIPVS(r.file(net + "ip_vs_stats"))
	}
	if r.any(wire.CounterRDMA) && target.Host {
		r.readRDMA()
	}
	if r.any(wire.CounterProcess) {
		r.readProcesses(target)
	}
	if r.any(wire.CounterQdisc) {
		r.readQdiscs(target)
	}
}

func (r *Reader) any(groups ...wire.CounterGroup) bool {
	for _, group := range groups {
		if r.groups[group] {
			return true
		}
	}
	return false
}

// sum adds a counter, unless it is zero.
func (r *Reader) sum(c wire.Counter) {
	if c.Value != 0 && r.groups[c.Group] {
		r.out = append(r.out, c)
	}
}

// state adds a number that may fall, to zero too.
func (r *Reader) state(c wire.Counter) {
	if r.groups[c.Group] {
		r.out = append(r.out, c)
	}
}

// file reads a file of procfs, valid until the next; empty: this kernel has no such file, or the namespace has gone.
func (r *Reader) file(name string) []byte {
	fd, err := unix.Open(name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	defer unix.Close(fd)
	size := 0
	for {
		if size == len(r.buffer) {
			r.buffer = append(r.buffer, make([]byte, len(r.buffer))...)
		}
		n, err := unix.Read(fd, r.buffer[size:])
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return nil
		case n == 0:
			return r.buffer[:size]
		}
		size += n
	}
}

// text keeps one string for what comes again and again.
func (r *Reader) text(b []byte) string {
	if kept, ok := r.texts[string(b)]; ok {
		return kept
	}
	if len(r.texts) > 16384 {
		clear(r.texts)
	}
	kept := string(b)
	r.texts[kept] = kept
	return kept
}

// readTables reads snmp and netstat: for each table a line with names and one with values.
func (r *Reader) readTables(text []byte) {
	for len(text) > 0 {
		var header, row []byte
		header, text = line(text)
		row, text = line(text)
		prefix, names, ok := bytes.Cut(header, []byte(":"))
		table := r.tables[string(prefix)]
		if !ok || table == nil {
			continue
		}
		_, row, _ = bytes.Cut(row, []byte(":"))
		wants := func(name string) string {
			if table.wants(name) || table.prefix == "Tcp" && name == "CurrEstab" {
				return name
			}
			return ""
		}
		values(row, table.columns.of(names, wants), 10, func(name string, value uint64) {
			if name == "CurrEstab" {
				r.state(wire.Counter{Group: wire.CounterSocket, Name: name, Value: value})
				return
			}
			r.sum(wire.Counter{Group: table.group, Name: name, Value: value})
		})
	}
}

// readSNMP6 reads snmp6: a line for each name, which begins with that of its table.
func (r *Reader) readSNMP6(text []byte) {
	for len(text) > 0 {
		var row []byte
		row, text = line(text)
		name, rest := field(row)
		digit := bytes.IndexByte(name, '6')
		if digit < 0 {
			continue
		}
		table := r.tables[string(name[:digit+1])]
		value, _ := field(rest)
		if count, ok := number(value, 10); ok && count != 0 && table != nil {
			if name := r.text(name[digit+1:]); table.wants(name) {
				r.sum(wire.Counter{Group: table.group, Name: name, Value: count})
			}
		}
	}
}

func (r *Reader) readSockets(text []byte, host bool) {
	var row, key, value []byte
	name := make([]byte, 0, 32)
	for len(text) > 0 {
		row, text = line(text)
		protocol, rest, _ := bytes.Cut(row, []byte(":"))
		for {
			key, rest = field(rest)
			if value, rest = field(rest); len(value) == 0 {
				break
			}
			name = append(append(append(name[:0], protocol...), ' '), key...)
			count, ok := number(value, 10)
			isHosts := hostSocketFields[string(name)]
			if !ok || !socketFields[string(name)] && !(host && isHosts) {
				continue
			}
			if strings.HasSuffix(string(name), " mem") {
				count *= r.page
			}
			r.state(wire.Counter{Group: wire.CounterSocket, Name: r.text(name), Value: count})
		}
	}
}

func (r *Reader) readDevices(text []byte, target *Target) {
	_, text = line(text)
	_, text = line(text)
	for devices := 0; len(text) > 0 && devices < maxDevices; {
		var row []byte
		row, text = line(text)
		name, rest, ok := bytes.Cut(row, []byte(":"))
		device := r.text(bytes.TrimLeft(name, " "))
		if !ok || r.skips(target, device) {
			continue
		}
		devices++
		values(rest, interfaceColumns[:], 10, func(name string, value uint64) {
			r.sum(wire.Counter{Group: wire.CounterInterface, Device: device, Name: name, Value: value})
		})
	}
}

func (r *Reader) skips(target *Target, device string) bool {
	if !target.Host {
		return false
	}
	for _, pattern := range r.options.SkipHostDevices {
		if matched, _ := path.Match(pattern, device); matched {
			return true
		}
	}
	return false
}

func (r *Reader) readConntrack(text []byte, target *Target) {
	header, text := line(text)
	names := r.conntrack.of(header, func(name string) string {
		if conntrackSums[name] || name == "entries" {
			return name
		}
		return ""
	})
	sums := map[string]uint64{}
	entries, found := uint64(0), false
	for cpu := 0; len(text) > 0; cpu++ {
		var row []byte
		row, text = line(text)
		values(row, names, 16, func(name string, value uint64) {
			if name == "entries" { // the same in each row
				entries, found = value, true
				return
			}
			sums[name] += r.widen(target.Identity, wideKey{wire.CounterConntrack, cpu, name}, uint32(value))
		})
	}
	for _, name := range names {
		r.sum(wire.Counter{Group: wire.CounterConntrack, Name: name, Value: sums[name]})
	}
	if !found {
		return
	}
	r.state(wire.Counter{Group: wire.CounterConntrack, Name: "entries", Value: entries})
	if !target.Host {
		return
	}
	limit, _ := line(r.file(r.options.ProcRoot + "/sys/net/netfilter/nf_conntrack_max"))
	if value, ok := number(limit, 10); ok {
		r.state(wire.Counter{Group: wire.CounterConntrack, Name: "max", Value: value})
	}
}

// softnetCPU is the column of softnet_stat with the number of the processor (from 5.10), which rows are not in the
// order of where some are off.
const softnetCPU = 12

func (r *Reader) readSoftnet(text []byte, target *Target) {
	var sums [len(softnetNames)]uint64
	for row := 0; len(text) > 0; row++ {
		var rest, column []byte
		rest, text = line(text)
		var fields [softnetCPU + 1]uint64
		n := 0
		for ; n < len(fields); n++ {
			if column, rest = field(rest); len(column) == 0 {
				break
			}
			fields[n], _ = number(column, 16)
		}
		cpu := row
		if n == len(fields) {
			cpu = int(fields[softnetCPU])
		}
		for i, name := range softnetNames {
			sums[i] += r.widen(target.Identity, wideKey{wire.CounterSoftnet, cpu, name}, uint32(fields[i]))
		}
	}
	for i, name := range softnetNames {
		r.sum(wire.Counter{Group: wire.CounterSoftnet, Name: name, Value: sums[i]})
	}
}
