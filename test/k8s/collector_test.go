//go:build linux && (amd64 || arm64)

package k8stest

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// deployment is the example's agents and its two gateways, with what the API has of them.
type deployment struct {
	agents   []*agent
	gateways []*exec.Cmd
	outputs  []string // a directory for each gateway
}

// agent is that of a node.
type agent struct {
	t       *testing.T
	command *exec.Cmd
	log     string // a file
	address string
}

// agentOverride: how the agent finds the API and the gateways, and that it sees the test's namespaces alone.
const agentOverride = `
receivers:
  ebpf_net: {collection_interval: 1s, scope: {network_namespaces: [%s]}}
processors:
  k8s_attributes: {auth_type: kubeConfig}
exporters:
  load_balancing/traces: {resolver: &gateways {dns: null, static: {hostnames: [%s]}}}
  load_balancing/metrics: {resolver: *gateways}
`

// gatewayOverride writes files instead of sending.
const gatewayOverride = `
exporters:
  file/metrics: {path: %[1]s/metrics}
  file/logs: {path: %[1]s/logs}
  file/traces: {path: %[1]s/traces}
service:
  pipelines:
    metrics: {exporters: [file/metrics]}
    logs: {exporters: [file/logs]}
    traces: {exporters: [file/traces]}
`

// deploy starts gateways, and an agent for each node.
func deploy(t *testing.T, api *controlPlane, nodes []*node) *deployment {
	t.Helper()
	address := func(i int) string { return fmt.Sprintf("127.77.%d.%d", os.Getpid()%256, i+1) }
	d := &deployment{}
	var hostnames []string
	for i := range 2 {
		c := &container{
			t: t, api: api, writable: []string{t.TempDir()}, fields: map[string]string{"status.podIP": address(i)},
		}
		c.pod, c.spec = podOf(api, "Deployment", "gateway")
		c.override = fmt.Sprintf(gatewayOverride, c.writable[0])
		gateway := c.command()
		daemon(t, gateway)
		d.gateways = append(d.gateways, gateway)
		d.outputs = append(d.outputs, c.writable[0])
		hostnames = append(hostnames, address(i)+":4317")
		awaitHealth(t, address(i))
	}
	for i, n := range nodes {
		a := &agent{t: t, address: address(len(hostnames) + i)}
		c := &container{
			t: t, api: api, readable: []string{api.directory},
			fields: map[string]string{"status.podIP": a.address, "spec.nodeName": n.name},
			env:    []string{"KUBECONFIG=" + api.kubeconfig(agentToken)},
		}
		c.pod, c.spec = podOf(api, "DaemonSet", "agent")
		c.override = fmt.Sprintf(agentOverride, strings.Join(inodes(t, n.namespaces), ","), strings.Join(hostnames, ","))
		a.command = c.command()
		a.log = daemon(t, a.command)
		d.agents = append(d.agents, a)
		awaitHealth(t, a.address)
	}
	return d
}

// inodes are the numbers of network namespaces, whose names a container does not see.
func inodes(t *testing.T, namespaces []string) (numbers []string) {
	t.Helper()
	for _, name := range namespaces {
		var stat syscall.Stat_t
		require.NoError(t, syscall.Stat("/var/run/netns/"+name, &stat))
		numbers = append(numbers, strconv.FormatUint(stat.Ino, 10))
	}
	return numbers
}

func awaitHealth(t *testing.T, address string) {
	t.Helper()
	eventually(t, "the collector at "+address+" is healthy", func() bool {
		response, err := http.Get("http://" + address + ":13133/")
		if err != nil {
			return false
		}
		defer response.Body.Close()
		return response.StatusCode == http.StatusOK
	})
}

// counted is one of the agent's metrics about itself, over all its attributes.
func (a *agent) counted(name string) (sum float64) {
	a.t.Helper()
	response, err := http.Get("http://" + a.address + ":8888/metrics")
	require.NoError(a.t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	require.NoError(a.t, err)
	line := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(name) + `(?:\{[^}]*\})? (\S+)$`)
	for _, found := range line.FindAllSubmatch(text, -1) {
		value, err := strconv.ParseFloat(string(found[1]), 64)
		require.NoError(a.t, err)
		sum += value
	}
	return sum
}

// Each pipeline of the agent has a processor that watches, and counts what it hears.
const (
	pipelines   = 3
	podsAdded   = "otelcol_k8s_watcher_pod_added"
	podsUpdated = "otelcol_k8s_watcher_pod_updated"
)

// hears makes a change in the API and returns when the agent has heard of as many pods that are new, and of as many
// that changed: a pod and its containers cannot be named before.
func (a *agent) hears(pods int, change func()) {
	a.t.Helper()
	want := float64(pipelines * pods)
	added, updated := a.counted(podsAdded), a.counted(podsUpdated)
	change()
	eventually(a.t, "the agent heard of the change", func() bool {
		return a.counted(podsAdded) >= added+want && a.counted(podsUpdated) >= updated+want
	})
}
