package main

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"path/filepath"
	"regexp"
)

// recordingDir is where the recording of a run is, from the root of the repository.
const recordingDir = "testdata/demo"

func recordingPath() string { return filepath.Join(recordingDir, "recording") }
func witnessPath() string   { return filepath.Join(recordingDir, "witness.json") }

// What is read of a recording here; internal/recording describes the format.
const (
	headerFixed = 20 // bytes of the header before the layout
	frameHead   = 5  // type and length
	checksum    = 4
)

var localVersion = regexp.MustCompile(`^[0-9]+\.[0-9]+(\.[0-9]+)?`)

// withoutMachine takes from a recording the only thing in it that tells of the machine rather than of the
// demo: what its builder added to the kernel's version. It stands in the first frame.
func withoutMachine(recording []byte) ([]byte, error) {
	short := errors.New("the recording is cut short")
	if len(recording) < headerFixed {
		return nil, short
	}
	begin := headerFixed + int(binary.LittleEndian.Uint32(recording[16:])) + checksum
	if len(recording) < begin+frameHead {
		return nil, short
	}
	length := int(binary.LittleEndian.Uint32(recording[begin+1:]))
	end := begin + frameHead + length + checksum
	if len(recording) < end {
		return nil, short
	}
	body := recording[begin+frameHead : end-checksum]
	_, n := binary.Uvarint(body)
	_, m := binary.Varint(body[max(n, 0):])
	at := n + m
	size, k := binary.Uvarint(body[max(at, 0):])
	if n <= 0 || m <= 0 || k <= 0 || uint64(len(body)) < uint64(at+k)+size {
		return nil, errors.New("the first frame of the recording cannot be read")
	}
	version := localVersion.Find(body[at+k : at+k+int(size)])

	changed := append([]byte{}, body[:at]...)
	changed = binary.AppendUvarint(changed, uint64(len(version)))
	changed = append(changed, version...)
	changed = append(changed, body[at+k+int(size):]...)

	out := append([]byte{}, recording[:begin]...)
	frame := append([]byte{recording[begin]}, binary.LittleEndian.AppendUint32(nil, uint32(len(changed)))...)
	frame = append(frame, changed...)
	out = append(out, frame...)
	out = binary.LittleEndian.AppendUint32(out, crc32.Checksum(frame, crc32.MakeTable(crc32.Castagnoli)))
	return append(out, recording[end:]...), nil
}
