package otlp

import (
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
)

// Parts is how a call's time was spent, as this end sees it. Negative: not known. No part is longer than the
// span, and none overlaps another.
type Parts struct {
	NICToTCP    time.Duration // the first byte that was received of the call: from the device to TCP
	TCPToApp    time.Duration // and from there until the application had read it
	AppToDevice time.Duration // the last send call of what was sent of the call: until its last byte was given to a device
	Application time.Duration // server: from having read the request's first byte to sending the answer's first
	Peer        time.Duration // client: from the request's last byte leaving to the answer's first arriving
	RTT         time.Duration // smoothed, at the end of the call
	Retransmits int64         // segments of this connection that were sent again, by this end, during the call
}

// NoParts knows nothing.
func NoParts() Parts { return Parts{-1, -1, -1, -1, -1, -1, -1} }

func (p *Parts) write(to pcommon.Map) {
	putSeconds(to, attrNICToTCP, p.NICToTCP)
	putSeconds(to, attrTCPToApp, p.TCPToApp)
	putSeconds(to, attrAppToDevice, p.AppToDevice)
	putSeconds(to, attrApplication, p.Application)
	putSeconds(to, attrPeerTime, p.Peer)
	putSeconds(to, attrTCPRTT, p.RTT)
	if p.Retransmits >= 0 {
		to.PutInt(attrTCPRetransmits, p.Retransmits)
	}
}

func putSeconds(to pcommon.Map, name string, d time.Duration) {
	if d >= 0 {
		to.PutDouble(name, d.Seconds())
	}
}
