package owner

// ProcOptions say where Proc looks. The zero value is the machine itself.
type ProcOptions struct {
	// ProcRoot is where procfs is mounted; empty: /proc. In a container this may be the host's, such as
	// /host/proc.
	ProcRoot string
	// CgroupMount is where the cgroup v2 hierarchy is mounted; empty: found in /proc/self/mountinfo.
	CgroupMount string
}
