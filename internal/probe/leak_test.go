//go:build linux && (amd64 || arm64)

package probe

import (
	"bufio"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// inKernel is programs, maps and links in the kernel, as "prog_id 17".
type inKernel map[string]bool

// held adds those that this process has open. Others' come and go meanwhile.
func (o inKernel) held(t *testing.T) (n int) {
	t.Helper()
	infos, err := filepath.Glob("/proc/self/fdinfo/*")
	require.NoError(t, err)
	for _, info := range infos {
		file, err := os.Open(info)
		if err != nil {
			continue // closed meanwhile
		}
		for lines := bufio.NewScanner(file); lines.Scan(); {
			kind, id, _ := strings.Cut(lines.Text(), ":")
			if kind == "prog_id" || kind == "map_id" || kind == "link_id" {
				o[kind+" "+strings.TrimSpace(id)] = true
				n++
			}
		}
		file.Close()
	}
	return n
}

// left are those that still exist. The kernel frees them some time after the last user has gone.
func (o inKernel) left(t *testing.T) (left []string) {
	t.Helper()
	for object := range o {
		kind, number, _ := strings.Cut(object, " ")
		id, err := strconv.Atoi(number)
		require.NoError(t, err)
		var open interface{ Close() error }
		switch kind {
		case "prog_id":
			open, err = ebpf.NewProgramFromID(ebpf.ProgramID(id))
		case "map_id":
			open, err = ebpf.NewMapFromID(ebpf.MapID(id))
		case "link_id":
			open, err = link.NewFromID(link.ID(id))
		}
		if errors.Is(err, unix.ENOENT) {
			delete(o, object)
			continue
		}
		require.NoError(t, err, object)
		require.NoError(t, open.Close())
		left = append(left, object)
	}
	return left
}

func openFiles(t *testing.T) int {
	t.Helper()
	files, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	return len(files)
}

// To open everything takes a third of a second and ten times that in a virtual machine: most of it goes to the
// verifier, the rest to reading the kernel's types and symbols. So of a thousand rounds each fiftieth opens
// everything, and another what is served without trampolines; the others open one part for a short scope, with types
// that are read once. A virtual machine does a few rounds, or as many as LEAK_ROUNDS says.
func TestAThousandRoundsLeaveNothing(t *testing.T) {
	needPrivilege(t)
	rounds := 1000
	if inLab() || testing.Short() {
		rounds = 8
	}
	if text := os.Getenv("LEAK_ROUNDS"); text != "" {
		var err error
		rounds, err = strconv.Atoi(text)
		require.NoError(t, err, "LEAK_ROUNDS")
	}
	types, err := loadKernelTypes()
	require.NoError(t, err)
	all := everything()
	parts := []Config{{Connections: true}, {Resets: all.Resets}, {Retransmits: all.Retransmits}}
	for i := range parts {
		parts[i].Scope.NetworkNamespaces = all.Scope.NetworkNamespaces[:1]
		parts[i].RingBytes, parts[i].MaxConnections = 64<<10, 64
	}
	untrampolined := Config{
		Connections: true, Payload: all.Payload, Datagrams: all.Datagrams, Stages: true,
		Scope: parts[0].Scope, RingBytes: 64 << 10, MaxConnections: 64,
		AvoidHooks: []string{"fexit", "fentry", "tp_btf/sock_send_length+sock_recv_length", "tp_btf/tcp_sendmsg_locked"},
	}
	made := inKernel{}
	round := func(config Config) {
		config.Kernel = &Kernel{types: types}
		source, err := open(config.withDefaults(), zap.NewNop())
		require.NoError(t, err)
		require.Positive(t, made.held(t))
		runOnce(t, source)
		require.NoError(t, source.Close())
		require.Zero(t, inKernel{}.held(t))
	}
	round(all) // what is made once and kept, is made now
	goroutines, files := goleak.IgnoreCurrent(), openFiles(t)
	for i := range rounds {
		config := parts[i%len(parts)]
		switch i % 50 {
		case 0:
			config = all
		case 5:
			config = untrampolined
		}
		round(config)
		require.Equal(t, files, openFiles(t), "files are left open after round %d", i)
	}
	for deadline := time.Now().Add(30 * time.Second); len(made.left(t)) > 0; time.Sleep(50 * time.Millisecond) {
		require.True(t, time.Now().Before(deadline), "left in the kernel: %v", made.left(t))
	}
	goleak.VerifyNone(t, goroutines)
}
