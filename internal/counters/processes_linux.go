package counters

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

// ioNames are the lines of /proc/PID/io that are told: calls that read and write whatever it is, and bytes that came
// from and went to disks.
var ioNames = [...]string{"syscr", "syscw", "read_bytes", "write_bytes"}

type processIO [len(ioNames)]uint64

// namespaceIO sums up what the processes of a namespace did, those that have ended since included.
type namespaceIO struct {
	total processIO
	last  map[uint32]processIO
}

// readProcesses reads what the processes of a namespace have open, and what they read and wrote. All of them or
// nothing: it takes CAP_SYS_PTRACE for processes of other users.
func (r *Reader) readProcesses(target *Target) {
	if r.hidden != nil {
		return
	}
	var files, sockets uint64
	seen := r.io[target.Identity]
	if seen == nil {
		seen = &namespaceIO{}
	}
	total, last := seen.total, make(map[uint32]processIO, len(target.Processes))
	for _, tgid := range target.Processes {
		process := filepath.Join(r.options.ProcRoot, strconv.FormatUint(uint64(tgid), 10))
		open, ofSockets, err := openFiles(process + "/fd")
		var now processIO
		if err == nil {
			now, err = r.ioOf(process + "/io")
		}
		switch {
		case errors.Is(err, fs.ErrPermission):
			r.hidden = err
			return
		case err != nil: // it has ended
			continue
		}
		files, sockets = files+open, sockets+ofSockets
		before := seen.last[tgid]
		for i := range now {
			if now[i] < before[i] { // another process of the same number
				before = processIO{}
				break
			}
		}
		for i := range now {
			total[i] += now[i] - before[i]
		}
		last[tgid] = now
	}
	r.io[target.Identity] = &namespaceIO{total, last}
	r.state(wire.Counter{Group: wire.CounterProcess, Name: "files", Value: files})
	r.state(wire.Counter{Group: wire.CounterProcess, Name: "sockets", Value: sockets})
	for i, name := range ioNames {
		r.sum(wire.Counter{Group: wire.CounterProcess, Name: name, Value: total[i]})
	}
}

// openFiles counts what /proc/PID/fd lists.
func openFiles(path string) (open, sockets uint64, err error) {
	directory, err := os.Open(path)
	if err != nil {
		return 0, 0, err
	}
	defer directory.Close()
	names, err := directory.Readdirnames(-1)
	if err != nil {
		return 0, 0, err
	}
	target := make([]byte, 64)
	for _, name := range names {
		n, err := unix.Readlinkat(int(directory.Fd()), name, target)
		if err != nil {
			continue // closed meanwhile
		}
		open++
		if bytes.HasPrefix(target[:n], []byte("socket:")) {
			sockets++
		}
	}
	return open, sockets, nil
}

func (r *Reader) ioOf(path string) (of processIO, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return of, err
	}
	for row := range bytes.Lines(text) {
		name, value, _ := bytes.Cut(bytes.TrimSpace(row), []byte(": "))
		for i := range ioNames {
			if string(name) == ioNames[i] {
				of[i], _ = number(value, 10)
			}
		}
	}
	return of, nil
}

// ipvsNames are the columns of /proc/net/ip_vs_stats (ip_vs_stats_show), which come in hexadecimal.
var ipvsNames = []string{"connections", "inpackets", "outpackets", "inbytes", "outbytes"}

// readIPVS reads what IPVS balanced in a namespace: two lines of headings, then one of numbers.
func (r *Reader) readIPVS(text []byte) {
	_, text = line(text)
	_, text = line(text)
	row, _ := line(text)
	values(row, ipvsNames, 16, func(name string, value uint64) {
		r.sum(wire.Counter{Group: wire.CounterIPVS, Name: name, Value: value})
	})
}

// rdmaStates are files beside the counters of RDMA devices that are no counters.
var rdmaStates = map[string]bool{"lifespan": true}

// readRDMA reads the counters that RDMA devices keep of each of their ports, those of `rdma statistic`.
func (r *Reader) readRDMA() {
	root := r.options.SysRoot + "/class/infiniband/"
	files, err := filepath.Glob(root + "*/ports/*/hw_counters/*")
	if err != nil {
		return
	}
	for _, file := range files {
		part := strings.Split(strings.TrimPrefix(file, root), "/")
		text, err := os.ReadFile(file)
		if err != nil || rdmaStates[part[4]] {
			continue
		}
		if value, ok := number(bytes.TrimSpace(text), 10); ok {
			r.sum(wire.Counter{
				Group: wire.CounterRDMA, Device: r.text([]byte(part[0] + "/" + part[2])), Name: r.text([]byte(part[4])), Value: value,
			})
		}
	}
}
