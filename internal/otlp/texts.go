package otlp

import (
	"encoding/binary"
	"hash/maphash"
	"net/netip"
)

const (
	textsKept = 256
	textMost  = 128 // bytes of one that is kept
)

// texts keeps the last texts of spans: call after call has the same host and user agent, and few have another path or
// address.
type texts struct {
	seed maphash.Seed
	kept [textsKept]string
	// The low bits tell the addresses of a network apart.
	addresses [textsKept]struct {
		address netip.Addr
		text    string
	}
}

// keep is like the function, but gives the same string again for the same text, if that was not long ago.
func (t *texts) keep(s string) string {
	if s == "" || len(s) > textMost {
		return keep(s)
	}
	if t.seed == (maphash.Seed{}) {
		t.seed = maphash.MakeSeed()
	}
	slot := &t.kept[maphash.String(t.seed, s)%textsKept]
	if *slot != s {
		*slot = keep(s)
	}
	return *slot
}

// address is an address as text.
func (t *texts) address(a netip.Addr) string {
	bytes := a.As16()
	slot := &t.addresses[binary.BigEndian.Uint16(bytes[14:])%textsKept]
	if slot.address != a || slot.text == "" {
		slot.address, slot.text = a, a.String()
	}
	return slot.text
}
