package owner

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	idA  = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	idB  = "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210"
	uidA = "3e5a1c52-8f1b-4b8e-9f0a-0a1b2c3d4e5f"
	uidB = "11111111-2222-3333-4444-555555555555"
	hash = "8f6a44fc62e8cb075753c843896568ca"
)

// in puts ids into a path: A and B container ids, U and V pod uids, u and v the same with underscores, H a
// configuration hash.
func in(path string) string {
	return strings.NewReplacer("{A}", idA, "{B}", idB, "{U}", uidA, "{V}", uidB,
		"{u}", strings.ReplaceAll(uidA, "-", "_"), "{v}", strings.ReplaceAll(uidB, "-", "_"), "{H}", hash).Replace(path)
}

func TestAPathNamesItsContainerAndPod(t *testing.T) {
	for _, c := range []struct {
		what, path string
		want       Identity
	}{
		{"containerd, systemd driver, burstable",
			"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{u}.slice/cri-containerd-{A}.scope",
			Identity{idA, uidA, "containerd", ""}},
		{"containerd, systemd driver, guaranteed",
			"/kubepods.slice/kubepods-pod{u}.slice/cri-containerd-{A}.scope", Identity{idA, uidA, "containerd", ""}},
		{"containerd, cgroupfs driver, best effort",
			"/kubepods/besteffort/pod{U}/{A}", Identity{idA, uidA, "", ""}},
		{"containerd, cgroupfs driver, guaranteed",
			"/kubepods/pod{U}/{A}", Identity{idA, uidA, "", ""}},
		{"a cgroup that the container made for itself",
			"/kubepods/pod{U}/{A}/system.slice/nginx.service", Identity{idA, uidA, "", ""}},
		{"the kubelet with systemd's driver, containerd without",
			"/system.slice/containerd.service/kubepods-besteffort-pod{u}.slice:cri-containerd:{A}",
			Identity{idA, uidA, "containerd", ""}},
		{"CRI-O, systemd driver",
			"/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{u}.slice/crio-{A}.scope",
			Identity{idA, uidA, "cri-o", ""}},
		{"CRI-O with a cgroup below its scope",
			"/kubepods.slice/kubepods-pod{u}.slice/crio-{A}.scope/container", Identity{idA, uidA, "cri-o", ""}},
		{"CRI-O, cgroupfs driver", "/kubepods/burstable/pod{U}/crio-{A}", Identity{idA, uidA, "cri-o", ""}},
		{"Docker by cri-dockerd, systemd driver",
			"/kubepods.slice/kubepods-pod{u}.slice/docker-{A}.scope", Identity{idA, uidA, "docker", ""}},
		{"a pod, outside its containers", "/kubepods/burstable/pod{U}", Identity{"", uidA, "", ""}},
		{"a Kata sandbox, which the API does not know", "/kubepods/pod{U}/kata_{A}", Identity{"", uidA, "", ""}},
		{"Docker, systemd driver", "/system.slice/docker-{A}.scope", Identity{idA, "", "docker", ""}},
		{"Docker, cgroupfs driver", "/docker/{A}", Identity{idA, "", "docker", ""}},
		{"Docker, rootless",
			"/user.slice/user-1000.slice/user@1000.service/user.slice/docker-{A}.scope", Identity{idA, "", "docker", ""}},
		{"Docker in Docker", "/docker/{A}/docker/{B}", Identity{idB, "", "docker", ""}},
		{"Docker in a pod is the pod's container", "/kubepods/pod{U}/{A}/docker/{B}", Identity{idA, uidA, "", ""}},
		{"an ECS task", "/ecs/0f9de17a6465404e8b2b2356dc13c2f8/{A}", Identity{idA, "", "docker", ""}},
		{"nerdctl", "/system.slice/nerdctl-{A}.scope", Identity{idA, "", "containerd", ""}},
		{"Podman", "/machine.slice/libpod-{A}.scope", Identity{idA, "", "podman", ""}},
		{"Podman with crun", "/machine.slice/libpod-{A}.scope/container", Identity{idA, "", "podman", ""}},
		{"Podman in a Podman pod",
			"/machine.slice/machine-libpod_pod_{B}.slice/libpod-{A}.scope", Identity{idA, "", "podman", ""}},
		{"Podman, rootless",
			"/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{A}.scope", Identity{idA, "", "podman", ""}},
		{"Podman, cgroupfs driver", "/libpod_parent/libpod-{A}", Identity{idA, "", "podman", ""}},
		{"Podman in a systemd service", "/system.slice/web.service/libpod-payload-{A}", Identity{idA, "", "podman", ""}},
		{"kind, systemd driver",
			"/system.slice/docker-{B}.scope/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/" +
				"kubelet-kubepods-burstable-pod{u}.slice/cri-containerd-{A}.scope", Identity{idA, uidA, "containerd", ""}},
		{"kind, cgroupfs driver", "/docker/{B}/kubelet/kubepods/besteffort/pod{U}/{A}", Identity{idA, uidA, "", ""}},
		{"kind in a pod: the innermost pod",
			"/kubepods/pod{V}/{B}/kubelet/kubepods/burstable/pod{U}/{A}", Identity{idA, uidA, "", ""}},
		{"a pod in kind, outside its containers", "/docker/{B}/kubepods/pod{U}", Identity{"", uidA, "", ""}},
		{"a daemon of a kind node", "/docker/{B}/system.slice/kubelet.service", Identity{idB, "", "docker", ""}},
		{"minikube's Docker driver",
			"/system.slice/docker-{B}.scope/kubepods.slice/kubepods-pod{u}.slice/docker-{A}.scope",
			Identity{idA, uidA, "docker", ""}},
		{"a static pod: its hash is not the API's uid",
			"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{H}.slice/cri-containerd-{A}.scope",
			Identity{idA, "", "containerd", ""}},
		{"a static pod, cgroupfs driver", "/kubepods/burstable/pod{H}/{A}", Identity{idA, "", "", ""}},
		{"a static pod in kind is not its node",
			"/docker/{B}/kubelet/kubepods/burstable/pod{H}/{A}", Identity{idA, "", "", ""}},
		{"seen from a cgroup namespace two levels down", "/../../pod{U}/{A}", Identity{idA, uidA, "", ""}},
		{"seen from a cgroup namespace, another level of service",
			"/../../../burstable/pod{U}/{A}", Identity{idA, uidA, "", ""}},
		{"seen from a cgroup namespace, systemd driver",
			"/../../kubepods-pod{u}.slice/cri-containerd-{A}.scope", Identity{idA, uidA, "containerd", ""}},
		{"a cgroup root of the user's own", "/custom/kubepods/pod{U}/{A}", Identity{idA, uidA, "", ""}},
	} {
		require.Equal(t, c.want, Parse(in(c.path)), c.what)
	}
}

