//go:build linux && (amd64 || arm64)

package probe

import (
	"errors"
	"testing"

	"go.uber.org/zap"
)

// BenchmarkOpen is the time from the start of the receiver to probes that are ready to be attached. What is
// opened is closed again before anything is traced.
func BenchmarkOpen(b *testing.B) {
	events := Events{Enabled: true, Stack: true, PerSecond: 50}
	config := Config{
		Connections: true, Drops: events, Resets: events, Retransmits: events, Payload: Payload{Enabled: true},
		Scope: Scope{NetworkNamespaces: []string{"1"}}, // a number that no namespace has
	}
	for b.Loop() {
		source, err := Open(config, zap.NewNop())
		if errors.Is(err, ErrPrivilege) {
			b.Skip(err)
		}
		if err != nil {
			b.Fatal(err)
		}
		source.Close()
	}
}
