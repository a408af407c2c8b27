//go:build linux && (amd64 || arm64)

package probe

import (
	"errors"
	"fmt"
	"io"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// iterator reads what a program writes for each object of its kind.
type iterator struct {
	link   *link.Iter
	buffer []byte
}

// newIterator makes the iterator of a capability that has one program; over is the map to walk, if it is one.
func newIterator(s *served, over *ebpf.Map) (*iterator, error) {
	for _, program := range s.programs {
		l, err := link.AttachIter(link.IterOptions{Program: program, Map: over})
		if err != nil {
			return nil, err
		}
		// One read of an iterator fills at most its own buffer of eight pages.
		return &iterator{link: l, buffer: make([]byte, 64<<10)}, nil
	}
	return nil, errors.New("no program")
}

// each walks all objects and hands over what was written, record by record.
func (i *iterator) each(size int, record func([]byte) error) error {
	reader, err := i.link.Open()
	if err != nil {
		return err
	}
	defer reader.Close()
	held := 0 // bytes of an incomplete record at the start of the buffer
	for {
		n, err := reader.Read(i.buffer[held:])
		held += n
		used := 0
		for ; held-used >= size; used += size {
			if err := record(i.buffer[used : used+size]); err != nil {
				return err
			}
		}
		held = copy(i.buffer, i.buffer[used:held])
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case errors.Is(err, unix.EAGAIN): // after a million objects without output
			continue
		}
		if err != nil {
			return err
		}
	}
}

func (i *iterator) close() { i.link.Close() }

// connMap is the map that holds the state of connections.
func (l *loader) connMap() *ebpf.Map {
	if l.byAddress {
		return l.shared("conns_by_socket")
	}
	return l.shared("conns")
}

// adopt runs the two programs of the adoption once each over all files of all processes.
func (s *source) adopt() error {
	for _, served := range s.loader.served {
		if served.capability != "adoption" {
			continue
		}
		for _, a := range served.hook.programs {
			if err := runIterator(served.programs[a.program]); err != nil {
				return fmt.Errorf("%s: %w", a.program, err)
			}
		}
	}
	return nil
}

func runIterator(program *ebpf.Program) error {
	iterator, err := link.AttachIter(link.IterOptions{Program: program})
	if err != nil {
		return err
	}
	defer iterator.Close()
	reader, err := iterator.Open()
	if err != nil {
		return err
	}
	defer reader.Close()
	for {
		// After a million objects without output the kernel wants to be asked again (bpf_seq_read).
		if _, err = io.Copy(io.Discard, reader); !errors.Is(err, unix.EAGAIN) {
			return err
		}
	}
}
