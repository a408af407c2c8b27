package main

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

const debianKeyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

// mirror is where this machine gets Debian packages from. The lab adds other suites of the same mirror,
// so that it works wherever apt does: behind a proxy, with a company's mirror, offline with a local one.
type mirror struct {
	archive, security string // URIs; security may be empty
	keyring           string
}

var debianSuite = regexp.MustCompile(`^(bullseye|bookworm|trixie|forky|sid|oldoldstable|oldstable|stable|testing|unstable)(-updates|-backports|-security|/updates)?$`)

// findMirror reads the machine's own apt sources. Signatures are checked against Debian's own keyring
// whatever the machine's entry says, since that entry may name the keys of its one suite only. A mirror
// given by override is taken instead, with security updates beside it where Debian's mirrors have them.
func findMirror(aptDir, override string) (mirror, error) {
	m := mirror{keyring: debianKeyring}
	if _, err := os.Stat(m.keyring); err != nil {
		return m, fmt.Errorf("no keys to check Debian's packages with: %w: apt-get install debian-archive-keyring", err)
	}
	if override != "" {
		m.archive = strings.TrimSuffix(override, "/")
		m.security = m.archive + "-security"
		return m, nil
	}
	deb822, _ := filepath.Glob(filepath.Join(aptDir, "sources.list.d", "*.sources"))
	oneLine, _ := filepath.Glob(filepath.Join(aptDir, "sources.list.d", "*.list"))
	for _, path := range append(append(deb822, oneLine...), filepath.Join(aptDir, "sources.list")) {
		text, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		if strings.HasSuffix(path, ".sources") {
			m.readDeb822(string(text))
		} else {
			m.readOneLine(string(text))
		}
	}
	if m.archive == "" {
		return m, fmt.Errorf("no Debian mirror in %s: name one with -mirror", aptDir)
	}
	return m, nil
}

// add takes the first archive and the first security mirror that it is given.
func (m *mirror) add(uri, suite string) {
	uri = strings.TrimSuffix(uri, "/")
	match := debianSuite.FindStringSubmatch(suite)
	if match == nil {
		return
	}
	if match[2] == "-security" || match[2] == "/updates" {
		if m.security == "" {
			m.security = uri
		}
	} else if m.archive == "" {
		m.archive = uri
	}
}

// readDeb822 reads the format of sources.list(5) that has one stanza per repository.
func (m *mirror) readDeb822(text string) {
	for _, stanza := range regexp.MustCompile(`\n[ \t]*\n`).Split(text, -1) {
		fields := map[string][]string{}
		var key string
		for _, line := range strings.Split(stanza, "\n") {
			name, value, found := strings.Cut(line, ":")
			switch {
			case strings.HasPrefix(line, "#"):
			case strings.HasPrefix(line, " ") || strings.HasPrefix(line, "\t"):
				fields[key] = append(fields[key], strings.Fields(line)...)
			case found:
				key = strings.ToLower(name)
				fields[key] = strings.Fields(value)
			}
		}
		if enabled := fields["enabled"]; len(enabled) == 1 && enabled[0] == "no" {
			continue
		}
		for _, uri := range fields["uris"] {
			for _, suite := range fields["suites"] {
				m.add(uri, suite)
			}
		}
	}
}

// readOneLine reads the format "deb [option=value ...] uri suite component ...".
func (m *mirror) readOneLine(text string) {
	lines := bufio.NewScanner(strings.NewReader(text))
	for lines.Scan() {
		line := regexp.MustCompile(`\[[^\]]*\]`).ReplaceAllString(lines.Text(), "")
		if fields := strings.Fields(line); len(fields) >= 3 && fields[0] == "deb" {
			m.add(fields[1], fields[2])
		}
	}
}

// sources is the content of a sources file for the given suites and their security updates.
func (m *mirror) sources(suites []string) string {
	stanza := func(uri string, suites []string) string {
		return fmt.Sprintf("Types: deb\nURIs: %s\nSuites: %s\nComponents: main\nSigned-By: %s\n\n",
			uri, strings.Join(suites, " "), m.keyring)
	}
	text := stanza(m.archive, suites)
	var secured []string
	for _, suite := range suites {
		// Neither unstable nor backports has a security suite.
		if suite != "sid" && !strings.Contains(suite, "-") {
			secured = append(secured, suite+"-security")
		}
	}
	if m.security != "" && len(secured) > 0 {
		text += stanza(m.security, secured)
	}
	return text
}
