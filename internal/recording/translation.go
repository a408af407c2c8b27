package recording

import (
	"encoding/binary"
	"net/netip"

	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

// Translation implements wire.Translator. What was not translated is not written: nearly nothing is.
func (t *Writer) Translation(pair *wire.AddressPair) (netip.AddrPort, bool) {
	from, ok := t.facts.from.(wire.Translator)
	if !ok {
		return netip.AddrPort{}, false
	}
	backend, ok := from.Translation(pair)
	if t.out == nil || !ok {
		return backend, ok
	}
	if ask, write := t.facts.translations.changed(*pair, backend, ok); write && t.begin(frameFact) {
		t.question(factTranslation, ask)
		t.chunk = append(t.chunk, pair.Local[:]...)
		t.chunk = append(t.chunk, pair.Remote[:]...)
		t.chunk = binary.AppendUvarint(t.chunk, uint64(pair.LocalPort))
		t.chunk = binary.AppendUvarint(t.chunk, uint64(pair.RemotePort))
		t.chunk = append(t.chunk, pair.Protocol)
		address := backend.Addr().As16()
		t.chunk = append(t.chunk, address[:]...)
		t.chunk = binary.AppendUvarint(t.chunk, uint64(backend.Port()))
		t.end()
	}
	return backend, ok
}

// Translation implements wire.Translator.
func (a *answers) Translation(pair *wire.AddressPair) (netip.AddrPort, bool) {
	return a.translations.ask(*pair)
}

func (d *decoder) translation() (pair wire.AddressPair, backend netip.AddrPort) {
	copy(pair.Local[:], d.bytes(16))
	copy(pair.Remote[:], d.bytes(16))
	pair.LocalPort, pair.RemotePort = uint16(d.uvarint()), uint16(d.uvarint())
	if protocol := d.bytes(1); protocol != nil {
		pair.Protocol = protocol[0]
	}
	var address [16]byte
	copy(address[:], d.bytes(16))
	return pair, netip.AddrPortFrom(netip.AddrFrom16(address).Unmap(), uint16(d.uvarint()))
}
