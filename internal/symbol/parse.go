package symbol

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"math"
	"strconv"
)

// hiddenAfter is the number of text symbols at address 0 after which the kernel is taken to hide them.
const hiddenAfter = 64

// parse reads text in the form of /proc/kallsyms: address, type and name, separated by blanks, and the
// module in brackets. Lines that do not look like that are passed over.
func parse(r io.Reader) (*table, error) {
	// Room for the 122 000 symbols of a distribution's kernel, so that nothing grows by doubling.
	p := parser{modules: []string{""}, lines: make([]line, 0, 160<<10), names: make([]byte, 0, 3<<20)}
	buffered := bufio.NewReaderSize(r, 64<<10)
	for {
		text, err := buffered.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			return nil, errors.New("a line is longer than 64 KiB")
		}
		p.line(bytes.TrimRight(text, "\r\n"))
		if p.texts == 0 && p.zeros >= hiddenAfter {
			return nil, ErrHidden
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		if len(p.lines) > maxSymbols || len(p.names) > math.MaxInt32 {
			return nil, errors.New("too many symbols")
		}
	}
	switch {
	case p.texts == 0 && p.zeros > 0:
		return nil, ErrHidden
	case p.texts == 0:
		return nil, errors.New("no text symbols in it")
	}
	return compile(p.lines, p.names, p.modules), nil
}

type parser struct {
	lines   []line
	names   []byte
	modules []string
	texts   int // text symbols with an address
	zeros   int // without
}

func (p *parser) line(text []byte) {
	hex, rest, ok := bytes.Cut(text, []byte{' '})
	if !ok || len(rest) < 3 || rest[1] != ' ' {
		return
	}
	address, err := strconv.ParseUint(string(hex), 16, 64)
	if err != nil {
		return
	}
	kind, rest := rest[0], rest[2:]
	name, module, inModule := bytes.Cut(rest, []byte{'\t'})
	if len(name) == 0 || len(name) > math.MaxUint16 {
		return
	}
	isText := kind == 'T' || kind == 't' || kind == 'W' || kind == 'w'
	switch {
	case address == 0:
		if isText {
			p.zeros++
		}
		return
	case kind == 'U' || kind == 'u':
		return // undefined: no place at all
	}
	l := line{address: address}
	if inModule {
		l.module = p.module(bytes.Trim(module, "[] \t"))
	}
	if isText {
		p.texts++
	}
	// Padding before functions holds no call, so that no address of a stack is in it. On kernels that
	// have these symbols they are every second one.
	if isText && !bytes.HasPrefix(name, []byte("__pfx_")) && !bytes.HasPrefix(name, []byte("__cfi_")) {
		l.kind = kind
		l.nameAt, l.nameSize = uint32(len(p.names)), uint16(len(name))
		p.names = append(p.names, name...)
	}
	p.lines = append(p.lines, l)
}

// module gives the index of a module's name. Symbols of a module stand together, so the last is tried first.
func (p *parser) module(name []byte) uint16 {
	for i := len(p.modules) - 1; i > 0; i-- {
		if p.modules[i] == string(name) {
			return uint16(i)
		}
	}
	if len(p.modules) > tagModule {
		return tagModule
	}
	p.modules = append(p.modules, string(name))
	return uint16(len(p.modules) - 1)
}
