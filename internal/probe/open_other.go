//go:build !linux || (!amd64 && !arm64)

package probe

import (
	"go.uber.org/zap"

	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

// Kernel is nothing here.
type Kernel struct{}

// Open fails with ErrUnsupported.
func Open(Config, *zap.Logger) (wire.Source, error) { return nil, ErrUnsupported }
