package owner

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTheMountThatShowsMostOfTheHierarchyComesFirst(t *testing.T) {
	for what, c := range map[string]struct {
		mountinfo string
		want      []mount
	}{
		"unified": {`30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate`,
			[]mount{{"/", "/sys/fs/cgroup"}}},
		"hybrid": {"31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n" +
			"32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n" +
			"41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
			[]mount{{"/", "/sys/fs/cgroup/unified"}}},
		"a container with the host's tree mounted beside its own": {
			"50 40 0:26 / /sys/fs/cgroup ro - cgroup2 cgroup ro\n" +
				"51 40 0:26 /../../.. /host/sys/fs/cgroup ro - cgroup2 cgroup ro\n",
			[]mount{{"/../../..", "/host/sys/fs/cgroup"}, {"/", "/sys/fs/cgroup"}}},
		"a part of the tree mounted first": {
			"50 40 0:26 /a/b /part rw - cgroup2 cgroup rw\n51 40 0:26 / /whole rw - cgroup2 cgroup rw\n",
			[]mount{{"/", "/whole"}, {"/a/b", "/part"}}},
		"a mount point with blanks": {`50 40 0:26 / /a\040b\134c rw - cgroup2 cgroup rw`, []mount{{"/", `/a b\c`}}},
		"cgroup v1":                 {"32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n", nil},
		"nonsense":                  {"cgroup2 - cgroup2 \n - cgroup2 x\n\n", nil},
	} {
		require.Equal(t, c.want, cgroup2Mounts(c.mountinfo), what)
		point, ok := CgroupMount(c.mountinfo)
		require.Equal(t, c.want != nil, ok, what)
		if ok {
			require.Equal(t, c.want[0].point, point, what)
		}
	}
}

func TestThePathThatTellsMostIsTaken(t *testing.T) {
	for what, c := range map[string]struct{ cgroup, want string }{
		"v2":                                   {"0::/system.slice/a.service\n", "/system.slice/a.service"},
		"v2 before what v1 says":               {"1:name=systemd:/docker/{B}\n0::/docker/{A}\n", "/docker/{A}"},
		"v1":                                   {"2:cpu,cpuacct:/\n1:name=systemd:/system.slice/a.service\n", "/system.slice/a.service"},
		"hybrid, a runtime of v1":              {"5:memory:/docker/{A}\n1:name=systemd:/docker/{A}\n0::/\n", "/docker/{A}"},
		"hybrid, where v2 has just the daemon": {"5:memory:/docker/{A}\n0::/system.slice/docker.service\n", "/docker/{A}"},
		"hybrid, only one controller":          {"5:memory:/docker/{A}\n1:name=systemd:/\n0::/\n", "/docker/{A}"},
		"hybrid, a service":                    {"5:memory:/x\n1:name=systemd:/system.slice/a.service\n0::/\n", "/system.slice/a.service"},
		"a colon in a name":                    {"0::/kubepods-pod{u}.slice:cri-containerd:{A}\n", "/kubepods-pod{u}.slice:cri-containerd:{A}"},
		"a cgroup that was removed":            {"0::/docker/{A} (deleted)\n", "/docker/{A}"},
		"the root everywhere":                  {"1:name=systemd:/\n0::/\n", "/"},
		"nonsense":                             {"a\nb:c\n::\n0::x\n", ""},
		"nothing":                              {"", ""},
	} {
		v2, v1 := parseCgroups(in(c.cgroup))
		require.Equal(t, in(c.want), telling(v2, v1), what)
	}
}
