//go:build linux && (amd64 || arm64)

package k8stest

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	adminToken = "admin"
	agentToken = "agent"
)

// controlPlane is a running etcd and kube-apiserver.
type controlPlane struct {
	t         *testing.T
	url       string
	client    *http.Client
	directory string
}

// object is any object of the API.
type object = map[string]any

func startControlPlane(t *testing.T) *controlPlane {
	t.Helper()
	etcd, apiserver := program(t, "server"), program(t, "kube-apiserver") // server: as go build names etcd
	c := &controlPlane{t: t, directory: t.TempDir()}
	etcdClient, etcdPeer := "http://"+freeAddress(t), "http://"+freeAddress(t)
	daemon(t, exec.Command(etcd, "--data-dir", c.file("etcd"), "--log-level", "warn", "--unsafe-no-fsync",
		"--listen-client-urls", etcdClient, "--advertise-client-urls", etcdClient,
		"--listen-peer-urls", etcdPeer, "--initial-advertise-peer-urls", etcdPeer, "--initial-cluster", "default="+etcdPeer))

	// The agent's token stands for the service account of the manifests, so that its role is what is tested.
	c.write("tokens", adminToken+",admin,1,system:masters\n"+
		agentToken+",system:serviceaccount:ebpfnet:agent,2,system:serviceaccounts\n")
	c.write("serviceaccounts.pem", newKey(t))
	address := freeAddress(t)
	host, port, err := net.SplitHostPort(address)
	require.NoError(t, err)
	daemon(t, exec.Command(apiserver, "--etcd-servers", etcdClient, "--bind-address", host, "--secure-port", port,
		"--cert-dir", c.directory, "--token-auth-file", c.file("tokens"), "--authorization-mode", "RBAC",
		"--service-account-issuer", "https://ebpfnet.test", "--service-account-signing-key-file", c.file("serviceaccounts.pem"),
		"--service-account-key-file", c.file("serviceaccounts.pem"), "--disable-admission-plugins", "ServiceAccount",
		"--endpoint-reconciler-type", "none", "--service-cluster-ip-range", "10.96.0.0/16", "--allow-privileged"))
	c.url = "https://" + address
	eventually(t, "the API server is ready", c.ready)
	return c
}

func (c *controlPlane) ready() bool {
	if c.client == nil {
		certificate, err := os.ReadFile(c.file("apiserver.crt"))
		if err != nil {
			return false
		}
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(certificate)
		c.client = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
	}
	status, _, err := c.send(http.MethodGet, "/readyz", nil)
	return err == nil && status == http.StatusOK
}

func (c *controlPlane) file(name string) string { return filepath.Join(c.directory, name) }

func (c *controlPlane) write(name, text string) {
	c.t.Helper()
	require.NoError(c.t, os.WriteFile(c.file(name), []byte(text), 0o600))
}

// send asks the API as its administrator.
func (c *controlPlane) send(method, path string, body object) (status int, answer []byte, err error) {
	return c.as(adminToken, method, path, body)
}

// as asks the API as whoever has this token. A PATCH is a merge patch.
func (c *controlPlane) as(token, method, path string, body object) (status int, answer []byte, err error) {
	text, err := json.Marshal(body)
	if err != nil {
		return 0, nil, err
	}
	request, err := http.NewRequest(method, c.url+path, bytes.NewReader(text))
	if err != nil {
		return 0, nil, err
	}
	request.Header.Set("Authorization", "Bearer "+token)
	request.Header.Set("Content-Type", "application/json")
	if method == http.MethodPatch {
		request.Header.Set("Content-Type", "application/merge-patch+json")
	}
	response, err := c.client.Do(request)
	if err != nil {
		return 0, nil, err
	}
	defer response.Body.Close()
	answer, err = io.ReadAll(response.Body)
	return response.StatusCode, answer, err
}

// do asks the API and wants it done.
func (c *controlPlane) do(method, path string, body object) object {
	c.t.Helper()
	status, answer, err := c.send(method, path, body)
	require.NoError(c.t, err)
	require.Lessf(c.t, status, 300, "%s %s: %s", method, path, answer)
	var got object
	require.NoError(c.t, json.Unmarshal(answer, &got))
	return got
}

// kubeconfig writes a file for whoever has this token.
func (c *controlPlane) kubeconfig(token string) (path string) {
	c.t.Helper()
	c.write("kubeconfig-"+token, fmt.Sprintf(`
apiVersion: v1
kind: Config
clusters: [{name: test, cluster: {server: %q, certificate-authority: %q}}]
users: [{name: user, user: {token: %q}}]
contexts: [{name: test, context: {cluster: test, user: user}}]
current-context: test
`, c.url, c.file("apiserver.crt"), token))
	return c.file("kubeconfig-" + token)
}

// kubectl runs it as the administrator and returns what it printed.
func (c *controlPlane) kubectl(args ...string) (output string, err error) {
	c.t.Helper()
	var out, complaint strings.Builder
	command := exec.Command(program(c.t, "kubectl"), append([]string{"--kubeconfig", c.kubeconfig(adminToken)}, args...)...)
	command.Env = append(os.Environ(), "HOME="+c.directory)
	command.Stdout, command.Stderr = &out, &complaint
	if err = command.Run(); err != nil {
		err = fmt.Errorf("kubectl %s: %w: %s", strings.Join(args, " "), err, complaint.String())
	}
	return out.String(), err
}

// applyExamples makes the objects of examples/kubernetes, for which the server refuses keys that do not exist.
func (c *controlPlane) applyExamples() {
	c.t.Helper()
	_, err := c.kubectl("apply", "--validate=strict", "-k", filepath.Join(repository(c.t), "examples/kubernetes"))
	require.NoError(c.t, err)
}

// freeAddress is a place on loopback where nobody listened a moment ago.
func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	return listener.Addr().String()
}

func newKey(t *testing.T) (text string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	der, err := x509.MarshalECPrivateKey(key)
	require.NoError(t, err)
	return string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}))
}
