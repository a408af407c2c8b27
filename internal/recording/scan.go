package recording

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// scanner reads a recording frame by frame.
type scanner struct {
	name   string
	r      *bufio.Reader
	size   int64 // of the file, when it was opened
	offset int64 // of the next frame
	at     int64 // of the frame read last
	frames uint64
	buffer []byte // aligned to eight bytes, as package wire asks for
	table  *crc32.Table
}

// newScanner checks the header; the scanner then stands before the first frame.
func newScanner(name string, r io.ReaderAt, size int64) (*scanner, error) {
	s := &scanner{
		name: name, size: size, r: bufio.NewReaderSize(io.NewSectionReader(r, 0, size), chunkSize),
		buffer: make([]byte, 64<<10), table: crc32.MakeTable(crc32.Castagnoli),
	}
	head := make([]byte, headerSize, headerSize+maxLayout+4)
	n, err := io.ReadFull(s.r, head)
	if !isShort(err) {
		return nil, fmt.Errorf("read recording %s: %w", name, err)
	}
	if magicRead := head[:min(n, len(magic))]; n == 0 || !bytes.HasPrefix([]byte(magic), magicRead) {
		return nil, fmt.Errorf("%w: %s; give a file that record.path wrote", ErrNotARecording, name)
	}
	if n < headerSize {
		return nil, s.fail(ErrTruncated, "the header is incomplete; copy or record it again")
	}
	if version := binary.LittleEndian.Uint16(head[len(magic):]); version == 0 || version > Version {
		return nil, s.fail(ErrVersion, "its format is version %d, this program reads up to %d; replay it with the version that wrote it",
			version, Version)
	}
	length := binary.LittleEndian.Uint32(head[len(magic)+4:])
	if length > maxLayout {
		return nil, s.fail(ErrCorrupt, "the header is damaged; copy or record it again")
	}
	head = head[:headerSize+int(length)+4]
	if _, err := io.ReadFull(s.r, head[headerSize:]); err != nil {
		if !isShort(err) {
			return nil, fmt.Errorf("read recording %s: %w", name, err)
		}
		return nil, s.fail(ErrTruncated, "the header is incomplete; copy or record it again")
	}
	end := len(head) - 4
	if crc32.Checksum(head[:end], s.table) != binary.LittleEndian.Uint32(head[end:]) {
		return nil, s.fail(ErrCorrupt, "the header is damaged; copy or record it again")
	}
	if order := head[len(magic)+2]; order != byteOrder() {
		return nil, s.fail(ErrVersion, "byte order %d, this machine has %d; replay it on a machine like the one it is from",
			order, byteOrder())
	}
	if theirs, ours := string(head[headerSize:end]), layout(); theirs != ours {
		return nil, s.fail(ErrVersion, "its records are laid out as %q, this program's as %q; replay it with the version that wrote it",
			theirs, ours)
	}
	s.offset = int64(len(head))
	return s, nil
}

// again is what to do about damage behind the header.
const again = "; what came before was read, copy or record it again"

// next reads a frame; its body is valid until the next call. io.EOF: the recording ended as it should.
func (s *scanner) next() (frameType, []byte, error) {
	s.at = s.offset
	if s.offset >= s.size {
		return 0, nil, s.fail(ErrTruncated, "the end mark is missing: its writer was killed or the copy is incomplete"+again)
	}
	head := s.buffer[:frameHead]
	if _, err := io.ReadFull(s.r, head); err != nil {
		return 0, nil, s.short(err)
	}
	kind, length := head[0], binary.LittleEndian.Uint32(head[1:])
	if kind == 0 || kind >= frameLimit || length > maxBody {
		return 0, nil, s.fail(ErrCorrupt, "no frame starts here"+again)
	}
	// Nothing is allocated for a length that the file cannot hold.
	if int64(length)+frameExtra > s.size-s.offset {
		return 0, nil, s.fail(ErrTruncated, "the last frame is incomplete: its writer was killed or the copy is incomplete"+again)
	}
	sum := crc32.Checksum(head, s.table)
	if need := int(length) + 4; need > len(s.buffer) {
		s.buffer = make([]byte, need+need/4)
	}
	body := s.buffer[:length+4]
	if _, err := io.ReadFull(s.r, body); err != nil {
		return 0, nil, s.short(err)
	}
	body, want := body[:length:length], binary.LittleEndian.Uint32(body[length:])
	if crc32.Update(sum, s.table, body) != want {
		return 0, nil, s.fail(ErrCorrupt, "checksum of the frame does not match"+again)
	}
	s.offset += int64(length) + frameExtra
	if kind == frameEnd {
		return 0, nil, s.ended(body)
	}
	s.frames++
	return kind, body, nil
}

func (s *scanner) ended(body []byte) error {
	d := decoder{rest: body}
	if frames := d.uvarint(); !d.done() || frames != s.frames {
		return s.fail(ErrCorrupt, "the end mark counts %d frames, %d are there", frames, s.frames)
	}
	if s.offset != s.size {
		return s.fail(ErrCorrupt, "%d bytes follow the end mark", s.size-s.offset)
	}
	return io.EOF
}

// fail is an error about the frame read last.
func (s *scanner) fail(sentinel error, format string, args ...any) error {
	return fmt.Errorf("%w: %s at byte %d: %s", sentinel, s.name, s.at, fmt.Sprintf(format, args...))
}

func (s *scanner) short(err error) error {
	if isShort(err) {
		return s.fail(ErrTruncated, "the file became shorter while it was read")
	}
	return fmt.Errorf("read recording %s at byte %d: %w", s.name, s.at, err)
}

// isShort is true also for no error at all.
func isShort(err error) bool {
	return err == nil || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}
