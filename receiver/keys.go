package receiver

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"go.opentelemetry.io/collector/confmap"
)

// Unmarshal refuses unknown keys by their full name and says which there are: the Collector's own message names the
// innermost Go type.
func (c *Config) Unmarshal(conf *confmap.Conf) error {
	if unknown := unknownKeys("", conf.ToStringMap(), reflect.TypeFor[Config]()); len(unknown) > 0 {
		return errors.Join(unknown...)
	}
	return conf.Unmarshal(c)
}

// unknownKeys compares a block with the fields of its type. What is not of the right shape is left to the decoder.
func unknownKeys(prefix string, block map[string]any, of reflect.Type) (unknown []error) {
	for _, key := range slices.Sorted(maps.Keys(block)) {
		var below reflect.Type
		if of.Kind() == reflect.Map {
			below = of.Elem() // any key will do
		} else if below = fieldOf(of, key); below == nil {
			unknown = append(unknown, fmt.Errorf("%s: unknown key: use any of %s", prefix+key, strings.Join(keysOf(of), ", ")))
			continue
		}
		if inner, ok := block[key].(map[string]any); ok && (below.Kind() == reflect.Struct || below.Kind() == reflect.Map) {
			unknown = append(unknown, unknownKeys(prefix+key+"::", inner, below)...)
		}
	}
	return unknown
}

func fieldOf(of reflect.Type, key string) reflect.Type {
	for i := range of.NumField() {
		if of.Field(i).Tag.Get("mapstructure") == key {
			return of.Field(i).Type
		}
	}
	return nil
}

func keysOf(of reflect.Type) (keys []string) {
	for i := range of.NumField() {
		keys = append(keys, of.Field(i).Tag.Get("mapstructure"))
	}
	slices.Sort(keys)
	return keys
}
