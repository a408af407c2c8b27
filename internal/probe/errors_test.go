//go:build linux && (amd64 || arm64)

package probe

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

func TestRefusalsAreShort(t *testing.T) {
	verifier := &ebpf.VerifierError{Cause: unix.EACCES, Log: []string{
		"0: (79) r6 = *(u64 *)(r1 +0)", "R2 unbounded memory access", "processed 186 insns (limit 1000000)",
	}}
	for _, c := range []struct {
		err  error
		want string
	}{
		{fmt.Errorf("load: %w", verifier), "verifier: permission denied: R2 unbounded memory access"},
		{&ebpf.VerifierError{Cause: unix.EINVAL}, "verifier: invalid argument"},
		{fmt.Errorf("load program: %w (a guess)", unix.EPERM), "operation not permitted: this kernel or a security module forbids this kind of hook"},
		{fmt.Errorf("attach x: %w", unix.ENOENT), "this kernel has no such hook: attach x: no such file or directory"},
		{errors.New("attach x: a: " + string(make([]byte, 160)) + ": b: c"), "attach x: a: …: c"},
	} {
		assert.Equal(t, c.want, explain(c.err).Error())
	}
}

func TestAHookIsAvoidedByKindOrByName(t *testing.T) {
	for hook, want := range map[string]bool{
		"kprobe/tcp_sendmsg_locked+tcp_recvmsg": true, "tp_btf/kfree_skb": true, "tp_btf/tcp_send_reset": false,
	} {
		assert.Equal(t, want, avoided(hook, []string{"kprobe", "tp_btf/kfree_skb"}), hook)
	}
}

func TestEffectiveCapabilitiesAreRead(t *testing.T) {
	got, ok := effectiveCapabilities("Name:\tx\nCapInh:\t0000000000000000\nCapEff:\t000000c000000000\n")
	assert.True(t, ok)
	assert.EqualValues(t, 1<<unix.CAP_BPF|1<<unix.CAP_PERFMON, got)
	_, ok = effectiveCapabilities("Name:\tx\n")
	assert.False(t, ok)
}

func TestAScopeThatCannotBeIsNamed(t *testing.T) {
	many := make([]string, maxScope+1)
	for _, c := range []struct {
		scope Scope
		want  string
	}{
		{Scope{NetworkNamespaces: []string{"/var/run/netns/there-is-none"}}, `scope.network_namespaces: "/var/run/netns/there-is-none": cannot read`},
		{Scope{NetworkNamespaces: []string{"/proc/self/stat"}}, "is a file, but not a network namespace"},
		{Scope{NetworkNamespaces: many}, "9 given, 8 is the most"},
		{Scope{IncludePorts: make([]uint16, maxPorts+1)}, "scope.ports.include: 17 given, 16 is the most"},
		{Scope{ExcludePorts: make([]uint16, maxPorts+1)}, "scope.ports.exclude: 17 given"},
	} {
		_, err := c.scope.constants()
		assert.ErrorContains(t, err, c.want)
	}
}

func TestNamespacesAreFoundByWordPathAndNumber(t *testing.T) {
	var self unix.Stat_t
	require.NoError(t, unix.Stat("/proc/self/ns/net", &self))
	for _, name := range []string{"self", "/proc/self/ns/net", fmt.Sprint(self.Ino)} {
		inode, err := namespaceInode(name)
		require.NoError(t, err)
		assert.EqualValues(t, self.Ino, inode)
	}
}

const hiddenBTF = "PROBE_TEST_HIDDEN_BTF"

// TestAKernelWithoutBTFIsNamed hides the kernel's types in a mount namespace of its own, and opens there.
func TestAKernelWithoutBTFIsNamed(t *testing.T) {
	if os.Getenv(hiddenBTF) != "" {
		require.NoError(t, unix.Mount("none", "/sys/kernel/btf", "tmpfs", 0, ""))
		_, err := Open(Config{Connections: true}, zap.NewNop())
		require.ErrorIs(t, err, ErrNoBTF)
		assert.ErrorContains(t, err, "CONFIG_DEBUG_INFO_BTF=y")
		return
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root, for a mount namespace")
	}
	command := exec.Command("/proc/self/exe", "-test.run", "^"+t.Name()+"$")
	command.Env = append(os.Environ(), hiddenBTF+"=1")
	command.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS} // also makes all mounts private
	out, err := command.CombinedOutput()
	require.NoError(t, err, string(out))
}
