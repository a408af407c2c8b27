//go:build linux && (amd64 || arm64)

package kerneltest

import (
	"os"
	"os/exec"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// The main thread keeps its namespace: threads that enter another end with their goroutine, which the main
// thread cannot, and /proc/self speaks of the main thread.
func init() { runtime.LockOSThread() }

func TestMain(m *testing.M) {
	if role := os.Getenv(childRole); role != "" {
		os.Exit(runChild(role))
	}
	goleak.VerifyTestMain(m)
}

// inLab: this is one of the lab's virtual machines.
func inLab() bool { return os.Getenv("LAB_KERNEL") != "" }

// scaled is how many of something to do: a virtual machine is slow, and `go test -short` is for the hurried.
func scaled(full int) int {
	if inLab() || testing.Short() {
		return full / 6
	}
	return full
}

// lacks skips a test that cannot run on this machine. The lab has all that a test needs: there it fails.
func lacks(t *testing.T, format string, args ...any) {
	t.Helper()
	if inLab() {
		t.Fatalf("the lab lacks what this needs (lab/vm's -program takes a program along): "+format, args...)
	}
	t.Skipf(format, args...)
}

// need skips the test where a program is not installed.
func need(t *testing.T, programs ...string) {
	t.Helper()
	for _, program := range programs {
		if _, err := exec.LookPath(program); err != nil {
			lacks(t, "%s is not installed", program)
		}
	}
}

// patience only bounds how long a broken test takes to say so.
const patience = 2 * time.Minute

func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !condition(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			require.FailNow(t, "this never came true: "+what)
		}
	}
}

// eventuallyEqual reads both sides anew each time, as a witness may still be moving.
func eventuallyEqual[T any](t *testing.T, what string, want, got func() T) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		w, g := want(), got()
		if assert.ObjectsAreEqual(w, g) {
			return
		}
		if time.Now().After(deadline) {
			require.Equal(t, w, g, what)
		}
	}
}
