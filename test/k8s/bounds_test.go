//go:build linux && (amd64 || arm64)

package k8stest

import (
	"crypto/rand"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The systemd service's collector starts as an ordinary user with the capabilities and the system calls that its
// unit leaves it, and has the probes that root has without any bounds.
func TestTheServiceStartsWithinItsBounds(t *testing.T) {
	needRoot(t)
	_ = program(t, "kubectl") // only where make test-k8s has built what is run
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Skip("needs systemd-analyze, which knows the sets of system calls")
	}
	unit, err := os.ReadFile(filepath.Join(repository(t), "examples/host/otelcol-ebpfnet.service"))
	require.NoError(t, err)
	setting := func(key string) []string {
		found := regexp.MustCompile("(?m)^" + key + "=(.*)$").FindSubmatch(unit)
		require.NotNil(t, found, key)
		return strings.Fields(string(found[1]))
	}
	config := watchNothing(t)
	service := contain(t, func(spec object) {
		process, linux := spec["process"].(object), spec["linux"].(object)
		process["args"] = []string{"--config=/etc/otelcol/config.yaml"}
		process["user"] = object{"uid": 61184, "gid": 61184} // of the range for DynamicUser=
		sets := object{}
		for _, set := range []string{"bounding", "permitted", "effective", "inheritable", "ambient"} {
			sets[set] = setting("AmbientCapabilities")
		}
		process["capabilities"] = sets
		linux["namespaces"] = []object{{"type": "mount"}, {"type": "ipc"}, {"type": "uts"}}
		linux["seccomp"] = object{
			"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": int(syscall.EPERM),
			"syscalls": []object{{
				"names": systemCalls(t, append(setting("SystemCallFilter"), "@default")), "action": "SCMP_ACT_ALLOW",
			}},
		}
		spec["mounts"] = append(spec["mounts"].([]any), object{
			"source": config, "destination": "/etc/otelcol", "type": "bind", "options": []string{"bind", "ro"},
		})
	})
	log := daemon(t, service)
	defer end(service, syscall.SIGTERM)
	assert.Equal(t, rootsProbes(t), probesIn(t, log))
}

// rootsProbes are those of a collector that nothing bounds.
func rootsProbes(t *testing.T) string {
	t.Helper()
	command := exec.Command(filepath.Join(repository(t), "bin/otelcol-ebpfnet"),
		"--config", filepath.Join(watchNothing(t), "config.yaml"))
	log := daemon(t, command)
	defer end(command, syscall.SIGTERM)
	probes := probesIn(t, log)
	require.Contains(t, probes, "connections")
	return probes
}

// watchNothing is a directory with a configuration for a network namespace with nothing in it.
func watchNothing(t *testing.T) (directory string) {
	t.Helper()
	name := "ebpfnet-k8s-none-" + rand.Text()
	run(t, "", "ip", "netns", "add", name)
	t.Cleanup(func() { run(t, "", "ip", "netns", "del", name) })
	directory = t.TempDir()
	config := fmt.Sprintf(`
receivers: {ebpf_net: {scope: {network_namespaces: [%s]}}}
exporters: {debug: {}}
service:
  telemetry: {metrics: {level: none}}
  pipelines:
    metrics: &all {receivers: [ebpf_net], exporters: [debug]}
    logs: *all
    traces: *all
`, inodes(t, []string{name})[0])
	require.NoError(t, os.WriteFile(filepath.Join(directory, "config.yaml"), []byte(config), 0o644))
	return directory
}

// probesIn waits for the part of a collector's log that says which hooks serve, and which were refused.
func probesIn(t *testing.T, log string) string {
	t.Helper()
	table := regexp.MustCompile(`(?s)Probes on kernel [^\n]*\n(.*?)\t\{`)
	var found []string
	eventually(t, "the collector has said which probes are active", func() bool {
		text, err := os.ReadFile(log)
		require.NoError(t, err)
		found = table.FindStringSubmatch(string(text))
		return found != nil
	})
	return found[1]
}

// systemCalls are those that systemd's sets and names allow.
func systemCalls(t *testing.T, filter []string) (names []string) {
	t.Helper()
	for _, name := range filter {
		if !strings.HasPrefix(name, "@") {
			names = append(names, name)
			continue
		}
		output, err := exec.Command("systemd-analyze", "syscall-filter", name).Output()
		require.NoError(t, err)
		var inside []string
		for line := range strings.Lines(string(output)) {
			if line = strings.TrimSpace(line); line != name && line != "" && !strings.HasPrefix(line, "#") {
				inside = append(inside, line)
			}
		}
		names = append(names, systemCalls(t, inside)...)
	}
	return names
}
