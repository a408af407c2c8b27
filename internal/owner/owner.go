package owner

import "strings"

// Owner is whom a record belongs to: one Resource. Owners are equal exactly if their Resources are. It is
// one of
//
//   - a container or pod: ContainerID, PodUID, Runtime, whichever are certain, and nothing else;
//   - a process outside containers: PID, Executable, ServiceName, whichever are certain;
//   - a system service of which the process is not known: ServiceName;
//   - the host itself, with all that is done in its network namespace: Netns, Host;
//   - unknown: Netns.
type Owner struct {
	ContainerID string
	PodUID      string
	Runtime     string // containerd, cri-o, docker or podman; empty: the path does not tell
	PID         uint32 // in the initial pid namespace
	Executable  string // base name of the executable
	ServiceName string // systemd unit without ".service", else the executable
	Netns       uint32 // inode number of the network namespace
	Host        bool   // that namespace is the host's own
}

// InContainer says whether the owner is a container or a pod.
func (o *Owner) InContainer() bool { return o.ContainerID != "" || o.PodUID != "" }

// Known says whether more is known than the network namespace.
func (o *Owner) Known() bool { return o.InContainer() || o.PID != 0 || o.ServiceName != "" }

func containerOwner(i Identity) Owner {
	return Owner{ContainerID: i.ContainerID, PodUID: i.PodUID, Runtime: i.Runtime}
}

func processOwner(tgid uint32, executable, unit string) Owner {
	service := strings.TrimSuffix(unit, ".service")
	if service == "" {
		service = executable
	}
	return Owner{PID: tgid, Executable: executable, ServiceName: service}
}
