package main

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ebpfnet/ebpfnetreceiver/lab/internal/guest"
)

func TestOutputCarriesTheKernelInTestNames(t *testing.T) {
	for line, want := range map[string]string{
		"=== RUN   TestX\n":                         "=== RUN   TestX/kernel=5.10\n",
		"=== NAME  TestX/a\n":                       "=== NAME  TestX/a/kernel=5.10\n",
		"    --- FAIL: TestX/a_b (0.01s)\n":         "    --- FAIL: TestX/a_b/kernel=5.10 (0.01s)\n",
		"BenchmarkX-2   \t 100\t 5 ns/op\n":         "BenchmarkX/kernel=5.10-2   \t 100\t 5 ns/op\n",
		"BenchmarkX/a=b \t 100\t 5 ns/op\n":         "BenchmarkX/a=b/kernel=5.10 \t 100\t 5 ns/op\n",
		"    x_test.go:3: --- PASS: in a message\n": "    x_test.go:3: --- PASS: in a message\n",
		"ok  \tx.test\t1.5s\n":                      "ok  \tx.test/kernel=5.10\t1.5s\n",
		"PASS\n":                                    "PASS\n",
	} {
		if got := string(labelLine([]byte(line), "kernel=5.10")); got != want {
			t.Errorf("%q became %q, want %q", line, got, want)
		}
	}
}

func TestDemuxSeparatesOutputRecordsAndFiles(t *testing.T) {
	var out strings.Builder
	var release string
	file := filepath.Join(t.TempDir(), "sub", "got")
	d := demux{out: &out, token: "T0K", collect: []filePair{{file, "/tmp/x"}, {file + "2", "/tmp/y"}},
		ready: func(r guest.Record) string { release = r.Release; return labelOf(options{kernel: "newest"}, r.Release) }}
	stream := "\x1eT0K{\"Ready\":true,\"Release\":\"6.1\"}\n" +
		"=== RUN   TestX\nline\n\x1enot a record\nno newline" +
		"\x1eT0K{\"Exit\":3,\"Sizes\":[4,-1]}\na\x1e\n\x00output of a daemon left behind"
	record, err := d.run(strings.NewReader(stream))
	if record.Exit == nil || *record.Exit != 3 || release != "6.1" {
		t.Errorf("record %+v, release %q", record, release)
	}
	if err == nil || !strings.Contains(err.Error(), "/tmp/y") {
		t.Errorf("want an error that names the missing file, got %v", err)
	}
	if want := "=== RUN   TestX/kernel=6.1\nline\n\x1enot a record\nno newline\n"; out.String() != want {
		t.Errorf("output %q, want %q", out.String(), want)
	}
	if got, _ := os.ReadFile(file); string(got) != "a\x1e\n\x00" {
		t.Errorf("file %q", got)
	}
}

func TestALabelTellsKernelsAndMachinesApart(t *testing.T) {
	for _, c := range []struct {
		options
		release, want string
	}{
		{options{kernel: "newest", arch: "amd64"}, "7.2.13+deb14-cloud-amd64", "kernel=7.2"},
		{options{kernel: "6.12", arch: "arm64"}, "6.12.117+deb13-cloud-arm64", "kernel=6.12/arch=arm64"},
		{options{kernel: "5.10", arch: "amd64"}, "5.10.0-46-cloud-amd64", "kernel=5.10"},
		{options{kernel: "5.10", arch: "amd64"}, "unknown", "kernel=5.10"},
	} {
		if got := labelOf(c.options, c.release); got != c.want {
			t.Errorf("%s %s is labelled %s, want %s", c.kernel, c.release, got, c.want)
		}
	}
}

func TestDemuxTellsAMachineThatDied(t *testing.T) {
	var out strings.Builder
	d := demux{out: &out, token: "T0K"}
	record, err := d.run(strings.NewReader("=== RUN   TestX\npartial"))
	if record.Exit != nil || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%+v, %v", record, err)
	}
	if !strings.HasSuffix(out.String(), "partial") {
		t.Errorf("the last words are lost: %q", out.String())
	}
}

func TestWhatRanNoTestHasNotPassed(t *testing.T) {
	const idle = "testing: warning: no tests to run\nPASS\nok  \tx.test\t0.1s\n"
	const busy = "--- PASS: TestX (0.00s)\nPASS\nok  \ty.test\t0.1s\n"
	for stream, want := range map[string]string{
		busy + busy: "",
		busy + idle: "x.test",
		idle + busy: "x.test",
		busy:        "1 of 2",
		"":          "0 of 2",
	} {
		d := demux{out: io.Discard, token: "T0K"}
		if _, err := d.run(strings.NewReader(stream + "\x1eT0K{\"Exit\":0}\n")); err != nil {
			t.Fatal(err)
		}
		if err := d.checkRan(2); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", stream, err, want)
		}
	}
}
