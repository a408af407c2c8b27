//go:build linux && (amd64 || arm64)

package probe

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// checkPrivilege says which capabilities this process lacks, before the kernel says EPERM to something.
func checkPrivilege() error {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return nil // the kernel will say
	}
	effective, ok := effectiveCapabilities(string(status))
	if !ok || effective&(1<<unix.CAP_SYS_ADMIN) != 0 {
		return nil
	}
	var missing []string
	for _, needed := range []struct {
		bit  uint
		name string
	}{{unix.CAP_BPF, "CAP_BPF"}, {unix.CAP_PERFMON, "CAP_PERFMON"}} {
		if effective&(1<<needed.bit) == 0 {
			missing = append(missing, needed.name)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return fmt.Errorf("%w: this process has not %s; run it as root, or give it both CAP_BPF and CAP_PERFMON "+
		"(systemd: AmbientCapabilities=, Kubernetes: securityContext.capabilities.add)",
		ErrPrivilege, strings.Join(missing, " and "))
}

func effectiveCapabilities(status string) (uint64, bool) {
	for line := range strings.Lines(status) {
		if hex, found := strings.CutPrefix(line, "CapEff:"); found {
			value, err := strconv.ParseUint(strings.TrimSpace(hex), 16, 64)
			return value, err == nil
		}
	}
	return 0, false
}
