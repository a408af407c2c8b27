//go:build linux && (amd64 || arm64)

package probe

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

// ignore is a handler that takes everything and keeps nothing.
type ignore struct{}

func (ignore) Begin(*wire.Begin)                     {}
func (ignore) Conn(*wire.ConnRecord)                 {}
func (ignore) Slow(*wire.SlowEvent)                  {}
func (ignore) Stage(*wire.StageRecord)               {}
func (ignore) Packet(*wire.PacketEvent)              {}
func (ignore) Datagram(*wire.DatagramRecord, []byte) {}
func (ignore) Payload(*wire.PayloadRecord, []byte)   {}
func (ignore) Flush(uint64)                          {}
func (ignore) Collect(*wire.Collection)              {}

// runOnce attaches, adopts, collects once and detaches.
func runOnce(t *testing.T, s wire.Source) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.NoError(t, s.Run(ctx, ignore{}))
}
