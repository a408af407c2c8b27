//go:build linux && (amd64 || arm64)

package k8stest

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// container is one of a pod of the examples, run by runc as the kubelet and containerd would have it run: from an
// image of the collector alone, with the security context of its manifest and containerd's seccomp profile. Only
// the network is the machine's own, as the API server and the gateways are there.
type container struct {
	t         *testing.T
	api       *controlPlane
	pod, spec object
	fields    map[string]string // what the downward API says, by field path
	env       []string
	override  string   // configuration that is merged over the manifest's
	writable  []string // directories of the test, at the same place inside
	readable  []string
}

// command makes the bundle and the command that runs it.
func (c *container) command() *exec.Cmd {
	c.t.Helper()
	return contain(c.t, c.fill)
}

// contain runs the collector's image by runc, as fill says in the specification of an OCI container. Its args are
// what follows the image's entry point.
func contain(t *testing.T, fill func(spec object)) *exec.Cmd {
	t.Helper()
	runc, err := exec.LookPath("runc")
	require.NoError(t, err)
	bundle := t.TempDir()
	root := filepath.Join(bundle, "rootfs")
	require.NoError(t, os.Mkdir(root, 0o755))
	entryPoint := image(t, root)
	run(t, "", runc, "spec", "--bundle", bundle)
	file := filepath.Join(bundle, "config.json")
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	var spec object
	require.NoError(t, json.Unmarshal(text, &spec))
	process := spec["process"].(object)
	process["terminal"], process["noNewPrivileges"] = false, true
	delete(process, "rlimits")
	spec["root"] = object{"path": "rootfs", "readonly": true}
	fill(spec)
	process["args"] = append(entryPoint, process["args"].([]string)...)
	text, err = json.Marshal(spec)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file, text, 0o600))
	state := t.TempDir()
	name := fmt.Sprintf("ebpfnet-%d-%s", os.Getpid(), rand.Text())
	t.Cleanup(func() { _ = exec.Command(runc, "--root", state, "delete", "--force", name).Run() })
	return exec.Command(runc, "--root", state, "run", "--bundle", bundle, name)
}

// image makes what the last stage of the Dockerfile makes, of what its first stage would find here, and returns its
// entry point.
func image(t *testing.T, root string) (entryPoint []string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(repository(t), "Dockerfile"))
	require.NoError(t, err)
	_, last, found := strings.Cut(string(text), "\nFROM scratch\n")
	require.True(t, found)
	for line := range strings.Lines(last) {
		instruction, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch instruction {
		case "COPY":
			fields := strings.Fields(rest)
			require.Len(t, fields, 3)
			require.Equal(t, "--from=build", fields[0])
			from, to := fields[1], filepath.Join(root, fields[2])
			if below, ok := strings.CutPrefix(from, "/src/"); ok {
				from = filepath.Join(repository(t), below)
			}
			if strings.HasSuffix(fields[2], "/") {
				to = filepath.Join(to, filepath.Base(from))
			}
			require.NoError(t, os.MkdirAll(filepath.Dir(to), 0o755))
			content, err := os.ReadFile(from)
			require.NoError(t, err, "make build; the certificates are those of this machine")
			require.NoError(t, os.WriteFile(to, content, 0o755))
		case "ENTRYPOINT":
			require.NoError(t, json.Unmarshal([]byte(rest), &entryPoint))
		}
	}
	return entryPoint
}

