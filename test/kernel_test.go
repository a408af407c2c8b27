//go:build linux && (amd64 || arm64)

package kerneltest

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

const arm64 = runtime.GOARCH == "arm64"

// olderThan tells what this kernel cannot know yet, where the receiver then has to say less.
func olderThan(t *testing.T, major, minor int) bool {
	t.Helper()
	var name unix.Utsname
	require.NoError(t, unix.Uname(&name))
	var has, has2 int
	_, err := fmt.Sscanf(unix.ByteSliceToString(name.Release[:]), "%d.%d", &has, &has2)
	require.NoError(t, err)
	return has < major || has == major && has2 < minor
}
