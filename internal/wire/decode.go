package wire

import (
	"errors"
	"fmt"
	"net/netip"
	"unsafe"
)

// ErrShortRecord is wrapped by every error about a record that is smaller than its kind.
var ErrShortRecord = errors.New("record is shorter than its kind")

// Kind is the record kind in the header, 0 where there is no header. All supported architectures are
// little-endian; a recording says so in its own header.
func Kind(record []byte) uint32 {
	if len(record) < RecordHeaderSize {
		return 0
	}
	return (*RecordHeader)(unsafe.Pointer(unsafe.SliceData(record))).Kind
}

// Decode views the start of record as a T without copying. record must be aligned to eight bytes, as
// allocations and ring-buffer samples are, and stay untouched while the result is in use.
func Decode[T ConnRecord | PacketEvent | PayloadRecord | TaskRecord | ListenerRecord | DatagramRecord | SlowEvent | StageRecord](record []byte) (*T, error) {
	var zero T
	if uintptr(len(record)) < unsafe.Sizeof(zero) {
		return nil, fmt.Errorf("%w: kind %d has %d bytes, %T needs %d",
			ErrShortRecord, Kind(record), len(record), zero, unsafe.Sizeof(zero))
	}
	return (*T)(unsafe.Pointer(unsafe.SliceData(record))), nil
}

// Bytes views a record as the bytes that the kernel wrote.
func Bytes[T ConnRecord | PacketEvent | PayloadRecord | DatagramRecord | SlowEvent | StageRecord](record *T) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(record)), unsafe.Sizeof(*record))
}

// Dispatch hands one raw record to the method of handler for its kind.
func Dispatch(record []byte, handler Handler) error {
	switch kind := Kind(record); kind {
	case RecordConnOpen, RecordConnClose, RecordConnSnapshot, RecordConnFailed:
		conn, err := Decode[ConnRecord](record)
		if err != nil {
			return err
		}
		handler.Conn(conn)
	case RecordDrop, RecordReset, RecordRetransmit:
		event, err := Decode[PacketEvent](record)
		if err != nil {
			return err
		}
		handler.Packet(event)
	case RecordPayload:
		payload, err := Decode[PayloadRecord](record)
		if err != nil {
			return err
		}
		data := record[PayloadRecordSize:]
		if uint64(payload.Captured) > uint64(len(data)) {
			return fmt.Errorf("%w: payload says %d bytes, %d are there", ErrShortRecord, payload.Captured, len(data))
		}
		handler.Payload(payload, data[:payload.Captured])
	case RecordDatagram:
		datagram, err := Decode[DatagramRecord](record)
		if err != nil {
			return err
		}
		data := record[DatagramRecordSize:]
		if uint64(datagram.Captured) > uint64(len(data)) {
			return fmt.Errorf("%w: datagram says %d bytes, %d are there", ErrShortRecord, datagram.Captured, len(data))
		}
		handler.Datagram(datagram, data[:datagram.Captured])
	case RecordSlow:
		event, err := Decode[SlowEvent](record)
		if err != nil {
			return err
		}
		handler.Slow(event)
	case RecordStage:
		stage, err := Decode[StageRecord](record)
		if err != nil {
			return err
		}
		handler.Stage(stage)
	default:
		return fmt.Errorf("record of unknown kind %d", kind)
	}
	return nil
}

// LocalAddr is the local (for packets: source) address and port.
func (p *AddressPair) LocalAddr() netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom16(p.Local).Unmap(), p.LocalPort)
}

// RemoteAddr is the remote (for packets: destination) address and port.
func (p *AddressPair) RemoteAddr() netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom16(p.Remote).Unmap(), p.RemotePort)
}

// Text is a NUL-terminated kernel string as a Go string.
func Text(field [16]uint8) string {
	for i, c := range field {
		if c == 0 {
			return string(field[:i])
		}
	}
	return string(field[:])
}
