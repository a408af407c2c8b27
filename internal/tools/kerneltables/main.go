// Command kerneltables holds what kernels have just said about the probes (lab/report) against what the repository
// says they do:
//
//	kerneltables docs REPORT.json…
//
// docs/kernels.json keeps one report per kernel, docs/kernels.md shows them as tables. A hook that came or went, another
// kind of reason to refuse one, or a program that costs the verifier a fifth more than it did, is an error; with -update it is
// the new truth.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"slices"

	"github.com/ebpfnet/ebpfnetreceiver/lab/report"
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("kerneltables: ")
	update := flag.Bool("update", false, "write the tables instead of comparing")
	flag.Parse()
	if flag.NArg() < 1 {
		log.Fatal("usage: kerneltables [-update] FOLDER REPORT.json…")
	}
	if err := run(flag.Arg(0), *update, flag.Args()[1:]); err != nil {
		log.Fatal(err)
	}
}

func run(folder string, update bool, paths []string) error {
	figures, table := filepath.Join(folder, "kernels.json"), filepath.Join(folder, "kernels.md")
	kept, err := report.Read(figures)
	if err != nil && (!update || !errors.Is(err, os.ErrNotExist)) {
		return err
	}
	var said []report.Kernel
	for _, path := range paths {
		reports, err := report.Read(path)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		said = append(said, reports...)
	}
	if update {
		kept = merge(kept, said)
		return errors.Join(report.Write(figures, kept), os.WriteFile(table, render(kept), 0o644))
	}
	var differences []error
	for _, kernel := range said {
		i := slices.IndexFunc(kept, func(k report.Kernel) bool { return k.Name() == kernel.Name() })
		if i < 0 {
			differences = append(differences, fmt.Errorf("%s: not in %s", kernel.Name(), figures))
			continue
		}
		differences = append(differences, compare(kept[i], kernel)...)
	}
	shown, err := os.ReadFile(table)
	if err != nil {
		return err
	}
	if !bytes.Equal(shown, render(kept)) {
		differences = append(differences, fmt.Errorf("%s does not show what %s holds", table, figures))
	}
	if len(differences) > 0 {
		return fmt.Errorf("%w\nIf this is as it should be: make kernel-tables", errors.Join(differences...))
	}
	fmt.Printf("ok  \t%s agrees with what %d kernels say\n", table, len(said))
	return nil
}

// merge replaces the reports of kernels that were asked again.
func merge(kept, said []report.Kernel) []report.Kernel {
	merged := slices.Clone(said)
	for _, kernel := range kept {
		if !slices.ContainsFunc(said, func(k report.Kernel) bool { return k.Name() == kernel.Name() }) {
			merged = append(merged, kernel)
		}
	}
	slices.SortFunc(merged, byAge)
	return merged
}
