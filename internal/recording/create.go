package recording

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

// Create makes the file of a recording, readable and writable by its owner only, because a recording
// holds payload. An older recording at path is replaced, by a new file: whoever has the old one open
// does not see the new one. Anything else at path, a symbolic link too, is left alone and refused.
func Create(path string) (*os.File, error) {
	if err := removeOld(path); err != nil {
		return nil, err
	}
	// O_EXCL does not follow a link that appeared meanwhile.
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("create recording (the directory must exist and be writable): %w", err)
	}
	return file, nil
}

func removeOld(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("create recording: %w", err)
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("create recording %s: it exists and is no regular file (%s); choose another path",
			path, info.Mode().Type())
	}
	if info.Size() > 0 {
		if err := isRecording(path, info); err != nil {
			return fmt.Errorf("create recording %s: it exists and is left alone; remove it or choose another path: %w",
				path, err)
		}
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("create recording: replace the old one: %w", err)
	}
	return nil
}

// isRecording says whether the file at path, seen before as info, starts as a recording does.
func isRecording(path string, info fs.FileInfo) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	if opened, err := file.Stat(); err != nil || !os.SameFile(info, opened) {
		return errors.New("it changed while it was looked at")
	}
	start := make([]byte, len(magic))
	if _, err := io.ReadFull(file, start); err != nil || string(start) != magic {
		return ErrNotARecording
	}
	return nil
}

// Record gives a source that delivers what source does and records it in a new file at path (see
// Create). Closing it closes source and the file. A recording that fails is no failure of the source:
// options.OnStop tells of it.
func Record(source wire.Source, path string, options Options) (wire.Source, error) {
	file, err := Create(path)
	if err != nil {
		return nil, err
	}
	return &recorded{source: source, file: file, writer: Tee(file, nil, source.Facts(), options)}, nil
}

type recorded struct {
	source wire.Source
	file   *os.File
	writer *Writer
}

// Run implements wire.Source.
func (r *recorded) Run(ctx context.Context, handler wire.Handler) error {
	r.writer.next = handler
	return r.source.Run(ctx, r.writer)
}

// Facts implements wire.Source.
func (r *recorded) Facts() wire.Facts { return r.writer }

// Close implements wire.Source.
func (r *recorded) Close() error {
	err := r.source.Close()
	if r.file == nil {
		return err
	}
	failed := r.writer.Close()
	if r.writer.options.OnStop != nil {
		failed = nil // reported there
	}
	err = errors.Join(err, failed, r.file.Close())
	r.file = nil
	return err
}
