// Command metagen runs mdatagen on a component's metadata.yaml and keeps the part of its output that this
// project uses:
//
//	documentation.md
//	generated_component_test.go, generated_package_test.go
//	internal/metadata/generated_status.go, generated_telemetry.go, with its tests
//
// It leaves out the builders of metrics, events and resources, for two reasons. The code that mdatagen
// v0.155 makes for a histogram metric does not compile, although the metadata schema takes one. And its
// builders know one start time for all points, while each of this receiver's series has its own: pdata is
// made by hand in internal/otlp. The metrics stand in metadata.yaml nevertheless, because the documentation
// is made from it; a test of the receiver holds it against the table in internal/otlp.
//
// mdatagen asks the go command for the package that it writes to, so it runs on a copy of the metadata
// beside a copy of go.mod. With -check nothing is written and a difference is an error.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// kept are the files to keep, as patterns of path.Match below the component's folder.
var kept = []string{
	"documentation.md",
	"generated_*_test.go",
	"internal/metadata/generated_status.go",
	"internal/metadata/generated_telemetry*.go",
	"internal/metadatatest/generated_telemetrytest*.go",
}

func main() {
	log.SetFlags(0)
	log.SetPrefix("metagen: ")
	check := flag.Bool("check", false, "compare instead of writing")
	flag.Parse()
	if flag.NArg() != 1 {
		log.Fatal("usage: metagen [-check] FOLDER, the folder of a metadata.yaml")
	}
	if err := run(flag.Arg(0), *check); err != nil {
		log.Fatal(err)
	}
}

func run(folder string, check bool) error {
	root, err := moduleRoot()
	if err != nil {
		return err
	}
	if folder, err = filepath.Abs(folder); err != nil {
		return err
	}
	below, err := filepath.Rel(root, folder)
	if err != nil {
		return err
	}
	scratch, err := os.MkdirTemp("", "metagen")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	generated := filepath.Join(scratch, below)
	if err := generate(root, folder, scratch, generated); err != nil {
		return err
	}
	if err := correctDocumentation(filepath.Join(generated, "documentation.md")); err != nil {
		return err
	}
	names, err := keptFiles(generated)
	if err != nil {
		return err
	}
	if check {
		return compare(folder, generated, names)
	}
	return write(folder, generated, names)
}

func moduleRoot() (string, error) {
	out, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("go env GOMOD: %w", err)
	}
	return filepath.Dir(strings.TrimSpace(string(out))), nil
}

// generate runs mdatagen in a module in scratch that holds nothing but the metadata and one Go file that
// gives the package its name.
func generate(root, folder, scratch, generated string) error {
	if err := os.MkdirAll(generated, 0o755); err != nil {
		return err
	}
	for from, to := range map[string]string{
		filepath.Join(root, "go.mod"):          filepath.Join(scratch, "go.mod"),
		filepath.Join(folder, "metadata.yaml"): filepath.Join(generated, "metadata.yaml"),
	} {
		if err := copyFile(from, to); err != nil {
			return err
		}
	}
	name := filepath.Base(folder)
	if err := os.WriteFile(filepath.Join(generated, "doc.go"), []byte("package "+name+"\n"), 0o644); err != nil {
		return err
	}
	mdatagen := exec.Command("go", "tool", "mdatagen", filepath.Join(generated, "metadata.yaml"))
	mdatagen.Dir = root
	if out, err := mdatagen.CombinedOutput(); err != nil {
		return fmt.Errorf("mdatagen: %w\n%s", err, out)
	}
	return nil
}

// mdatagen documents switches for events as its own builder has them. Here the blocks say how many events
// of a kind to send.
const (
	switchOfEvents = "Each of them can be disabled by applying the following configuration:\n\n" +
		"```yaml\nevents:\n  <event_name>:\n    enabled: false\n```"
	switchOfBlocks = "They are log records with an event name and one readable line as body. The metrics stay " +
		"exact when none is sent:\n\n" +
		"```yaml\n<block>:\n  events_per_second: 0\n```"
)

func correctDocumentation(path string) error {
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	text := string(content)
	if !strings.Contains(text, switchOfEvents) {
		return fmt.Errorf("%s says something new about events: look at it and correct metagen", path)
	}
	return os.WriteFile(path, []byte(strings.Replace(text, switchOfEvents, switchOfBlocks, 1)), 0o644)
}

// keptFiles are the names of the generated files to keep, below generated.
func keptFiles(generated string) ([]string, error) {
	var names []string
	for _, pattern := range kept {
		matches, err := fs.Glob(os.DirFS(generated), pattern)
		if err != nil {
			return nil, err
		}
		if len(matches) == 0 {
			return nil, fmt.Errorf("mdatagen made no %s", pattern)
		}
		names = append(names, matches...)
	}
	return names, nil
}

func write(folder, generated string, names []string) error {
	for _, name := range names {
		to := filepath.Join(folder, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		if err := copyFile(filepath.Join(generated, filepath.FromSlash(name)), to); err != nil {
			return err
		}
	}
	return nil
}

func compare(folder, generated string, names []string) error {
	var errs []error
	for _, name := range names {
		want, err := os.ReadFile(filepath.Join(generated, filepath.FromSlash(name)))
		if err != nil {
			return err
		}
		got, err := os.ReadFile(filepath.Join(folder, filepath.FromSlash(name)))
		if err == nil && !bytes.Equal(got, want) {
			err = errors.New("differs from what metadata.yaml makes: run make generate")
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
		}
	}
	return errors.Join(errs...)
}

func copyFile(from, to string) error {
	content, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, content, 0o644)
}
