//go:build linux && (amd64 || arm64)

package kerneltest

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/ebpfnet/ebpfnetreceiver/internal/engine"
)

func TestAStartWithoutPrivilegeSaysWhatIsMissing(t *testing.T) {
	n := newNetwork(t)
	for _, test := range []struct {
		name         string
		capabilities []uintptr
		want         string
	}{
		{"none", nil, "CAP_BPF and CAP_PERFMON;"},
		{"CAP_BPF alone", []uintptr{unix.CAP_BPF}, "has not CAP_PERFMON;"},
		{"CAP_PERFMON alone", []uintptr{unix.CAP_PERFMON}, "has not CAP_BPF;"},
	} {
		t.Run(test.name, func(t *testing.T) {
			output, code := startAs(t, test.capabilities, n.server.path)
			assert.Equal(t, 1, code, output)
			assert.Contains(t, output, test.want)
			assert.Contains(t, output, "run it as root, or give it both CAP_BPF and CAP_PERFMON")
			assert.Equal(t, 1, strings.Count(output, "\n"), "one line, and nothing else: %s", output)
		})
	}
}

// The two capabilities are enough. Kernels before 5.11 account for BPF memory as locked memory, which takes
// one more capability, or a raised limit.
func TestTwoCapabilitiesAreEnough(t *testing.T) {
	n := newNetwork(t)
	capabilities := []uintptr{unix.CAP_BPF, unix.CAP_PERFMON}
	if olderThan(t, 5, 11) {
		output, code := startAs(t, capabilities, n.server.path)
		assert.Equal(t, 1, code)
		assert.Contains(t, output, "RLIMIT_MEMLOCK")
		capabilities = append(capabilities, unix.CAP_SYS_RESOURCE)
	}
	if olderThan(t, 5, 17) { // no reasons: the functions that free packets must be known by name
		output, code := startAs(t, capabilities, n.server.path)
		assert.Equal(t, 0, code)
		assert.Regexp(t, `(?m)^ +drops +not available\n +not tp_btf/kfree_skb: .*CAP_SYSLOG`, output)
		capabilities = append(capabilities, unix.CAP_SYSLOG)
	}
	output, code := startAs(t, capabilities, n.server.path)
	require.Equal(t, 0, code, output)
	for _, capability := range []string{
		"connections", "snapshot", "adoption", "drops", "resets.sent", "resets.received", "retransmits",
		"retransmits.syn_ack", "payload",
	} {
		assert.Regexp(t, `(?m)^ +`+regexp.QuoteMeta(capability)+` +[a-z_]+/`, output)
	}
}

// startAs starts the engine as an ordinary user with these capabilities and no others.
func startAs(t *testing.T, capabilities []uintptr, namespace string) (output string, code int) {
	t.Helper()
	command := child("open", namespace)
	command.Dir = "/"
	command.SysProcAttr = &syscall.SysProcAttr{
		Credential: &syscall.Credential{Uid: 65534, Gid: 65534}, AmbientCaps: capabilities,
	}
	out, err := command.CombinedOutput()
	if command.ProcessState == nil {
		require.NoError(t, err)
	}
	return string(out), command.ProcessState.ExitCode()
}

func TestAnUnreadableNamespaceIsNamed(t *testing.T) {
	n := newNetwork(t)
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	for path, want := range map[string]string{
		"/var/run/netns/ebpfnet-nowhere": "no such file or directory",
		file:                             "is a file, but not a network namespace",
	} {
		config := n.settings()
		config.Probe.Scope.NetworkNamespaces = []string{n.client.path, path}
		_, err := engine.New(config, (&observer{}).sink(), zap.NewNop())
		require.Error(t, err)
		assert.ErrorContains(t, err, "scope.network_namespaces")
		assert.ErrorContains(t, err, path)
		assert.ErrorContains(t, err, want)
		assert.ErrorContains(t, err, "/var/run/netns")
	}
}

func TestAnUnknownCgroupIsNamed(t *testing.T) {
	n := newNetwork(t)
	config := n.settings()
	config.Probe.Scope.Cgroups = []string{"/ebpfnet-nowhere"}
	_, err := engine.New(config, (&observer{}).sink(), zap.NewNop())
	require.Error(t, err)
	assert.ErrorContains(t, err, "scope.cgroups")
}
