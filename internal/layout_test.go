package internal

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// rooms from the top floor down, as ARCHITECTURE.md draws them.
var rooms = []string{
	"engine", "otlp", "probe", "recording", "conn", "l7", "counters", "owner", "tracecontext", "symbol", "wire",
}

const module = "github.com/ebpfnet/ebpfnetreceiver/"

func TestARoomImportsOnlyRoomsBelowIt(t *testing.T) {
	for file, imports := range importsBelow(t, ".") {
		room := roomOf(filepath.ToSlash(file))
		if room == "tools" || room == "" {
			continue
		}
		floor := slices.Index(rooms, room)
		require.GreaterOrEqual(t, floor, 0, "%s: room %q is not in the plan of the house", file, room)
		for _, path := range imports {
			inside, ok := strings.CutPrefix(path, module+"internal/")
			if !ok || roomOf(inside+"/") == room {
				continue
			}
			assert.Greater(t, slices.Index(rooms, roomOf(inside+"/")), floor, "%s imports %s", file, path)
		}
	}
}

func TestOnlyTheProbeKnowsTheEBPFLibrary(t *testing.T) {
	for file, imports := range importsBelow(t, "..") {
		slash := filepath.ToSlash(strings.TrimPrefix(file, "../"))
		if strings.HasPrefix(slash, "bpf/") || strings.HasPrefix(slash, "internal/probe/") ||
			strings.HasPrefix(slash, "internal/tools/") {
			continue
		}
		for _, path := range imports {
			if strings.HasSuffix(file, "_test.go") && strings.HasPrefix(slash, "test/") {
				continue // its witness of what is left in the kernel
			}
			assert.False(t, strings.HasPrefix(path, "github.com/cilium/ebpf"), "%s imports %s", file, path)
		}
	}
}

func TestOnlyTheReceiverKnowsTheCollectorsComponents(t *testing.T) {
	for file, imports := range importsBelow(t, ".") {
		for _, path := range imports {
			if !strings.HasPrefix(path, "go.opentelemetry.io/collector/") {
				continue
			}
			assert.True(t, strings.HasPrefix(path, "go.opentelemetry.io/collector/pdata/"), "%s imports %s", file, path)
			assert.Contains(t, []string{"otlp", "engine"}, roomOf(filepath.ToSlash(file)), "%s imports %s", file, path)
		}
	}
}

// roomOf is the first folder of a path below internal.
func roomOf(path string) string {
	room, _, found := strings.Cut(path, "/")
	if !found {
		return ""
	}
	return room
}

func importsBelow(t *testing.T, root string) map[string][]string {
	t.Helper()
	files := map[string][]string{}
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && (strings.HasPrefix(entry.Name(), ".") && len(entry.Name()) > 2 || entry.Name() == "testdata") {
			return filepath.SkipDir
		}
		if filepath.Ext(path) != ".go" {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		imports := []string{}
		for _, spec := range file.Imports {
			unquoted, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			imports = append(imports, unquoted)
		}
		files[path] = imports
		return nil
	})
	require.NoError(t, err)
	require.NotEmpty(t, files)
	return files
}
