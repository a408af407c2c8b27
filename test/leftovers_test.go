//go:build linux && (amd64 || arm64)

package kerneltest

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/ebpfnet/ebpfnetreceiver/internal/engine"
)

// kernelObjects are the ids of what this process holds in the kernel, by what /proc calls them.
func kernelObjects(t *testing.T) map[string][]uint32 {
	t.Helper()
	files, err := filepath.Glob("/proc/self/fdinfo/*")
	require.NoError(t, err)
	ids := map[string][]uint32{}
	for _, file := range files {
		info, err := os.ReadFile(file)
		if err != nil {
			continue // closed meanwhile, such as that of the list itself
		}
		for line := range strings.Lines(string(info)) {
			kind, text, _ := strings.Cut(strings.TrimSpace(line), ":")
			if kind != "prog_id" && kind != "map_id" && kind != "link_id" {
				continue
			}
			id, err := strconv.ParseUint(strings.TrimSpace(text), 10, 32)
			require.NoError(t, err)
			ids[kind] = append(ids[kind], uint32(id))
		}
	}
	return ids
}

// remain counts those that are still in the kernel, whoever holds them.
func remain(ids map[string][]uint32) (n int) {
	found := func(object interface{ Close() error }, err error) {
		if err == nil {
			object.Close()
			n++
		}
	}
	for _, id := range ids["prog_id"] {
		program, err := ebpf.NewProgramFromID(ebpf.ProgramID(id))
		found(program, err)
	}
	for _, id := range ids["map_id"] {
		m, err := ebpf.NewMapFromID(ebpf.MapID(id))
		found(m, err)
	}
	for _, id := range ids["link_id"] {
		l, err := link.NewFromID(link.ID(id))
		found(l, err)
	}
	return n
}

// namedProbes are those that the kernel knows by a name, which would outlive the process.
func namedProbes() string {
	probes, _ := os.ReadFile("/sys/kernel/tracing/kprobe_events") // where tracefs is mounted
	return string(probes)
}

func TestNothingIsLeftBehind(t *testing.T) {
	n := newNetwork(t)
	named := namedProbes()
	server := startNginx(t, n.server, n.server.at4(80))
	require.Empty(t, kernelObjects(t))
	before := goleak.IgnoreCurrent()
	for _, tap := range hooks["payload"] {
		config := n.settings()
		for _, other := range hooks["payload"] {
			if other != tap {
				config.Probe.AvoidHooks = append(config.Probe.AvoidHooks, other)
			}
		}
		t.Run(strings.ReplaceAll(tap, "/", "_"), func(t *testing.T) {
			o := observe(t, config)
			runErrands(t, n.client, server, 2, 10)
			held := kernelObjects(t)
			assert.NotEmpty(t, held["prog_id"])
			assert.NotEmpty(t, held["map_id"])
			assert.NotEmpty(t, held["link_id"])
			require.Positive(t, remain(held))
			o.stop()
			assert.Empty(t, kernelObjects(t))
			eventually(t, "the kernel has freed all", func() bool { return remain(held) == 0 })
		})
	}
	t.Run("never run", func(t *testing.T) {
		e, err := engine.New(n.settings(), (&observer{}).sink(), zap.NewNop())
		require.NoError(t, err)
		held := kernelObjects(t)
		require.NoError(t, e.Close())
		require.NoError(t, e.Close())
		assert.Empty(t, kernelObjects(t))
		eventually(t, "the kernel has freed all", func() bool { return remain(held) == 0 })
	})
	assert.Equal(t, named, namedProbes())
	goleak.VerifyNone(t, before)
}
