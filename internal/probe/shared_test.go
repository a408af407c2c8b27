//go:build linux && (amd64 || arm64)

package probe

import (
	"errors"
	"slices"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
)

// openEverything is a probe with everything on, of a scope that holds nothing.
func openEverything(t *testing.T, avoid ...string) *loader {
	t.Helper()
	needPrivilege(t)
	config := everything()
	config.AvoidHooks = avoid
	opened, err := Open(config, zap.NewNop())
	require.NoError(t, err)
	t.Cleanup(func() { opened.Close() })
	return opened.(*source).loader
}

// attached are the programs that the kernel runs, by name, as the links tell it.
func attached(t *testing.T, l *loader) (names []string) {
	t.Helper()
	for _, s := range l.served {
		for _, link := range s.links {
			info, err := link.Info()
			if errors.Is(err, ebpf.ErrNotSupported) {
				continue // a kprobe, before 5.15
			}
			require.NoError(t, err)
			program, err := ebpf.NewProgramFromID(info.Program)
			require.NoError(t, err)
			described, err := program.Info()
			require.NoError(t, err)
			program.Close()
			names = append(names, described.Name)
		}
	}
	return names
}

// kernelName is as much of a program's name as the kernel keeps (BPF_OBJ_NAME_LEN).
func kernelName(name string) string { return name[:min(len(name), 15)] }

func TestOneProgramRunsForAllThatShareAHook(t *testing.T) {
	l := openEverything(t)
	running := attached(t, l)
	shared := 0
	for _, h := range sharedHooks {
		if !slices.Contains(running, kernelName(h.program)) {
			continue
		}
		shared++
		for capability, program := range h.parts {
			// Of other hooks that this capability may have been served by, the program is not running either.
			assert.NotContains(t, running, kernelName(program), "%s runs beside %s", capability, h.program)
		}
	}
	// tcp_probe and net_dev_start_xmit are there on every kernel.
	assert.GreaterOrEqual(t, shared, 2)
	assert.Empty(t, l.sharers(sharedHooks[0]), "what does not run is given back")
}

func TestEachKeepsItsProgramWhereSharingIsRefused(t *testing.T) {
	want := attached(t, openEverything(t, sharedCapability))
	for _, h := range sharedHooks {
		assert.NotContains(t, want, kernelName(h.program))
	}
	assert.Contains(t, want, "tcp_probe")
	assert.Contains(t, want, "stage_tcp_probe")

	kept := sharedHooks
	t.Cleanup(func() { sharedHooks = kept })
	sharedHooks = slices.Clone(kept)
	for i := range sharedHooks {
		sharedHooks[i].program = "there_is_none"
	}
	assert.ElementsMatch(t, want, attached(t, openEverything(t)), "as if it were switched off")
}