func TestWhatOnlyLooksLikeAnIDIsNone(t *testing.T) {
	for what, path := range map[string]string{
		"conmon of CRI-O":                    "/kubepods.slice/kubepods-pod{u}.slice/crio-conmon-{A}.scope",
		"conmon of CRI-O, cgroupfs":          "/kubepods/pod{U}/crio-conmon-{A}",
		"conmon of Podman":                   "/machine.slice/libpod-conmon-{A}.scope",
		"conmon in a service":                "/libpod_parent/conmon",
		"the root":                           "/",
		"nothing":                            "",
		"slashes":                            "///",
		"an id too short":                    "/docker/" + idA[:63],
		"an id too long":                     "/docker/{A}0",
		"an id in capitals":                  "/docker/" + strings.ToUpper(idA),
		"an id with a letter too far":        "/docker/g" + idA[1:],
		"an id in a place of its own":        "/{A}",
		"an id below something unknown":      "/process_api/{A}",
		"an id relative to we know not what": "/../{A}",
		"a hash in a place of its own":       "/process_api/{H}",
		"a scope of an unknown prefix":       "/system.slice/run-{A}.scope",
		"a docker service":                   "/user.slice/docker-{A}.service",
		"a name after the scope":             "/system.slice/docker-{A}.scope.old",
		"a docker name without scope":        "/system.slice/docker-{A}",
		"a prefix of a prefix":               "/system.slice/my-docker-{A}.scope",
		"a bare id as scope":                 "/docker/{A}.scope",
		"a pod without kubepods":             "/my/pod{U}/{A}",
		"a pod slice without kubepods":       "/my.slice/my-pod{u}.slice",
		"a pod slice of another kubepods":    "/x.slice/xkubepods-pod{u}.slice",
		"a pod with a uid cut short":         "/kubepods/pod" + uidA[:35],
		"a pod with mixed separators":        "/kubepods.slice/kubepods-pod3e5a1c52_8f1b-4b8e_9f0a_0a1b2c3d4e5f.slice",
		"dashes in a slice":                  "/kubepods.slice/kubepods-pod{U}.slice",
		"underscores without systemd":        "/kubepods/pod{u}",
		"a pod name with more":               "/kubepods/pod{U}x",
		"only kubepods":                      "/kubepods.slice/kubepods-burstable.slice",
		"colons without a slice":             "/a:docker:{A}",
		"colons of an unknown runtime":       "/system.slice:runc:{A}",
		"colons without an id":               "/system.slice:docker:",
		"a Podman pod":                       "/machine.slice/machine-libpod_pod_{A}.slice",
	} {
		require.Equal(t, Identity{}, Parse(in(path)), what)
	}
}

