//go:build linux && (amd64 || arm64)

package k8stest

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What the API server says of the manifests.
func TestTheManifestsAreAccepted(t *testing.T) {
	api := startControlPlane(t)
	api.applyExamples()

	t.Run("a key that does not exist is not", func(t *testing.T) {
		rendered, err := api.kubectl("kustomize", filepath.Join(repository(t), "examples/kubernetes"))
		require.NoError(t, err)
		wrong := strings.Replace(rendered, "readOnlyRootFilesystem", "readonlyRootFilesystem", 1)
		require.NotEqual(t, rendered, wrong)
		file := filepath.Join(t.TempDir(), "wrong.yaml")
		require.NoError(t, os.WriteFile(file, []byte(wrong), 0o600))
		_, err = api.kubectl("apply", "--dry-run=server", "-f", file)
		assert.ErrorContains(t, err, "readonlyRootFilesystem")
	})

	t.Run("the agent may read pods and nothing else", func(t *testing.T) {
		for request, want := range map[string]int{
			"GET /api/v1/pods":                                        http.StatusOK,
			"GET /api/v1/pods?watch=1&timeoutSeconds=1":               http.StatusOK,
			"GET /api/v1/secrets":                                     http.StatusForbidden,
			"GET /api/v1/nodes":                                       http.StatusForbidden,
			"GET /api/v1/namespaces/ebpfnet/configmaps":               http.StatusForbidden,
			"POST /api/v1/namespaces/ebpfnet/pods":                    http.StatusForbidden,
			"DELETE /api/v1/namespaces/ebpfnet/pods/any":              http.StatusForbidden,
			"PATCH /apis/apps/v1/namespaces/ebpfnet/daemonsets/agent": http.StatusForbidden,
		} {
			method, path, _ := strings.Cut(request, " ")
			status, answer, err := api.as(agentToken, method, path, nil)
			require.NoError(t, err)
			assert.Equal(t, want, status, "%s: %s", request, answer)
		}
	})

	t.Run("pods are admitted where they are, gateways under the strictest standard", func(t *testing.T) {
		api.do(http.MethodPost, "/api/v1/namespaces", object{"metadata": object{
			"name": "strict", "labels": object{"pod-security.kubernetes.io/enforce": "restricted"},
		}})
		for _, test := range []struct {
			kind, name, namespace string
			want                  int
		}{
			{"DaemonSet", "agent", "ebpfnet", http.StatusCreated},
			{"DaemonSet", "agent", "strict", http.StatusForbidden},
			{"Deployment", "gateway", "ebpfnet", http.StatusCreated},
			{"Deployment", "gateway", "strict", http.StatusCreated},
		} {
			spec, _ := podOf(api, test.kind, test.name)
			status, answer, err := api.send(http.MethodPost, "/api/v1/namespaces/"+test.namespace+"/pods",
				object{"metadata": object{"name": test.name}, "spec": spec})
			require.NoError(t, err)
			assert.Equal(t, test.want, status, "%+v: %s", test, answer)
		}
	})
}
