package counters

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

// cat is a process that does nothing but what it is told to.
type cat struct {
	t       *testing.T
	command *exec.Cmd
	say     func(string)
}

// startCat starts one with a socket open beside its pipes.
func startCat(t *testing.T) *cat {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	ours, theirs := os.NewFile(uintptr(pair[0]), "ours"), os.NewFile(uintptr(pair[1]), "theirs")
	t.Cleanup(func() { ours.Close(); theirs.Close() })
	command := exec.Command("cat")
	command.ExtraFiles = []*os.File{theirs}
	in, err := command.StdinPipe()
	require.NoError(t, err)
	out, err := command.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, command.Start())
	t.Cleanup(func() { _ = command.Process.Kill(); _ = command.Wait() })
	echoed := bufio.NewReader(out)
	c := &cat{t, command, func(text string) {
		_, err := fmt.Fprintln(in, text)
		require.NoError(t, err)
		line, err := echoed.ReadString('\n')
		require.NoError(t, err)
		require.Equal(t, text+"\n", line)
	}}
	c.say("ready")
	return c
}

// listed is what ls says of its open files.
func (c *cat) listed() (files, sockets uint64) {
	c.t.Helper()
	out, err := exec.Command("ls", "-l", fmt.Sprintf("/proc/%d/fd", c.command.Process.Pid)).Output()
	require.NoError(c.t, err)
	return uint64(strings.Count(string(out), " -> ")), uint64(strings.Count(string(out), " -> socket:"))
}

// io is a line of /proc/PID/io, by another reader.
func (c *cat) io(name string) uint64 {
	c.t.Helper()
	out, err := exec.Command("grep", "^"+name+":", fmt.Sprintf("/proc/%d/io", c.command.Process.Pid)).Output()
	require.NoError(c.t, err)
	n, err := strconv.ParseUint(strings.Fields(string(out))[1], 10, 64)
	require.NoError(c.t, err)
	return n
}

func byName(read []wire.NamespaceCounters, group wire.CounterGroup) map[string]uint64 {
	values := map[string]uint64{}
	for _, n := range read {
		for _, c := range n.Counters {
			if c.Group == group {
				values[c.Device+c.Name] = c.Value
			}
		}
	}
	return values
}

func TestWhatProcessesHaveOpenAndMovedIsWhatProcSays(t *testing.T) {
	first, second := startCat(t), startCat(t)
	r := NewReader(Options{Groups: []wire.CounterGroup{wire.CounterTCP}, Processes: true})
	target := self(t)
	target.Processes = []uint32{uint32(first.command.Process.Pid), uint32(second.command.Process.Pid), 1 << 30}
	read := func() map[string]uint64 { return byName(r.Read([]Target{target}, always), wire.CounterProcess) }
	// A process that has answered may still be in the call with which it did: that is counted at its end.
	settled := func() map[string]uint64 {
		witness := func() (calls [2]uint64) {
			for i, name := range []string{"syscr", "syscw"} {
				calls[i] = first.io(name) + second.io(name)
			}
			return calls
		}
		for {
			before, got := witness(), read()
			if before == witness() && before == [2]uint64{got["syscr"], got["syscw"]} {
				return got
			}
		}
	}
	got := settled()
	require.NotZero(t, got["syscr"])
	require.NotZero(t, got["syscw"])
	files1, sockets1 := first.listed()
	files2, sockets2 := second.listed()
	assert.Equal(t, files1+files2, got["files"])
	assert.Equal(t, uint64(2), got["sockets"])
	assert.Equal(t, sockets1+sockets2, got["sockets"])
	assert.Equal(t, first.io("read_bytes")+second.io("read_bytes"), got["read_bytes"])
	assert.NoError(t, r.Hidden())

	first.say("more")
	first.say("and more")
	more := settled()
	assert.Greater(t, more["syscr"], got["syscr"])
	more = read()
	require.NoError(t, first.command.Process.Kill())
	_ = first.command.Wait()
	got = read()
	assert.Equal(t, files2, got["files"])
	assert.Equal(t, more["syscr"], got["syscr"], "what an ended process did stays")
	assert.Equal(t, more["syscw"], got["syscw"])

	plain := NewReader(Options{})
	assert.Empty(t, byName(plain.Read([]Target{target}, always), wire.CounterProcess), "only if asked for")
}

// ipvsStats is what ip_vs_stats_show prints.
const ipvsStats = `   Total Incoming Outgoing         Incoming         Outgoing
   Conns  Packets  Packets            Bytes            Bytes
       3       1F       1A             1F40       1000000AB

 Conns/s   Pkts/s   Pkts/s          Bytes/s          Bytes/s
       0        0        0                0                0
`

func TestIPVSIsReadInHexadecimal(t *testing.T) {
	root := t.TempDir()
	require.NoError(t, os.MkdirAll(root+"/7/net", 0o755))
	require.NoError(t, os.WriteFile(root+"/7/net/ip_vs_stats", []byte(ipvsStats), 0o600))
	r := NewReader(Options{ProcRoot: root})
	assert.Equal(t, map[string]uint64{
		"connections": 3, "inpackets": 31, "outpackets": 26, "inbytes": 8000, "outbytes": 1<<32 + 171,
	}, byName(r.Read([]Target{{TGID: 7}}, always), wire.CounterIPVS))
}

func TestRDMAIsReadOfEachPortOfTheHost(t *testing.T) {
	root := t.TempDir()
	for file, text := range map[string]string{
		"mlx5_0/ports/1/hw_counters/out_of_buffer":     "12\n",
		"mlx5_0/ports/1/hw_counters/lifespan":          "10\n",
		"mlx5_0/ports/2/hw_counters/rx_write_requests": "4294967296\n",
		"rxe0/ports/1/hw_counters/duplicate_request":   "0\n",
		"rxe0/ports/1/hw_counters/strange":             "N/A\n",
	} {
		path := filepath.Join(root, "class/infiniband", file)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	}
	r := NewReader(Options{SysRoot: root})
	host := self(t)
	assert.Equal(t, map[string]uint64{"mlx5_0/1out_of_buffer": 12, "mlx5_0/2rx_write_requests": 1 << 32},
		byName(r.Read([]Target{host}, always), wire.CounterRDMA))
	pod := host
	pod.Host = false
	assert.Empty(t, byName(r.Read([]Target{pod}, always), wire.CounterRDMA))
}

// softnet sums columns of softnet_stat up, by another reader.
func softnet(t *testing.T) (sums [3]uint64) {
	t.Helper()
	out, err := exec.Command("cat", "/proc/net/softnet_stat").Output()
	require.NoError(t, err)
	for row := range strings.Lines(string(out)) {
		for i, column := range strings.Fields(row)[:3] {
			n, err := strconv.ParseUint(column, 16, 32)
			require.NoError(t, err)
			sums[i] += n
		}
	}
	return sums
}

func TestSoftnetIsWhatProcSays(t *testing.T) {
	r := NewReader(Options{})
	low := softnet(t)
	got := byName(r.Read([]Target{self(t)}, always), wire.CounterSoftnet)
	high := softnet(t)
	if high[0] < low[0] { // a counter of 32 bits has begun anew, which takes it a while to do again
		low, got, high = high, byName(r.Read([]Target{self(t)}, always), wire.CounterSoftnet), softnet(t)
	}
	require.NotZero(t, low[0])
	for i, name := range []string{"processed", "dropped", "time_squeeze"} {
		assert.LessOrEqual(t, low[i], got[name], name)
		assert.GreaterOrEqual(t, high[i], got[name], name)
	}
}
