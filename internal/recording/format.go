package recording

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"reflect"
	"strings"

	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

// What can be wrong with a recording. Errors of this package wrap one of these and name file, offset and
// remedy.
var (
	ErrNotARecording = errors.New("not an ebpf_net recording")
	ErrTruncated     = errors.New("recording is cut short")
	ErrCorrupt       = errors.New("recording is damaged")
	ErrVersion       = errors.New("recording of another version")
)

// Version is the format version that this package writes and the newest that it reads.
const Version = 1

const (
	magic = "\x89ebpfnet\r\n\x1a\n"

	headerSize  = len(magic) + 8 // up to the layout
	frameHead   = 5              // type and length
	frameExtra  = frameHead + 4  // with the checksum
	maxLayout   = 4096
	maxBody     = 16 << 20
	maxEndFrame = frameExtra + binary.MaxVarintLen64

	littleEndian = 1
	bigEndian    = 2
)

type frameType = byte

const (
	frameBegin frameType = 1 + iota
	frameRecord
	frameFlush
	frameCollect
	frameFact
	frameEnd
	frameLimit // first that does not exist
)

const (
	factCgroup byte = 1 + iota
	factProcess
	factSymbol
	factEnum
	factNamespace
	factTranslation
)

// byteOrder is that of this machine, and so of its kernel's records.
func byteOrder() byte {
	if binary.NativeEndian.Uint16([]byte{1, 0}) == 1 {
		return littleEndian
	}
	return bigEndian
}

// layout describes the record structs that this program was built with.
func layout() string {
	var text strings.Builder
	fields := crc32.NewIEEE()
	for _, record := range []any{
		wire.RecordHeader{}, wire.OwnerRef{}, wire.AddressPair{},
		wire.ConnRecord{}, wire.PacketEvent{}, wire.PayloadRecord{}, wire.CountKey{}, wire.SlowEvent{},
	} {
		t := reflect.TypeOf(record)
		fmt.Fprintf(&text, "%s %d, ", t.Name(), t.Size())
		for i := range t.NumField() {
			f := t.Field(i)
			fmt.Fprintf(fields, "%s.%s %d %d\n", t.Name(), f.Name, f.Offset, f.Type.Size())
		}
	}
	fmt.Fprintf(&text, "fields %08x", fields.Sum32())
	return text.String()
}

// appendHeader appends the header of a recording made by this program.
func appendHeader(b []byte, table *crc32.Table) []byte {
	start := len(b)
	records := layout()
	b = append(b, magic...)
	b = binary.LittleEndian.AppendUint16(b, Version)
	b = append(b, byteOrder(), 0)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(records)))
	b = append(b, records...)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b[start:], table))
}
