//go:build linux && (amd64 || arm64)

package k8stest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// programsVariable names the directory with etcd (as "server"), kube-apiserver and kubectl.
const programsVariable = "EBPFNET_KUBERNETES"

// childRole names the environment variable that makes the test binary play a program of a pod.
const childRole = "EBPFNET_TEST_CHILD"

func TestMain(m *testing.M) {
	if role := os.Getenv(childRole); role != "" {
		if err := play(role, os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// program finds one of the control plane.
func program(t *testing.T, name string) string {
	t.Helper()
	directory := os.Getenv(programsVariable)
	if directory == "" {
		t.Skip("needs a control plane: make test-k8s")
	}
	path := filepath.Join(directory, name)
	require.FileExists(t, path)
	return path
}

// newerThan tells whether this kernel is at least this one.
func newerThan(t *testing.T, major, minor int) bool {
	t.Helper()
	var name unix.Utsname
	require.NoError(t, unix.Uname(&name))
	var has, has2 int
	_, err := fmt.Sscanf(unix.ByteSliceToString(name.Release[:]), "%d.%d", &has, &has2)
	require.NoError(t, err)
	return has > major || has == major && has2 >= minor
}

// repository is where this module is.
func repository(t *testing.T) string {
	t.Helper()
	root, err := filepath.Abs("../..")
	require.NoError(t, err)
	return root
}

// patience only bounds how long a broken test takes to say so.
const patience = 2 * time.Minute

func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !condition(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			require.FailNow(t, "this never came true: "+what)
		}
	}
}

// daemon starts a program that runs until it is ended, at the latest by the end of the test. What it says is
// written to a file, and shown if the test fails.
func daemon(t *testing.T, command *exec.Cmd) (log string) {
	t.Helper()
	output, err := os.CreateTemp(t.TempDir(), filepath.Base(command.Path))
	require.NoError(t, err)
	command.Stdout, command.Stderr = output, output
	require.NoError(t, command.Start())
	t.Cleanup(func() {
		end(command, os.Kill)
		output.Close()
		if t.Failed() {
			text, _ := os.ReadFile(output.Name())
			t.Logf("%s said:\n%s", command.Path, text[max(0, len(text)-8000):])
		}
	})
	return output.Name()
}

// end ends a program and waits for it. Idempotent.
func end(command *exec.Cmd, signal os.Signal) {
	if command.ProcessState == nil {
		_ = command.Process.Signal(signal)
		_ = command.Wait()
	}
}
