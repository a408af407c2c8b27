package recording

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
)

// headerEnd is where the first frame starts.
func headerEnd(data []byte) int {
	return headerSize + int(binary.LittleEndian.Uint32(data[headerSize-4:])) + 4
}

// withHeader changes the header and makes its checksum right again.
func withHeader(data []byte, change func(header []byte)) []byte {
	data = bytes.Clone(data)
	end := headerEnd(data) - 4
	change(data[:end])
	binary.LittleEndian.PutUint32(data[end:], crc32.Checksum(data[:end], crc32.MakeTable(crc32.Castagnoli)))
	return data
}

// frames gives where each frame starts, and the end of the file.
func frames(data []byte) []int {
	var starts []int
	at := headerEnd(data)
	for at < len(data) {
		starts = append(starts, at)
		at += int(binary.LittleEndian.Uint32(data[at+1:])) + frameExtra
	}
	return append(starts, at)
}

func TestWhatIsNoRecordingOfThisVersionIsRefused(t *testing.T) {
	whole := recordedScript(t)
	for name, c := range map[string]struct {
		data []byte
		want error
		says string
	}{
		"an empty file":         {nil, ErrNotARecording, "record.path"},
		"a text":                {[]byte("receivers:\n  ebpf_net:\n"), ErrNotARecording, "record.path"},
		"a pcap":                {[]byte("\xd4\xc3\xb2\xa1\x02\x00\x04\x00\x00\x00\x00\x00"), ErrNotARecording, "record.path"},
		"the magic alone":       {whole[:len(magic)], ErrTruncated, "header"},
		"half the magic":        {whole[:5], ErrTruncated, "header"},
		"half a header":         {whole[:headerSize+10], ErrTruncated, "header"},
		"a newer format":        {withHeader(whole, func(h []byte) { h[len(magic)] = 2 }), ErrVersion, "version 2"},
		"another byte order":    {withHeader(whole, func(h []byte) { h[len(magic)+2] = bigEndian }), ErrVersion, "byte order"},
		"another record layout": {withHeader(whole, func(h []byte) { h[headerSize] = 'X' }), ErrVersion, `"XecordHeader 16`},
		"a damaged header":      {append(bytes.Clone(whole[:headerSize]), make([]byte, maxLayout)...), ErrCorrupt, "header"},
	} {
		t.Run(name, func(t *testing.T) {
			path := write(t, c.data)
			_, err := Open(path)
			require.ErrorIs(t, err, c.want)
			require.ErrorContains(t, err, path)
			require.ErrorContains(t, err, c.says)
			t.Log(err)
		})
	}
	t.Run("a directory", func(t *testing.T) {
		_, err := Open(t.TempDir())
		require.ErrorIs(t, err, ErrNotARecording)
	})
	t.Run("a file that is not there", func(t *testing.T) {
		_, err := Open(filepath.Join(t.TempDir(), "none"))
		require.ErrorIs(t, err, os.ErrNotExist)
	})
}

func TestACutRecordingDeliversAllThatIsWhole(t *testing.T) {
	whole := recordedScript(t)
	all, err := replay(t, whole)
	require.NoError(t, err)
	starts := frames(whole)
	facts := len(starts) - 2 - len(all) // without the end frame
	for i, start := range starts[:len(starts)-1] {
		for _, cut := range []int{start, start + 1, start + frameHead, starts[i+1] - 1} {
			calls, err := replay(t, whole[:cut])
			require.ErrorIs(t, err, ErrTruncated, "cut at %d", cut)
			require.ErrorContains(t, err, "at byte")
			require.Equal(t, len(all[:max(0, i-facts)]), len(calls))
		}
	}
}

func TestAFlippedBitIsFoundAndAllBeforeItDelivered(t *testing.T) {
	whole := recordedScript(t)
	all, _ := replay(t, whole)
	starts := frames(whole)
	facts := len(starts) - 2 - len(all)
	for i, start := range starts[:len(starts)-1] {
		for _, at := range []int{start, start + 3, (start + starts[i+1]) / 2, starts[i+1] - 1} {
			damaged := bytes.Clone(whole)
			damaged[at] ^= 0x40
			calls, err := replay(t, damaged)
			require.Error(t, err, "bit at %d", at)
			if at != start+3 { // a wrong length may point behind the end
				require.ErrorIs(t, err, ErrCorrupt, "bit at %d", at)
			}
			require.Equal(t, append([]string(nil), all[:max(0, i-facts)]...), calls)
		}
	}
	_, err := replay(t, append(bytes.Clone(whole), 0))
	require.ErrorIs(t, err, ErrCorrupt, "a byte after the end")
}