func TestAMonitorInANodeIsOfTheNode(t *testing.T) {
	require.Equal(t, Identity{ContainerID: idB, Runtime: "docker"},
		Parse(in("/docker/{B}/kubepods.slice/kubepods-pod{u}.slice/crio-conmon-{A}.scope")))
}

func TestAPathOutsideContainersNamesItsSystemService(t *testing.T) {
	for path, want := range map[string]string{
		"/system.slice/nginx.service":                                            "nginx.service",
		"/system.slice/system-postgresql.slice/postgresql@15-main.service":       "postgresql@15-main.service",
		"/system.slice/docker.service":                                           "docker.service",
		"/system.slice/docker.service/own/cgroup":                                "docker.service",
		"/company.slice/api.service":                                             "api.service",
		"/api.service":                                                           "api.service",
		"/system.slice/_cpu.service":                                             "cpu.service",
		"/../../system.slice/ssh.service":                                        "ssh.service",
		"/init.scope":                                                            "",
		"/system.slice/.service":                                                 "",
		"/user.slice/user-1000.slice/session-3.scope":                            "",
		"/user.slice/user-1000.slice/user@1000.service/app.slice/editor.service": "",
		"/user.slice/user-1000.slice/user@1000.service/init.scope":               "",
		"/system.slice/run-r1234.scope":                                          "",
		"/lxc.payload.web/system.slice/nginx.service":                            "",
		"/system.slice":                                                          "",
	} {
		require.Equal(t, Identity{Unit: want}, Parse(path), path)
	}
}

func FuzzParse(f *testing.F) {
	for _, path := range []string{"/kubepods/burstable/pod{U}/{A}", "/kubepods.slice/kubepods-pod{u}.slice/crio-{A}.scope",
		"/a.slice:cri-containerd:{A}", "/system.slice/nginx.service", "/../..", "-pod.slice", "pod", "/docker-.scope"} {
		f.Add(in(path))
	}
	f.Fuzz(func(t *testing.T, path string) {
		got := Parse(path)
		if got.ContainerID != "" {
			require.True(t, isContainerID(got.ContainerID))
			require.Contains(t, path, got.ContainerID)
		}
		if got.PodUID != "" {
			require.True(t, isUID(got.PodUID, '-'))
			require.Contains(t, strings.ReplaceAll(path, "_", "-"), got.PodUID)
		}
		require.False(t, got.InContainer() && got.Unit != "")
	})
}
