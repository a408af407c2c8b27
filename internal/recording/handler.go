package recording

import (
	"encoding/binary"

	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

// Begin implements wire.Handler.
func (t *Writer) Begin(begin *wire.Begin) {
	if t.begin(frameBegin) {
		t.chunk = appendBegin(t.chunk, begin)
		t.end()
		t.flush()
	}
	t.next.Begin(begin)
}

// Conn implements wire.Handler.
func (t *Writer) Conn(record *wire.ConnRecord) {
	t.record(wire.Bytes(record), nil)
	t.next.Conn(record)
}

// Packet implements wire.Handler.
func (t *Writer) Packet(event *wire.PacketEvent) {
	t.record(wire.Bytes(event), nil)
	t.next.Packet(event)
}

// Payload implements wire.Handler.
func (t *Writer) Payload(record *wire.PayloadRecord, data []byte) {
	t.record(wire.Bytes(record), data)
	t.next.Payload(record, data)
}

// Datagram implements wire.Handler.
func (t *Writer) Datagram(record *wire.DatagramRecord, data []byte) {
	t.record(wire.Bytes(record), data)
	t.next.Datagram(record, data)
}

// Slow implements wire.Handler.
func (t *Writer) Slow(event *wire.SlowEvent) {
	t.record(wire.Bytes(event), nil)
	t.next.Slow(event)
}

// Stage implements wire.Handler.
func (t *Writer) Stage(record *wire.StageRecord) {
	t.record(wire.Bytes(record), nil)
	t.next.Stage(record)
}

// Flush implements wire.Handler.
func (t *Writer) Flush(timeNs uint64) {
	if t.begin(frameFlush) {
		t.chunk = binary.AppendUvarint(t.chunk, timeNs)
		t.end()
		t.flush()
	}
	t.next.Flush(timeNs)
}

// Collect implements wire.Handler.
func (t *Writer) Collect(collection *wire.Collection) {
	if t.begin(frameCollect) {
		t.chunk = appendCollection(t.chunk, collection)
		t.end()
		t.flush()
	}
	t.next.Collect(collection)
}

func (t *Writer) record(record, data []byte) {
	if t.begin(frameRecord) {
		t.chunk = append(t.chunk, record...)
		t.chunk = append(t.chunk, data...)
		t.end()
	}
}
