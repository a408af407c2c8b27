package main

import (
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestAProgramNamesItsDynamicLinker(t *testing.T) {
	shell, err := exec.LookPath("sh")
	require.NoError(t, err)
	interpreter, err := readInterpreter(shell)
	require.NoError(t, err)
	assert.FileExists(t, interpreter)

	_, err = readInterpreter("emulator_test.go")
	assert.ErrorContains(t, err, "emulator_test.go")
}

func TestTheEmulatorRunsWithItsOwnLibrariesAndFirmware(t *testing.T) {
	root := t.TempDir()
	e := emulator{program: filepath.Join(root, "usr/bin/qemu-system-x86_64"), loader: "/bin/echo", root: root}
	require.NoError(t, exec.Command("mkdir", "-p", filepath.Join(root, "usr/lib/x86_64-linux-gnu/qemu")).Run())
	said, err := e.command(t.Context(), "-M", "pc").Output()
	require.NoError(t, err)
	libraries := filepath.Join(root, "usr/lib/x86_64-linux-gnu")
	assert.Equal(t, "--library-path "+libraries+" "+e.program+" -L "+root+"/usr/share/qemu -L "+root+
		"/usr/share/seabios -M pc\n", string(said))
	assert.Contains(t, e.command(t.Context()).Env, "QEMU_MODULE_DIR="+libraries+"/qemu")
}
