package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/ebpfnet/ebpfnetreceiver/lab/internal/guest"
)

// demux separates what comes out of the guest's port: test output, which goes to out line by line with
// each test's name carrying the kernel, and init's records.
type demux struct {
	out     io.Writer
	token   string
	collect []filePair
	ready   func(guest.Record) (label string) // the label is appended to test names; empty leaves them alone
	label   string

	ended int      // tests whose verdict has come
	empty []string // of these, those whose -test.run matched nothing
}

// run reads until the exit record and the files that follow it; io.ErrUnexpectedEOF means that the
// machine ended before.
func (d *demux) run(r io.Reader) (guest.Record, error) {
	mark := []byte(guest.RecordStart + d.token)
	in := bufio.NewReaderSize(r, 64<<10)
	matched := true
	for {
		line, err := in.ReadBytes('\n')
		text, record, isRecord := bytes.Cut(line, mark)
		matched = matched && string(text) != noTestsLine
		if verdict := packageLine.FindSubmatch(text); verdict != nil {
			d.ended++
			if !matched {
				d.empty = append(d.empty, string(verdict[2]))
			}
			matched = true
		}
		if len(text) > 0 {
			if _, err := d.out.Write(labelLine(text, d.label)); err != nil {
				return guest.Record{}, err
			}
		}
		if isRecord && err == nil {
			// A test's last line may lack its newline.
			if len(text) > 0 {
				fmt.Fprintln(d.out)
			}
			var message guest.Record
			if err := json.Unmarshal(record, &message); err != nil {
				return message, fmt.Errorf("garbled record %q: %w", record, err)
			}
			if message.Exit != nil {
				return message, d.receiveFiles(in, message.Sizes)
			}
			if message.Ready && d.ready != nil {
				d.label = d.ready(message)
			}
		}
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return guest.Record{}, err
		}
	}
}

func (d *demux) receiveFiles(in io.Reader, sizes []int64) error {
	var missing error
	for i, size := range sizes {
		pair := d.collect[i]
		if size < 0 {
			missing = errors.Join(missing, fmt.Errorf("-collect: the guest has no file %s", pair.guest))
			continue
		}
		if err := os.MkdirAll(filepath.Dir(pair.host), 0o755); err != nil {
			return err
		}
		f, err := os.Create(pair.host)
		if err != nil {
			return err
		}
		_, err = io.CopyN(f, in, size)
		if err = errors.Join(err, f.Close()); err != nil {
			return fmt.Errorf("-collect %s: %w", pair.guest, err)
		}
	}
	return missing
}

// noTestsLine is what package testing says, and then calls it a success, where -test.run matches nothing.
const noTestsLine = "testing: warning: no tests to run\n"

// checkRan: what ran nothing has shown nothing, whatever its exit status.
func (d *demux) checkRan(tests int) error {
	if d.ended < tests {
		return fmt.Errorf("the guest ran %d of %d tests: was this program built from another checkout than its init?", d.ended, tests)
	}
	if len(d.empty) > 0 {
		return fmt.Errorf("no test matches the -test.run of %s", strings.Join(d.empty, ", "))
	}
	return nil
}

var (
	testLine    = regexp.MustCompile(`^(\s*--- (?:PASS|FAIL|SKIP|BENCH): |=== (?:RUN|PAUSE|CONT|NAME)  +)(\S+)`)
	packageLine = regexp.MustCompile(`^(ok  |FAIL)\t(\S+)`)
	// The number after the dash is GOMAXPROCS.
	benchmarkLine = regexp.MustCompile(`^(Benchmark\S*?)(-\d+)?(\s)`)
)

// labelLine makes TestX into TestX/kernel=5.10, so that the reports of several kernels can be put
// together; key=value is the form that benchstat takes apart again.
func labelLine(line []byte, label string) []byte {
	if label == "" {
		return line
	}
	for _, named := range []*regexp.Regexp{testLine, packageLine} {
		if m := named.FindIndex(line); m != nil {
			return bytes.Join([][]byte{line[:m[1]], []byte("/" + label), line[m[1]:]}, nil)
		}
	}
	if m := benchmarkLine.FindSubmatchIndex(line); m != nil {
		return bytes.Join([][]byte{line[:m[3]], []byte("/" + label), line[m[3]:]}, nil)
	}
	return line
}