// frame makes a frame with a right checksum.
func frame(kind byte, body ...byte) []byte {
	b := binary.LittleEndian.AppendUint32([]byte{kind}, uint32(len(body)))
	b = append(b, body...)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
}

func TestAFrameThatMakesNoSenseIsReportedNotBelieved(t *testing.T) {
	header := appendHeader(nil, crc32.MakeTable(crc32.Castagnoli))
	huge := binary.AppendUvarint(nil, 1<<62)
	for name, body := range map[string][]byte{
		"a begin frame with a huge string":      frame(frameBegin, append([]byte{1, 1}, huge...)...),
		"a begin frame with a huge list":        frame(frameBegin, append([]byte{1, 1, 0, 0}, huge...)...),
		"a collection with a huge list":         frame(frameCollect, append([]byte{1, 1}, huge...)...),
		"a collection with kinds of the future": frame(frameCollect, append([]byte{1, 1, 20}, make([]byte, 200)...)...),
		"a flush without a time":                frame(frameFlush),
		"a flush with too much":                 frame(frameFlush, 1, 2),
		"a record that is too short":            frame(frameRecord, 1, 2, 3),
		"a record of no kind":                   frame(frameRecord, make([]byte, 400)...),
		"a payload that claims more bytes":      frame(frameRecord, payloadClaiming(1000)...),
		"a fact about nothing":                  frame(frameFact, 9, 1, 1, 1),
		"a fact with a huge string":             frame(frameFact, append([]byte{factCgroup, 1, 1, 1}, huge...)...),
		"a fact with a bool of 2":               frame(frameFact, factCgroup, 1, 1, 2),
		"a fact about a pid beyond 32 bits":     frame(frameFact, append([]byte{factProcess, 1}, append(huge, 0)...)...),
		"facts out of order":                    append(frame(frameFact, factCgroup, 2, 1, 0), frame(frameFact, factCgroup, 1, 1, 0)...),
		"an end that counts wrongly":            frame(frameEnd, 7),
		"a frame of no type":                    frame(77),
	} {
		t.Run(name, func(t *testing.T) {
			calls, err := replay(t, append(bytes.Clone(header), body...))
			require.ErrorIs(t, err, ErrCorrupt)
			require.Empty(t, calls)
		})
	}
}

func payloadClaiming(captured uint32) []byte {
	record := make([]byte, 48)
	record[8] = 8 // kind
	binary.LittleEndian.PutUint32(record[32:], captured)
	return record
}

func FuzzReader(f *testing.F) {
	whole := recordedScript(f)
	f.Add(whole)
	f.Add(whole[:len(whole)/2])
	f.Add(whole[:headerEnd(whole)])
	for _, at := range []int{3, headerEnd(whole) + 1, len(whole) / 3, len(whole) - 3} {
		damaged := bytes.Clone(whole)
		damaged[at] ^= 0xff
		f.Add(damaged)
	}
	f.Add(append(appendHeader(nil, crc32.MakeTable(crc32.Castagnoli)), frame(frameEnd, 0)...))
	f.Fuzz(func(t *testing.T, data []byte) { survives(t, data) })
}

// FuzzFrame gets behind the checksums.
func FuzzFrame(f *testing.F) {
	whole := recordedScript(f)
	starts := frames(whole)
	for i, start := range starts[:len(starts)-1] {
		if body := whole[start+frameHead : starts[i+1]-4]; len(body) < 4096 {
			f.Add(whole[start], body)
		}
	}
	header := appendHeader(nil, crc32.MakeTable(crc32.Castagnoli))
	f.Fuzz(func(t *testing.T, kind byte, body []byte) {
		survives(t, append(bytes.Clone(header), frame(kind, body...)...))
	})
}

// survives reads whatever it is given without a panic and without much more memory than it is long.
func survives(t *testing.T, data []byte) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	reader, err := newReader("fuzz", bytes.NewReader(data), int64(len(data)))
	if err == nil {
		_ = reader.Run(t.Context(), &nothing{})
		askAll(reader.Facts())
	}
	runtime.ReadMemStats(&after)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(4<<20+100*len(data)))
}
