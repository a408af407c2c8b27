package receiver

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/confmap/confmaptest"

	"github.com/ebpfnet/ebpfnetreceiver/internal/counters"
	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

// tableGroups are the groups of counters that a metric with the attribute network.counter.name is of.
var tableGroups = map[string][]wire.CounterGroup{
	"network.tcp.counter":       {wire.CounterTCP},
	"network.mptcp.counter":     {wire.CounterMPTCP},
	"network.udp.counter":       {wire.CounterUDP, wire.CounterUDP6},
	"network.ip.counter":        {wire.CounterIP, wire.CounterIP6},
	"network.icmp.counter":      {wire.CounterICMP, wire.CounterICMP6},
	"network.conntrack.counter": {wire.CounterConntrack},
}

func namesOf(metric string) (names []string) {
	for _, group := range tableGroups[metric] {
		names = append(names, counters.Names(group)...)
	}
	return names
}

func document(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile("../docs/" + name)
	require.NoError(t, err)
	return string(text)
}

func TestTheTableForKubeSkoopNamesWhatThereIs(t *testing.T) {
	conf, err := confmaptest.LoadConf("metadata.yaml")
	require.NoError(t, err)
	known := map[string]bool{}
	for _, section := range []string{"metrics", "events"} {
		for name := range conf.Get(section).(map[string]any) {
			known[name] = true
		}
	}
	attributes := map[string]bool{}
	for name, attribute := range conf.Get("attributes").(map[string]any) {
		attributes[name] = true
		if override, ok := attribute.(map[string]any)["name_override"].(string); ok {
			attributes[override] = true
		}
	}
	metric := regexp.MustCompile("`(network\\.[a-z_.]+)`(?: \\{([^}]*)\\})?")
	rows, counted := 0, 0
	for row := range strings.Lines(document(t, "kubeskoop.md")) {
		if !strings.HasPrefix(row, "| `") && !strings.HasPrefix(row, "| (") {
			continue
		}
		rows++
		found := metric.FindAllStringSubmatch(row, -1)
		if !strings.Contains(row, "| none") {
			assert.NotEmpty(t, found, row)
		}
		for _, match := range found {
			assert.True(t, known[match[1]], "no %s: %s", match[1], row)
			for attribute := range strings.SplitSeq(match[2], ", ") {
				name, value, _ := strings.Cut(attribute, ": ")
				assert.True(t, name == "" || attributes[name], "no attribute %q: %s", name, row)
				if name == "network.counter.name" {
					counted++
					assert.Contains(t, namesOf(match[1]), value, row)
				}
			}
		}
	}
	assert.Greater(t, rows, 100)
	assert.Greater(t, counted, 50)
}

func TestTheCountersThatAreReadAreListed(t *testing.T) {
	listed := map[string][]string{}
	name := regexp.MustCompile("`(\\w+)`")
	for row := range strings.Lines(document(t, "counters.md")) {
		cells := strings.Split(row, " | ")
		if metric, _, _ := strings.Cut(strings.TrimPrefix(cells[0], "| `"), "`"); len(cells) == 3 && tableGroups[metric] != nil {
			for _, match := range name.FindAllStringSubmatch(cells[2], -1) {
				listed[metric] = append(listed[metric], match[1])
			}
		}
	}
	for metric := range tableGroups {
		read := namesOf(metric)
		slices.Sort(read)
		slices.Sort(listed[metric])
		assert.Equal(t, read, listed[metric], metric)
	}
}
