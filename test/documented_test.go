//go:build linux && (amd64 || arm64)

package kerneltest

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/confmap"
	"golang.org/x/sys/unix"
)

// documented are the capabilities that the examples give the collector.
var documented = map[string]uintptr{
	"CAP_BPF": unix.CAP_BPF, "CAP_PERFMON": unix.CAP_PERFMON, "CAP_SYSLOG": unix.CAP_SYSLOG,
}

// What root's collector can do is what an ordinary user's can with the documented capabilities, and with any one
// less it cannot.
func TestTheDocumentedCapabilitiesAreAsGoodAsRoot(t *testing.T) {
	n := newNetwork(t)
	root := child("open", n.server.path)
	root.Dir = "/"
	output, err := root.CombinedOutput()
	require.NoErrorf(t, err, "%s", output)
	want := active(string(output))
	require.Contains(t, want, "kernel symbols: readable")

	var capabilities []uintptr
	for _, capability := range documented {
		capabilities = append(capabilities, capability)
	}
	if olderThan(t, 5, 11) { // there BPF memory is locked memory
		capabilities = append(capabilities, unix.CAP_SYS_RESOURCE)
	}
	text, code := startAs(t, capabilities, n.server.path)
	require.Equal(t, 0, code, text)
	assert.Equal(t, want, active(text))
	for i := range capabilities {
		less := append(append([]uintptr{}, capabilities[:i]...), capabilities[i+1:]...)
		text, code := startAs(t, less, n.server.path)
		assert.False(t, code == 0 && want == active(text), "without capability %d all is well", capabilities[i])
	}
}

// active is the part of the log at start that says which hooks serve, and which were refused.
func active(output string) string {
	_, table, _ := strings.Cut(output, "\n")
	return table
}

func TestTheExamplesGiveWhatIsDocumented(t *testing.T) {
	if inLab() {
		t.Skip("the sources are not here")
	}
	var names []string
	for name := range documented {
		names = append(names, name)
	}
	for file, find := range map[string]func(text string) [][]string{
		"../examples/kubernetes/agent.yaml": func(text string) [][]string { return [][]string{addedByManifest(t, text)} },
		"../examples/kubernetes/README.md": func(text string) [][]string {
			return [][]string{first(regexp.MustCompile("(?m)^\\| `(CAP_[A-Z_]+)` \\| always").FindAllStringSubmatch(text, -1))}
		},
		"../examples/host/otelcol-ebpfnet.service": func(text string) (lists [][]string) {
			for _, key := range []string{"AmbientCapabilities", "CapabilityBoundingSet"} {
				found := regexp.MustCompile("(?m)^" + key + "=(.*)$").FindStringSubmatch(text)
				require.NotNil(t, found, key)
				lists = append(lists, strings.Fields(found[1]))
			}
			return lists
		},
	} {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		for _, list := range find(string(text)) {
			assert.ElementsMatch(t, names, list, file)
		}
	}
}

// addedByManifest are the capabilities that the container of a DaemonSet gets.
func addedByManifest(t *testing.T, text string) (names []string) {
	t.Helper()
	parsed, err := confmap.NewRetrievedFromYAML([]byte(text))
	require.NoError(t, err)
	conf, err := parsed.AsConf()
	require.NoError(t, err)
	containers, ok := conf.Get("spec::template::spec::containers").([]any)
	require.True(t, ok)
	context := confmap.NewFromStringMap(containers[0].(map[string]any)["securityContext"].(map[string]any))
	require.Equal(t, false, context.Get("privileged"))
	require.Equal(t, []any{"ALL"}, context.Get("capabilities::drop"))
	for _, name := range context.Get("capabilities::add").([]any) {
		names = append(names, "CAP_"+name.(string))
	}
	return names
}

func first(matches [][]string) (groups []string) {
	for _, match := range matches {
		groups = append(groups, match[1])
	}
	return groups
}

// TestTheServiceFileIsValid asks systemd, where it is installed.
func TestTheServiceFileIsValid(t *testing.T) {
	if inLab() {
		t.Skip("the sources are not here")
	}
	need(t, "systemd-analyze")
	// The program that it starts need not be installed here.
	text, err := os.ReadFile("../examples/host/otelcol-ebpfnet.service")
	require.NoError(t, err)
	file := t.TempDir() + "/otelcol-ebpfnet.service"
	text = regexp.MustCompile(`(?m)^ExecStart=\S+`).ReplaceAll(text, []byte("ExecStart=/bin/true"))
	require.NoError(t, os.WriteFile(file, text, 0o600))
	output, err := exec.Command("systemd-analyze", "verify", "--man=no", file).CombinedOutput()
	require.NoErrorf(t, err, "%s", output)
	for line := range strings.Lines(string(output)) {
		assert.NotContains(t, line, "otelcol-ebpfnet", "what it says of this unit")
	}
}
