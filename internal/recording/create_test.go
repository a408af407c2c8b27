package recording

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestARecordingIsItsOwnersAlone(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no file modes")
	}
	path := filepath.Join(t.TempDir(), "recording")
	file, err := Create(path)
	require.NoError(t, err)
	require.NoError(t, file.Close())
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
}

func TestAnOlderRecordingIsReplacedByANewFile(t *testing.T) {
	path := write(t, recordedScript(t))
	require.NoError(t, os.Chmod(path, 0o666))
	old, err := os.Open(path)
	require.NoError(t, err)
	defer old.Close()

	file, err := Create(path)
	require.NoError(t, err)
	defer file.Close()
	before, err := old.Stat()
	require.NoError(t, err)
	after, err := file.Stat()
	require.NoError(t, err)
	require.False(t, os.SameFile(before, after), "whoever had the old file open does not see the new one")
	require.Equal(t, os.FileMode(0o600), after.Mode().Perm())
	require.Zero(t, after.Size())
}

func TestCreateReplacesAnEmptyFile(t *testing.T) {
	file, err := Create(write(t, nil))
	require.NoError(t, err)
	require.NoError(t, file.Close())
}

func TestCreateLeavesAloneWhatIsNoRecording(t *testing.T) {
	dir := t.TempDir()
	victim := filepath.Join(dir, "victim")
	require.NoError(t, os.WriteFile(victim, []byte("precious"), 0o644))
	recording := write(t, recordedScript(t))
	for name, target := range map[string]string{"link": victim, "link to a recording": recording, "dangling": filepath.Join(dir, "none")} {
		require.NoError(t, os.Symlink(target, filepath.Join(dir, name)))
	}
	for _, name := range []string{"victim", "link", "link to a recording", "dangling", "."} {
		path := filepath.Join(dir, name)
		_, err := Create(path)
		require.ErrorContains(t, err, path)
		require.ErrorContains(t, err, "choose another path")
		t.Log(err)
	}
	content, err := os.ReadFile(victim)
	require.NoError(t, err)
	require.Equal(t, "precious", string(content))
	require.NoFileExists(t, filepath.Join(dir, "none"))

	_, err = Create(filepath.Join(dir, "no", "such", "directory"))
	require.ErrorContains(t, err, "directory must exist")
}
