package main

import (
	"fmt"
	"io"
	"path"
	"strings"
)

// cpioWriter writes the "newc" archive that the kernel unpacks as its first root file system
// (Documentation/driver-api/early-userspace/buffer-format.rst). Missing parent directories are added,
// since the kernel silently drops files that have none. Errors stick: Close returns the first.
type cpioWriter struct {
	w    io.Writer
	seen map[string]bool
	ino  int
	err  error
}

const (
	modeDir     = 0o040000
	modeFile    = 0o100000
	modeSymlink = 0o120000
	modeChar    = 0o020000
)

func newCPIOWriter(w io.Writer) *cpioWriter {
	return &cpioWriter{w: w, seen: map[string]bool{"": true}}
}

// has tells whether the archive has an entry of that name.
func (c *cpioWriter) has(name string) bool { return c.seen[clean(name)] }

func (c *cpioWriter) dir(name string, perm uint32) {
	c.entry(name, modeDir|perm, 0, 0, 0, nil)
}

func (c *cpioWriter) symlink(name, target string) {
	c.entry(name, modeSymlink|0o777, int64(len(target)), 0, 0, strings.NewReader(target))
}

func (c *cpioWriter) charDevice(name string, perm uint32, major, minor int) {
	c.entry(name, modeChar|perm, 0, major, minor, nil)
}

func (c *cpioWriter) file(name string, perm uint32, size int64, content io.Reader) {
	c.entry(name, modeFile|perm, size, 0, 0, content)
}

func (c *cpioWriter) text(name, content string) {
	c.file(name, 0o644, int64(len(content)), strings.NewReader(content))
}

func (c *cpioWriter) close() error {
	c.header("TRAILER!!!", 0, 0, 0, 0)
	return c.err
}

// entry writes one member. The first entry of a name wins, so that a caller puts what matters first.
func (c *cpioWriter) entry(name string, mode uint32, size int64, major, minor int, content io.Reader) {
	name = clean(name)
	if c.err != nil || c.seen[name] {
		return
	}
	if parent := path.Dir(name); parent != "." && !c.seen[parent] {
		c.dir(parent, 0o755)
	}
	c.seen[name] = true
	c.header(name, mode, size, major, minor)
	if content == nil || c.err != nil {
		return
	}
	var n int64
	if n, c.err = io.Copy(c.w, io.LimitReader(content, size)); c.err == nil && n != size {
		c.err = fmt.Errorf("%s: %d bytes announced, %d read", name, size, n)
	}
	c.pad(size)
}

func (c *cpioWriter) header(name string, mode uint32, size int64, major, minor int) {
	if c.err != nil {
		return
	}
	if size >= 1<<32 {
		c.err = fmt.Errorf("%s: %d bytes are too many for a newc archive", name, size)
		return
	}
	c.ino++
	// magic, ino, mode, uid, gid, nlink, mtime, filesize, devmajor, devminor, rdevmajor, rdevminor,
	// namesize, check.
	n, err := fmt.Fprintf(c.w, "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%s\x00",
		c.ino, mode, 0, 0, 1, 0, size, 0, 0, major, minor, len(name)+1, 0, name)
	c.err = err
	c.pad(int64(n))
}

// pad fills up to the next multiple of four, to which both header and content are aligned.
func (c *cpioWriter) pad(written int64) {
	if c.err == nil {
		_, c.err = c.w.Write(make([]byte, (4-written%4)%4))
	}
}

func clean(name string) string {
	return strings.TrimPrefix(path.Clean("/"+name), "/")
}
