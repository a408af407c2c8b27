package otlp

import "github.com/ebpfnet/ebpfnetreceiver/internal/wire"

// CloseError is the error.type of a call that was still without an answer when its connection ended so;
// empty where the connection was closed in good order.
func CloseError(record *wire.ConnRecord) string {
	if record.Error != 0 {
		return errnoName(record.Error)
	}
	if record.CloseReason == wire.CloseResetSent {
		return "ECONNRESET"
	}
	return ""
}
