//go:build linux && (amd64 || arm64)

package k8stest

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/confmap"

	"github.com/ebpfnet/ebpfnetreceiver/receiver"
)

// What can be said of the examples without a control plane is said in every run.

func TestTheKustomizationListsWhatThereIs(t *testing.T) {
	directory := filepath.Join(repository(t), "examples/kubernetes")
	kustomization := parseFile(t, filepath.Join(directory, "kustomization.yaml"))
	listed := kustomization.Get("resources").([]any)
	for _, generator := range kustomization.Get("configMapGenerator").([]any) {
		for _, file := range generator.(map[string]any)["files"].([]any) {
			_, path, _ := strings.Cut(file.(string), "=")
			listed = append(listed, path)
		}
	}
	var there []any
	for _, pattern := range []string{"*.yaml", "config/*.yaml"} {
		files, err := filepath.Glob(filepath.Join(directory, pattern))
		require.NoError(t, err)
		for _, file := range files {
			name, err := filepath.Rel(directory, file)
			require.NoError(t, err)
			there = append(there, name)
		}
	}
	assert.ElementsMatch(t, append(listed, "kustomization.yaml"), there)
}

func TestTheExamplesConfigureWhatIsBuilt(t *testing.T) {
	builder, err := os.ReadFile(filepath.Join(repository(t), "builder-config.yaml"))
	require.NoError(t, err)
	var built []string // such as batchprocessor
	for _, found := range regexp.MustCompile(`(?m)^  - gomod: \S*/(\w+) v`).FindAllStringSubmatch(string(builder), -1) {
		built = append(built, found[1])
	}
	for _, name := range []string{"kubernetes/config/agent.yaml", "kubernetes/config/gateway.yaml", "host/collector.yaml"} {
		config := parseFile(t, filepath.Join(repository(t), "examples", name))
		for section, kind := range map[string]string{
			"receivers": "receiver", "processors": "processor", "exporters": "exporter", "extensions": "extension",
		} {
			components, _ := config.Get(section).(map[string]any)
			for id := range components {
				kindless, _, _ := strings.Cut(id, "/")
				module := strings.ReplaceAll(kindless, "_", "")
				if module == "otlpgrpc" { // a newer name of it
					module = "otlp"
				}
				assert.True(t, slices.Contains(built, module+kind), "%s: %s", name, id)
			}
		}
		if !config.IsSet("receivers::ebpf_net") {
			continue
		}
		own, err := config.Sub("receivers::ebpf_net")
		require.NoError(t, err)
		into := receiver.NewFactory().CreateDefaultConfig()
		require.NoError(t, own.Unmarshal(into), name)
		assert.NoError(t, into.(*receiver.Config).Validate(), name)
	}
}

func parseFile(t *testing.T, file string) *confmap.Conf {
	t.Helper()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	parsed, err := confmap.NewRetrievedFromYAML(text)
	require.NoError(t, err)
	conf, err := parsed.AsConf()
	require.NoErrorf(t, err, "%s", file)
	return conf
}
