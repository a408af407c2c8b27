package receiver

import (
	"maps"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/confmap/confmaptest"

	"github.com/ebpfnet/ebpfnetreceiver/internal/otlp"
)

// describedMetric is what metadata.yaml says of a metric, and what otlp.Instruments must say too.
type describedMetric struct {
	Description string
	Unit        string
	Kind        string
	Attributes  []string // sorted
	Optional    []string // sorted, without those that are in Attributes
}

func TestMetadataDescribesTheMetricsThatAreEmitted(t *testing.T) {
	emitted := map[string]describedMetric{}
	for _, instrument := range otlp.Instruments() {
		kinds := map[otlp.Kind]string{
			otlp.Sum: "sum of int, monotonic", otlp.UpDownCounter: "sum of int", otlp.Histogram: "histogram of double",
		}
		metric := describedMetric{
			Description: instrument.Description, Unit: instrument.Unit, Kind: kinds[instrument.Kind],
			Attributes: slices.Sorted(slices.Values(instrument.Attributes)),
		}
		for _, name := range instrument.Optional {
			if !slices.Contains(instrument.Attributes, name) {
				metric.Optional = append(metric.Optional, name)
			}
		}
		slices.Sort(metric.Optional)
		emitted[instrument.Name] = metric
	}
	assert.Equal(t, emitted, metadataMetrics(t))
}

// metadataMetrics reads metadata.yaml. All metrics there must be on by default, cumulative, and their
// attributes either there where they are known or opt-in: there are no others.
func metadataMetrics(t *testing.T) map[string]describedMetric {
	t.Helper()
	conf, err := confmaptest.LoadConf("metadata.yaml")
	require.NoError(t, err)
	var file struct {
		Attributes map[string]map[string]any `mapstructure:"attributes"`
		Metrics    map[string]struct {
			Enabled     bool           `mapstructure:"enabled"`
			Description string         `mapstructure:"description"`
			Unit        string         `mapstructure:"unit"`
			Attributes  []string       `mapstructure:"attributes"`
			Sum         map[string]any `mapstructure:"sum"`
			Histogram   map[string]any `mapstructure:"histogram"`
			Rest        map[string]any `mapstructure:",remain"`
		} `mapstructure:"metrics"`
		Rest map[string]any `mapstructure:",remain"`
	}
	require.NoError(t, conf.Unmarshal(&file))

	described := map[string]describedMetric{}
	for name, in := range file.Metrics {
		metric := describedMetric{Description: in.Description, Unit: in.Unit}
		data := in.Sum
		switch {
		case len(in.Histogram) > 0:
			data = in.Histogram
			metric.Kind = "histogram of " + data["value_type"].(string)
		case data["monotonic"] == true:
			metric.Kind = "sum of " + data["value_type"].(string) + ", monotonic"
		default:
			metric.Kind = "sum of " + data["value_type"].(string)
		}
		assert.Equal(t, "cumulative", data["aggregation_temporality"], name)
		assert.True(t, in.Enabled, name)
		for _, key := range in.Attributes {
			attribute, attributeName := file.Attributes[key], key
			if override, ok := attribute["name_override"].(string); ok {
				attributeName = override
			}
			switch attribute["requirement_level"] {
			case "conditionally_required":
				metric.Attributes = append(metric.Attributes, attributeName)
			case "opt_in":
				metric.Optional = append(metric.Optional, attributeName)
			default:
				t.Errorf("%s: %s is %v", name, key, attribute["requirement_level"])
			}
		}
		slices.Sort(metric.Attributes)
		slices.Sort(metric.Optional)
		described[name] = metric
	}
	return described
}

func TestMetadataDescribesTheEventsThatAreEmitted(t *testing.T) {
	conf, err := confmaptest.LoadConf("metadata.yaml")
	require.NoError(t, err)
	described := slices.Collect(maps.Keys(conf.Get("events").(map[string]any)))
	assert.ElementsMatch(t, described, []string{
		otlp.EventPacketDrop, otlp.EventTCPReset, otlp.EventTCPRetransmit, otlp.EventConnectionFailed, otlp.EventLookupFailed,
		otlp.EventReadSlow, otlp.EventWriteSlow, otlp.EventStageSlow, otlp.EventSoftirqSlow, otlp.EventCommandSlow, otlp.EventWindowClosed,
	})
}

// documented gives the attributes that metadata.yaml lists for an event, or for all Resources where event
// is empty.
func documented(t *testing.T, event string) (names []string) {
	t.Helper()
	conf, err := confmaptest.LoadConf("metadata.yaml")
	require.NoError(t, err)
	if event == "" {
		return slices.Collect(maps.Keys(conf.Get("resource_attributes").(map[string]any)))
	}
	for _, name := range conf.Get("events").(map[string]any)[event].(map[string]any)["attributes"].([]any) {
		names = append(names, name.(string))
	}
	return names
}
