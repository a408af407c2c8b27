package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// apt runs apt with sources, lists and caches of its own below dir, for a foreign architecture too. The
// machine's configuration gives only how to reach the network: none of its hooks run.
type apt struct {
	dir string
}

func newApt(ctx context.Context, dir, arch, sources string) (*apt, error) {
	if _, err := needTool("apt-get", "apt"); err != nil {
		return nil, err
	}
	a := &apt{dir: dir}
	for _, sub := range []string{"state/lists/partial", "cache/archives/partial", "debs"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return nil, err
		}
	}
	var conf strings.Builder
	network, err := exec.CommandContext(ctx, "apt-config", "dump", "Acquire").Output()
	if err != nil {
		return nil, fmt.Errorf("apt-config dump Acquire: %w", err)
	}
	for _, line := range strings.SplitAfter(string(network), "\n") {
		// Languages and other indexes are megabytes that nobody reads here.
		if !strings.HasPrefix(line, "Acquire::IndexTargets") && !strings.HasPrefix(line, "Acquire::Languages") {
			conf.WriteString(line)
		}
	}
	conf.WriteString("Acquire::Languages \"none\";\n")
	for _, setting := range [][2]string{
		{"Dir::Etc::main", "/dev/null"},
		{"Dir::Etc::parts", "/dev/null"},
		{"Dir::Etc::sourcelist", filepath.Join(dir, "lab.sources")},
		{"Dir::Etc::sourceparts", "/dev/null"},
		{"Dir::Etc::preferences", "/dev/null"},
		{"Dir::Etc::preferencesparts", "/dev/null"},
		{"Dir::State", filepath.Join(dir, "state")},
		{"Dir::State::status", "/dev/null"},
		{"Dir::Cache", filepath.Join(dir, "cache")},
		{"APT::Architecture", arch},
		// apt's own unprivileged user cannot write below a home directory.
		{"APT::Sandbox::User", "root"},
	} {
		fmt.Fprintf(&conf, "%s %q;\n", setting[0], setting[1])
	}
	fmt.Fprintf(&conf, "APT::Architectures { %q; };\n", arch)
	if err := os.WriteFile(filepath.Join(dir, "lab.sources"), []byte(sources), 0o644); err != nil {
		return nil, err
	}
	return a, os.WriteFile(filepath.Join(dir, "apt.conf"), []byte(conf.String()), 0o644)
}

func (a *apt) run(ctx context.Context, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = filepath.Join(a.dir, "debs")
	cmd.Env = append(os.Environ(), "APT_CONFIG="+filepath.Join(a.dir, "apt.conf"), "LC_ALL=C")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, lastLines(stderr.String(), 10))
	}
	return stdout.String(), nil
}

// update reads the package lists. What cannot be reached is an error, which for apt-get itself is only a warning.
func (a *apt) update(ctx context.Context) error {
	_, err := a.run(ctx, "apt-get", "update", "-q", "-o=APT::Update::Error-Mode=any")
	return err
}

// names lists the packages whose names begin with prefix.
func (a *apt) names(ctx context.Context, prefix string) ([]string, error) {
	out, err := a.run(ctx, "apt-cache", "pkgnames", prefix)
	return strings.Fields(out), err
}

// unpack downloads packages and extracts them into dir, without installing anything.
func (a *apt) unpack(ctx context.Context, dir string, packages ...string) error {
	if _, err := needTool("dpkg", "dpkg"); err != nil {
		return err
	}
	if _, err := a.run(ctx, "apt-get", append([]string{"download", "-q"}, packages...)...); err != nil {
		return err
	}
	for _, name := range packages {
		debs, _ := filepath.Glob(filepath.Join(a.dir, "debs", name+"_*.deb"))
		if len(debs) == 0 {
			return fmt.Errorf("apt-get download %s left no package in %s", name, a.dir)
		}
		if _, err := a.run(ctx, "dpkg", "-x", debs[0], dir); err != nil {
			return err
		}
	}
	return nil
}