// fill changes the specification of a container by what the manifest says.
func (c *container) fill(spec object) {
	c.t.Helper()
	context := c.spec["securityContext"].(object)
	require.NotEqual(c.t, true, context["privileged"])
	require.Equal(c.t, false, context["allowPrivilegeEscalation"])
	require.Equal(c.t, true, context["readOnlyRootFilesystem"])
	set := context["capabilities"].(object)
	require.Equal(c.t, []any{"ALL"}, set["drop"])
	capabilities := []string{}
	added, _ := set["add"].([]any)
	for _, name := range added {
		capabilities = append(capabilities, "CAP_"+name.(string))
	}
	user, ok := context["runAsUser"]
	if !ok {
		user = c.pod["securityContext"].(object)["runAsUser"]
	}

	process := spec["process"].(object)
	process["user"] = object{"uid": user, "gid": user}
	process["capabilities"] = object{"bounding": capabilities, "effective": capabilities, "permitted": capabilities}
	if user != float64(0) { // only root keeps them
		process["capabilities"] = object{"bounding": capabilities}
	}
	args := []string{}
	for _, arg := range c.spec["args"].([]any) {
		args = append(args, arg.(string))
	}
	process["args"] = append(args, "--config=/etc/otelcol/override.yaml")
	process["env"] = c.environment()
	spec["mounts"] = append(spec["mounts"].([]any), c.mounts()...)

	linux := spec["linux"].(object)
	namespaces := []object{{"type": "ipc"}, {"type": "uts"}, {"type": "mount"}, {"type": "cgroup"}}
	if c.pod["hostPID"] != true {
		namespaces = append(namespaces, object{"type": "pid"})
	}
	linux["namespaces"] = namespaces
	require.Equal(c.t, "RuntimeDefault", c.pod["securityContext"].(object)["seccompProfile"].(object)["type"])
	profile, err := exec.Command(program(c.t, "seccomp"), capabilities...).Output()
	require.NoError(c.t, err)
	linux["seccomp"] = json.RawMessage(profile)
}

func (c *container) environment() (env []string) {
	for _, each := range c.spec["env"].([]any) {
		variable := each.(object)
		value, _ := variable["value"].(string)
		if from, ok := variable["valueFrom"].(object); ok {
			value = c.fields[from["fieldRef"].(object)["fieldPath"].(string)]
		}
		env = append(env, variable["name"].(string)+"="+value)
	}
	return append(env, c.env...)
}

// mounts are the manifest's volumes and the test's own directories.
func (c *container) mounts() (mounts []any) {
	c.t.Helper()
	bind := func(source, target, mode string) {
		mounts = append(mounts, object{
			"source": source, "destination": target, "type": "bind", "options": []string{"rbind", mode},
		})
	}
	volumes := map[string]object{}
	for _, volume := range c.pod["volumes"].([]any) {
		volumes[volume.(object)["name"].(string)] = volume.(object)
	}
	for _, each := range c.spec["volumeMounts"].([]any) {
		mount := each.(object)
		require.Equal(c.t, true, mount["readOnly"])
		volume := volumes[mount["name"].(string)]
		source, target := "", mount["mountPath"].(string)
		if path, ok := volume["hostPath"].(object); ok {
			source = path["path"].(string)
		} else {
			source = c.configuration(volume["configMap"].(object)["name"].(string))
		}
		bind(source, target, "ro")
	}
	for _, directory := range c.writable {
		require.NoError(c.t, os.Chmod(directory, 0o777))
		bind(directory, directory, "rw")
	}
	for _, directory := range c.readable {
		bind(directory, directory, "ro")
	}
	return mounts
}

// configuration is the files of a ConfigMap and, beside them, the test's.
func (c *container) configuration(name string) (directory string) {
	c.t.Helper()
	directory = c.t.TempDir()
	made := c.api.do("GET", "/api/v1/namespaces/ebpfnet/configmaps/"+name, nil)
	for name, text := range made["data"].(object) {
		require.NoError(c.t, os.WriteFile(filepath.Join(directory, name), []byte(text.(string)), 0o644))
	}
	require.NoError(c.t, os.WriteFile(filepath.Join(directory, "override.yaml"), []byte(c.override), 0o644))
	return directory
}

// podOf gives the specifications of the pods of a DaemonSet or Deployment of the examples, and of their container.
func podOf(api *controlPlane, kind, name string) (pod, spec object) {
	made := api.do("GET", "/apis/apps/v1/namespaces/ebpfnet/"+strings.ToLower(kind)+"s/"+name, nil)
	pod = made["spec"].(object)["template"].(object)["spec"].(object)
	return pod, pod["containers"].([]any)[0].(object)
}
