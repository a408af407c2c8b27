package main

import (
	"regexp"
	"strings"

	"github.com/ebpfnet/ebpfnetreceiver/lab/internal/guest"
)

var (
	fatalLine = regexp.MustCompile(`Kernel panic|Oops|\bBUG: |Unable to handle kernel|general protection fault|` +
		`soft lockup|hard LOCKUP|detected stalls|self-detected stall|blocked for more than|KASAN|UBSAN`)
	warningLine = regexp.MustCompile(`WARNING: `)
	traceEnd    = regexp.MustCompile(`---\[ end trace`)
)

// inspectConsole finds in a kernel's console log what a passing test must not hide: complaints that are
// always fatal, warnings from or through BPF code, and, apart, what init had to say.
func inspectConsole(log string) (faults, notes []string) {
	lines := strings.Split(strings.ReplaceAll(log, "\r", ""), "\n")
	for i, line := range lines {
		switch {
		case fatalLine.MatchString(line):
			faults = append(faults, line)
		case warningLine.MatchString(line) && strings.Contains(strings.ToLower(warningText(lines[i:])), "bpf"):
			faults = append(faults, line)
		case warningLine.MatchString(line):
			notes = append(notes, line)
		case strings.HasPrefix(line, guest.LogPrefix):
			notes = append(notes, line)
		}
	}
	return faults, notes
}

// warningText is a warning with its registers and stack, which may be a task's and an interrupt's. Without the end
// mark, because the log broke off or because it is a one-line warning, it is the first line alone; the list of loaded
// modules does not count, for that names cls_bpf whoever is to blame.
func warningText(lines []string) string {
	for i, line := range lines[:min(len(lines), 400)] {
		if i > 0 && warningLine.MatchString(line) {
			break
		}
		if !traceEnd.MatchString(line) {
			continue
		}
		var text []string
		for _, line := range lines[:i] {
			if !strings.Contains(line, "Modules linked in") {
				text = append(text, line)
			}
		}
		return strings.Join(text, "\n")
	}
	return lines[0]
}

func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimRight(strings.ReplaceAll(text, "\r", ""), "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
