package owner

import (
	"strconv"
	"strings"
)

// mount is a line of /proc/PID/mountinfo (Documentation/filesystems/proc.rst, section 3.5).
type mount struct {
	root  string // what of the filesystem is mounted; "/.." in front: above the reader's cgroup namespace
	point string
}

// CgroupMount finds where the cgroup v2 hierarchy is mounted, the mount that shows most of it; mountinfo is the text
// of /proc/self/mountinfo. ok is false where there is none.
func CgroupMount(mountinfo string) (point string, ok bool) {
	mounts := cgroup2Mounts(mountinfo)
	if len(mounts) == 0 {
		return "", false
	}
	return mounts[0].point, true
}

// cgroup2Mounts gives the mounts of the cgroup v2 hierarchy, the one that shows most of it first.
func cgroup2Mounts(mountinfo string) []mount {
	var mounts []mount
	for line := range strings.Lines(mountinfo) {
		before, after, ok := strings.Cut(line, " - ")
		fields := strings.Fields(before)
		if !ok || len(fields) < 5 || !strings.HasPrefix(after, "cgroup2 ") {
			continue
		}
		m := mount{root: unescape(fields[3]), point: unescape(fields[4])}
		at := 0
		for at < len(mounts) && !m.wider(mounts[at]) {
			at++
		}
		mounts = append(mounts[:at], append([]mount{m}, mounts[at:]...)...)
	}
	return mounts
}

// wider says whether m shows more of the hierarchy than other.
func (m mount) wider(other mount) bool {
	up, otherUp := strings.Count(m.root, "/.."), strings.Count(other.root, "/..")
	if up != otherUp {
		return up > otherUp
	}
	return len(m.root) < len(other.root)
}

// unescape undoes the octal escapes of mountinfo (mangle_path in fs/seq_file.c).
func unescape(text string) string {
	if !strings.Contains(text, `\`) {
		return text
	}
	var out strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] == '\\' && i+3 < len(text) {
			if code, err := strconv.ParseUint(text[i+1:i+4], 8, 8); err == nil {
				out.WriteByte(byte(code))
				i += 3
				continue
			}
		}
		out.WriteByte(text[i])
	}
	return out.String()
}
