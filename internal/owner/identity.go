package owner

import "strings"

// Identity is what the path of a cgroup says of whoever is in it. Empty: it does not say.
type Identity struct {
	// ContainerID is the container's id as the runtime and the Kubernetes API have it: 64 hex digits,
	// without "containerd://". In a pod it is the container of the pod, also for what that container
	// starts in containers of its own (Docker in Docker); in nested pods (kind, minikube) it belongs to the
	// innermost pod.
	ContainerID string
	// PodUID is the uid of the innermost pod as the API has it: 8-4-4-4-12 hex digits with dashes. Absent
	// for static pods.
	PodUID string
	// Runtime is the container runtime where the path names it: containerd, cri-o, docker or podman.
	Runtime string
	// Unit is the systemd system service, such as "nginx.service"; only outside containers and pods.
	// Scopes (init.scope, sessions) and services of a user's own systemd are none.
	Unit string
}

// InContainer says whether the path is that of a container or a pod.
func (i *Identity) InContainer() bool { return i.ContainerID != "" || i.PodUID != "" }

// Parse reads the path of a cgroup below the mount of its hierarchy, of v2 or of any v1 hierarchy, as in
// /proc/PID/cgroup. A path that starts with "/.." is relative to a cgroup namespace: of what is above it
// nothing is assumed.
func Parse(path string) Identity {
	var (
		found, outer      Identity // outer: of the container that the innermost pod is in
		inPod, podAbove   bool     // below a pod; directly below it
		parent, grandsire string
	)
	for rest := strings.Trim(path, "/"); rest != ""; {
		var name string
		name, rest, _ = strings.Cut(rest, "/")
		if isMonitor(name) {
			if inPod {
				return outer
			}
			return found
		}
		uid, isPod := podOf(name, parent, grandsire)
		if isPod {
			outer, found, inPod = found, Identity{PodUID: uid}, true
		}
		id, runtime, ok := containerOf(name, parent, grandsire, podAbove)
		if ok && (!inPod || found.ContainerID == "") {
			found.ContainerID, found.Runtime = id, runtime
		}
		grandsire, parent, podAbove = parent, name, isPod
	}
	if !found.InContainer() && !inPod {
		found.Unit = systemService(path)
	}
	return found
}

// isMonitor knows the cgroups of conmon, and with it what Podman keeps beside a container's payload.
func isMonitor(name string) bool {
	return strings.HasPrefix(name, "crio-conmon-") || strings.HasPrefix(name, "libpod-conmon-")
}

// podOf says whether a cgroup is a pod's. uid is empty where the name does not hold the API's uid.
//
// The kubelet (pkg/kubelet/cm) names pods "kubepods[/<qos>]/pod<uid>" with the cgroupfs driver and
// "kubepods[-<qos>]-pod<uid, underscores for dashes>.slice" with systemd's, the latter preceded by the
// slices of a cgroup root of its own, such as kind's "kubelet-".
func podOf(name, parent, grandsire string) (uid string, ok bool) {
	if text, found := strings.CutPrefix(name, "pod"); found {
		if isQoS(parent) {
			parent = grandsire
		}
		if parent != "kubepods" && parent != ".." {
			return "", false
		}
		if isUID(text, '-') {
			return text, true
		}
		return "", isConfigHash(text)
	}
	// Where systemd's driver meets a runtime that does not know it, "<slice>:<prefix>:<id>" is one name.
	slice, _, _ := strings.Cut(name, ":")
	text, found := strings.CutSuffix(slice, ".slice")
	if !found {
		return "", false
	}
	at := strings.LastIndex(text, "-pod")
	if at < 0 {
		return "", false
	}
	above, text := text[:at], text[at+len("-pod"):]
	if qos := strings.LastIndexByte(above, '-'); qos >= 0 && isQoS(above[qos+1:]) {
		above = above[:qos]
	}
	if above != "kubepods" && !strings.HasSuffix(above, "-kubepods") {
		return "", false
	}
	if isUID(text, '_') {
		return strings.ReplaceAll(text, "_", "-"), true
	}
	return "", isConfigHash(text)
}

func isQoS(name string) bool { return name == "besteffort" || name == "burstable" }

// containerOf says whether a cgroup is a container's own.
func containerOf(name, parent, grandsire string, podAbove bool) (id, runtime string, ok bool) {
	if slice, rest, found := strings.Cut(name, ":"); found {
		prefix, id, _ := strings.Cut(rest, ":")
		if !strings.HasSuffix(slice, ".slice") || !isContainerID(id) {
			return "", "", false
		}
		runtime, ok = runtimeOf(prefix)
		return id, runtime, ok
	}
	text, scope := strings.CutSuffix(name, ".scope")
	if isContainerID(text) {
		if scope {
			return "", "", false
		}
		runtime, ok = parentOf(parent, grandsire)
		return text, runtime, ok || podAbove
	}
	at := strings.LastIndexByte(text, '-')
	if at < 0 || !isContainerID(text[at+1:]) {
		return "", "", false
	}
	prefix, id := text[:at], text[at+1:]
	runtime, ok = runtimeOf(prefix)
	// Without systemd only CRI-O and Podman keep their prefix.
	if !scope && runtime != "cri-o" && runtime != "podman" {
		return "", "", false
	}
	return id, runtime, ok
}

// runtimeOf knows the prefixes that runtimes put before the id.
func runtimeOf(prefix string) (runtime string, ok bool) {
	switch prefix {
	case "cri-containerd", "nerdctl":
		return "containerd", true
	case "crio":
		return "cri-o", true
	case "docker":
		return "docker", true
	case "libpod", "libpod-payload":
		return "podman", true
	}
	return "", false
}

// parentOf knows the places, besides pods, where a bare id is a container's: below Docker's own cgroup,
// below an ECS task and below the containerd namespace of Kubernetes. In a pod containerd and Docker look
// the same.
func parentOf(parent, grandsire string) (runtime string, ok bool) {
	switch {
	case parent == "docker", grandsire == "ecs":
		return "docker", true
	case parent == "k8s.io":
		return "containerd", true
	}
	return "", false
}

func isContainerID(text string) bool { return len(text) == 64 && isHex(text) }

func isConfigHash(text string) bool { return len(text) == 32 && isHex(text) }

func isUID(text string, separator byte) bool {
	if len(text) != 36 {
		return false
	}
	for _, at := range []int{8, 13, 18, 23} {
		if text[at] != separator {
			return false
		}
	}
	return isHex(text[:8]) && isHex(text[9:13]) && isHex(text[14:18]) && isHex(text[19:23]) && isHex(text[24:])
}

// isHex wants lower case: ids are never written otherwise.
func isHex(text string) bool {
	for i := range len(text) {
		if c := text[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// systemService is the service below which the host's systemd keeps the cgroup: the first name below
// slices. What a service makes below its own cgroup is its business, and below user.slice are the
// sessions and services of users.
func systemService(path string) string {
	for rest := strings.Trim(path, "/"); rest != ""; {
		var name string
		name, rest, _ = strings.Cut(rest, "/")
		// systemd puts "_" before names that the kernel could mistake for its own files (cg_escape).
		name = strings.TrimPrefix(name, "_")
		switch {
		case name == "user.slice":
			return ""
		case strings.HasSuffix(name, ".slice"), name == "..":
			continue
		case strings.HasSuffix(name, ".service") && name != ".service":
			return name
		}
		return ""
	}
	return ""
}
