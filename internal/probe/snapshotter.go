//go:build linux && (amd64 || arm64)

package probe

import (
	"errors"
	"fmt"
	"io"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

// snapshotter reads all live connections through an iterator over their storage.
type snapshotter struct {
	iterator *link.Iter
	buffer   []byte
}

// connMap is the map that holds the state of connections.
func (l *loader) connMap() *ebpf.Map {
	if l.byAddress {
		return l.shared("conns_by_socket")
	}
	return l.shared("conns")
}

func newSnapshotter(s *served, conns *ebpf.Map) (*snapshotter, error) {
	for _, program := range s.programs {
		iterator, err := link.AttachIter(link.IterOptions{Program: program, Map: conns})
		if err != nil {
			return nil, err
		}
		// One read of the iterator fills at most its own buffer of eight pages.
		return &snapshotter{iterator: iterator, buffer: make([]byte, 64<<10)}, nil
	}
	return nil, errors.New("no program")
}

// each calls handler.Conn for every live connection.
func (s *snapshotter) each(handler wire.Handler) error {
	reader, err := s.iterator.Open()
	if err != nil {
		return err
	}
	defer reader.Close()
	held := 0 // bytes of an incomplete record at the start of the buffer
	for {
		n, err := reader.Read(s.buffer[held:])
		held += n
		used := 0
		for ; held-used >= wire.ConnRecordSize; used += wire.ConnRecordSize {
			if err := wire.Dispatch(s.buffer[used:used+wire.ConnRecordSize], handler); err != nil {
				return err
			}
		}
		held = copy(s.buffer, s.buffer[used:held])
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case errors.Is(err, unix.EAGAIN):
			continue
		}
		if err != nil {
			return err
		}
	}
}

func (s *snapshotter) close() { s.iterator.Close() }

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
