package otlp

import (
	"strconv"

	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/ebpfnet/ebpfnetreceiver/internal/conn"
	"github.com/ebpfnet/ebpfnetreceiver/internal/conn/histogram"
	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

// Both directions are written even while one is 0, so that a ratio of the two always has both sides.
var bothDirections = [...]uint8{wire.DirectionReceive, wire.DirectionTransmit}

// connections writes the groups connections and transfer of one owner.
func (w *writer) connections(group *conn.Owned[conn.Group]) {
	all := group.Value.Series()
	each := func(id instrument, write func(*conn.Series)) {
		if !w.instrument(id, group.StartNs) {
			return
		}
		for _, s := range all {
			write(s)
		}
	}
	each(tcpConnectionCount, func(s *conn.Series) {
		for state, name := range connectionStates {
			if s.StatesSeen&(1<<state) != 0 {
				dimensions(s, w.number(s.States[state])).PutStr(attrConnectionState, name)
			}
		}
	})
	each(tcpConnectionOpened, func(s *conn.Series) {
		for role, n := range s.Opened {
			if n > 0 {
				putStr(dimensions(s, w.number(n)), attrHandshakeRole, roles[role])
			}
		}
	})
	each(tcpConnectionClosed, func(s *conn.Series) {
		for reason, n := range s.Closed {
			if n > 0 {
				dimensions(s, w.number(n)).PutStr(attrCloseReason, closeReasons[reason])
			}
		}
	})
	each(tcpConnectionFailed, w.failed)
	each(tcpConnectionDuration, func(s *conn.Series) { w.distribution(s, &s.Duration) })
	each(tcpHandshakeDuration, func(s *conn.Series) {
		for role := range s.Handshake {
			if h := &s.Handshake[role]; h.Count > 0 {
				putStr(dimensions(s, w.histogram(h)), attrHandshakeRole, roles[role])
			}
		}
	})
	each(networkIO, func(s *conn.Series) { w.byDirection(s, &s.Bytes) })
	each(packetCount, func(s *conn.Series) { w.byDirection(s, &s.Packets) })
	each(tcpRTT, func(s *conn.Series) { w.distribution(s, &s.RTT) })
	each(tcpRTTMin, func(s *conn.Series) { w.distribution(s, &s.MinRTT) })
	each(tcpOutOfOrder, func(s *conn.Series) { dimensions(s, w.number(s.OutOfOrder)) })
	each(tcpZeroWindow, func(s *conn.Series) { w.byDirection(s, &s.ZeroWindow) })
}

// failed merges the errors that have the same name.
func (w *writer) failed(s *conn.Series) {
	other := uint64(0)
	for _, failure := range s.Failed {
		if name := errnoName(failure.Errno); name != "_OTHER" {
			dimensions(s, w.number(failure.Count)).PutStr(attrErrorType, name)
		} else {
			other += failure.Count
		}
	}
	if other > 0 {
		dimensions(s, w.number(other)).PutStr(attrErrorType, "_OTHER")
	}
}

func (w *writer) byDirection(s *conn.Series, values *[3]uint64) {
	for _, direction := range bothDirections {
		dimensions(s, w.number(values[direction])).PutStr(attrIODirection, directions[direction])
	}
}

func (w *writer) distribution(s *conn.Series, h *histogram.Histogram) {
	if h.Count > 0 {
		dimensions(s, w.histogram(h))
	}
}

// dimensions writes the optional attributes of s.
func dimensions(s *conn.Series, to pcommon.Map) pcommon.Map {
	a := &s.Attributes
	if *a == (conn.Attributes{}) {
		return to
	}
	if a.Overflow {
		to.PutBool(attrOverflow, true)
		return to
	}
	if a.IPVersion != 0 {
		to.PutStr(attrNetworkType, "ipv"+strconv.Itoa(int(a.IPVersion)))
	}
	if a.Peer.IsValid() {
		to.PutStr(attrPeerAddress, a.Peer.String())
	}
	putPort(to, attrServerPort, a.ServerPort)
	putStr(to, attrHandshakeRole, roles[a.Role])
	return to
}
