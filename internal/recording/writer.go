package recording

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

// ErrSizeLimit is why a recording stopped that reached Options.MaxBytes. The file is complete up to there.
var ErrSizeLimit = errors.New("recording reached its size limit")

// Options of a recording.
type Options struct {
	// MaxBytes ends the recording, cleanly, before the file grows beyond it; 0: no limit.
	MaxBytes int64
	// OnStop is called at most once, from the handler's goroutine, with what went wrong: the size limit was
	// reached or a write failed. Nil: only Err and Close tell.
	OnStop func(error)
}

// Writer records what passes through it: it is the wire.Handler in front of the real one and the
// wire.Facts in front of the real ones. What cannot be written never disturbs what passes. Like both
// interfaces it is for one goroutine.
type Writer struct {
	next    wire.Handler
	facts   factWriter
	options Options
	table   *crc32.Table

	out     *output // nil: recording has ended
	chunk   []byte
	frame   int // where in chunk the open frame starts
	frames  uint64
	written int64 // bytes in chunks already handed over
	err     error
}

var (
	_ wire.Handler = (*Writer)(nil)
	_ wire.Facts   = (*Writer)(nil)
)

// Tee starts a recording to w of every call that it forwards to next and of every answer that facts
// gives. Close ends it; w stays open. The caller uses the Writer in the place of both.
func Tee(w io.Writer, next wire.Handler, facts wire.Facts, options Options) *Writer {
	t := &Writer{
		next: next, options: options, out: newOutput(w),
		facts: newFactWriter(facts), table: crc32.MakeTable(crc32.Castagnoli),
	}
	t.chunk, _ = t.out.take() // the first chunk is never waited for
	t.chunk = appendHeader(t.chunk, t.table)
	return t
}

// Err is why recording ended early; nil while it runs and after a clean Close.
func (t *Writer) Err() error { return t.err }

// Close writes the end mark and waits, at most 10 s, until everything is written. Idempotent.
func (t *Writer) Close() error {
	if t.out == nil {
		return t.err
	}
	if t.finish(); t.err != nil && t.options.OnStop != nil {
		t.options.OnStop(t.err)
	}
	return t.err
}

// finish ends the file in good order and notes what went wrong with it, if t.err is not set yet.
func (t *Writer) finish() {
	frames := t.frames
	if t.begin(frameEnd) {
		t.chunk = binary.AppendUvarint(t.chunk, frames)
		t.seal()
		t.out.put(t.chunk)
	}
	err := t.out.close()
	t.out, t.chunk = nil, nil
	t.facts.forget()
	if err != nil && t.err == nil {
		t.err = fmt.Errorf("recording is incomplete: %w", err)
	}
}

// stop ends recording early and reports it.
func (t *Writer) stop(err error) {
	t.err = err
	t.finish()
	if t.options.OnStop != nil {
		t.options.OnStop(t.err)
	}
}

// begin opens a frame in the chunk; false: recording has ended.
func (t *Writer) begin(kind frameType) bool {
	if t.out == nil {
		return false
	}
	t.frame = len(t.chunk)
	t.chunk = append(t.chunk, kind, 0, 0, 0, 0)
	return true
}

// seal closes the frame with its length and checksum.
func (t *Writer) seal() {
	frame := t.chunk[t.frame:]
	binary.LittleEndian.PutUint32(frame[1:], uint32(len(frame)-frameHead))
	t.chunk = binary.LittleEndian.AppendUint32(t.chunk, crc32.Checksum(frame, t.table))
	t.frames++
}

// end closes the frame and hands the chunk over when it is full.
func (t *Writer) end() {
	if body := len(t.chunk) - t.frame - frameHead; body > maxBody {
		t.chunk = t.chunk[:t.frame]
		t.stop(fmt.Errorf("recording stopped: a frame of %d bytes exceeds the format's %d", body, maxBody))
		return
	}
	t.seal()
	if t.options.MaxBytes > 0 && t.written+int64(len(t.chunk)+maxEndFrame) > t.options.MaxBytes {
		t.chunk = t.chunk[:t.frame]
		t.frames--
		t.stop(fmt.Errorf("%w of %d bytes", ErrSizeLimit, t.options.MaxBytes))
		return
	}
	if len(t.chunk) >= chunkSize-chunkSize/8 {
		t.handOver()
	}
}

// handOver gives the chunk to the disk and takes an empty one.
func (t *Writer) handOver() {
	err := t.out.err()
	if err == nil {
		t.written += int64(len(t.chunk))
		t.out.put(t.chunk)
		t.chunk = nil
		t.chunk, err = t.out.take()
	}
	if err != nil {
		out := t.out
		t.out, t.chunk = nil, nil
		t.facts.forget()
		close(out.full) // not waited for: the disk is what fails
		t.err = fmt.Errorf("recording stopped, what was written so far can be read: %w", err)
		if t.options.OnStop != nil {
			t.options.OnStop(t.err)
		}
	}
}

// flush hands over what there is, so that little is lost if the process is killed.
func (t *Writer) flush() {
	if t.out != nil && len(t.chunk) > 0 {
		t.handOver()
	}
}
