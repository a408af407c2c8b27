package owner

import "strings"

// parseCgroups reads /proc/PID/cgroup (cgroups(7)): the path in the v2 hierarchy, "" if there is none,
// and those in the v1 hierarchies, systemd's own first.
func parseCgroups(text string) (v2 string, v1 []string) {
	for line := range strings.Lines(text) {
		id, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ":")
		controllers, path, ok := strings.Cut(rest, ":")
		path = strings.TrimSuffix(path, " (deleted)")
		switch {
		case !ok || !strings.HasPrefix(path, "/"):
		case id == "0" && controllers == "":
			v2 = path
		case controllers == "name=systemd":
			v1 = append([]string{path}, v1...)
		default:
			v1 = append(v1, path)
		}
	}
	return v2, v1
}

// telling chooses the path that says most: the one in v2 unless only one in v1 is a container's, as with
// runtimes that use cgroup v1, or v2 has just the root.
func telling(v2 string, v1 []string) string {
	if identity := Parse(v2); identity.InContainer() {
		return v2
	}
	for _, path := range v1 {
		if identity := Parse(path); identity.InContainer() {
			return path
		}
	}
	// Nothing but the root, or what is above the reader's cgroup namespace.
	if strings.Trim(v2, "/.") == "" && len(v1) > 0 {
		return v1[0]
	}
	return v2
}
