package recording

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

// Reader plays a recording back.
type Reader struct {
	// Pace is how many seconds of the recording pass in one second; 0: as fast as the handler takes them.
	// To be set before Run.
	Pace float64

	name   string
	data   io.ReaderAt
	size   int64
	closer io.Closer
	facts  *answers

	// Where pass one met a fact that cannot be used, and why; 0: nowhere.
	badFactAt int64
	badFact   string
}

var _ wire.Source = (*Reader)(nil)

// Open opens the recording at path and reads its facts. A file that is no recording of this version is
// refused here (ErrNotARecording, ErrVersion, or ErrTruncated and ErrCorrupt for its header); damage
// further on is reported by Run, after everything before it was delivered.
func Open(path string) (*Reader, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open recording: %w", err)
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%w: %s is no regular file (%s)", ErrNotARecording, path, info.Mode().Type())
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	reader, err := newReader(path, file, info.Size())
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	reader.closer = file
	return reader, nil
}

func newReader(name string, data io.ReaderAt, size int64) (*Reader, error) {
	scan, err := newScanner(name, data, size)
	if err != nil {
		return nil, err
	}
	r := &Reader{name: name, data: data, size: size, facts: newAnswers()}
	for {
		kind, body, err := scan.next()
		if err != nil {
			return r, nil // the end, or damage that Run will come upon
		}
		if kind != frameFact {
			continue
		}
		if problem := r.facts.load(body); problem != "" {
			r.badFactAt, r.badFact = scan.at, problem
			return r, nil
		}
	}
}

// Facts implements wire.Source: it gives the answers that were given when the recording was made.
func (r *Reader) Facts() wire.Facts { return r.facts }

// Close implements wire.Source.
func (r *Reader) Close() error {
	if r.closer == nil {
		return nil
	}
	err := r.closer.Close()
	r.closer = nil
	return err
}

// Run implements wire.Source: it delivers the recorded calls. Cancelled, it returns nil without
// delivering the rest; at damage it returns an error that wraps ErrTruncated or ErrCorrupt.
func (r *Reader) Run(ctx context.Context, handler wire.Handler) error {
	scan, err := newScanner(r.name, r.data, r.size)
	if err != nil {
		return err
	}
	p := player{handler: handler, pace: pace{factor: r.Pace}}
	for ctx.Err() == nil {
		kind, body, err := scan.next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		problem := p.play(ctx, kind, body)
		if scan.at == r.badFactAt {
			problem = r.badFact
		}
		if problem != "" {
			return scan.fail(ErrCorrupt, "%s", problem)
		}
	}
	return nil
}

// player turns frames into calls.
type player struct {
	handler wire.Handler
	pace    pace
}

// play makes the call of one frame, none for facts and none once ctx is cancelled; a text says what is
// wrong with the frame.
func (p *player) play(ctx context.Context, kind frameType, body []byte) (problem string) {
	switch kind {
	case frameBegin:
		begin, ok := decodeBegin(body)
		if !ok {
			return "the begin frame cannot be read"
		}
		if p.pace.wait(ctx, begin.TimeNs) {
			p.handler.Begin(begin)
		}
	case frameRecord:
		// The smallest record, for the header that all share.
		header, err := wire.Decode[wire.PayloadRecord](body)
		if err != nil {
			return err.Error()
		}
		if p.pace.wait(ctx, header.Header.TimeNs) {
			if err := wire.Dispatch(body, p.handler); err != nil {
				return err.Error()
			}
		}
	case frameFlush:
		d := decoder{rest: body}
		timeNs := d.uvarint()
		if !d.done() {
			return "the flush frame cannot be read"
		}
		if p.pace.wait(ctx, timeNs) {
			p.handler.Flush(timeNs)
		}
	case frameCollect:
		collection, ok := decodeCollection(body)
		if !ok {
			return "the collection frame cannot be read"
		}
		if p.pace.wait(ctx, collection.TimeNs) {
			p.handler.Collect(collection)
		}
	}
	return ""
}

// pace holds calls back until their time has come.
type pace struct {
	factor  float64
	started time.Time
	firstNs uint64
}

// wait returns at the time of timeNs; false: ctx was cancelled before.
func (p *pace) wait(ctx context.Context, timeNs uint64) bool {
	if p.factor <= 0 {
		return true
	}
	if p.started.IsZero() {
		p.started, p.firstNs = time.Now(), timeNs
	}
	// Records of different CPUs overtake each other a little; those are not held back.
	due := time.Duration(float64(int64(timeNs-p.firstNs)) / p.factor)
	left := due - time.Since(p.started)
	if left <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(left)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
