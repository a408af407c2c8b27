//go:build linux && (amd64 || arm64)

package kerneltest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.uber.org/zap"

	"github.com/ebpfnet/ebpfnetreceiver/internal/engine"
	"github.com/ebpfnet/ebpfnetreceiver/internal/recording"
)

func TestAReplayIsWhatWasRecorded(t *testing.T) {
	n := newNetwork(t)
	server := startNginx(t, n.server, n.server.at4(80))
	n.server.firewall(fmt.Sprintf(wall, "input"))
	config := n.settings()
	config.Record = filepath.Join(t.TempDir(), "recording")
	live := observe(t, config)
	runErrands(t, n.client, server, 5, 20)
	shortConnections(t, n.client, server, 100)
	_, err := n.client.tryDial(t.Context(), n.server.at6(7000))
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
	n.client.datagrams(n.server.at6(7001), 5)
	eventually(t, "the firewall saw all datagrams", func() bool { return n.server.counted()["udp6"] == 5 })
	live.stop()
	info, err := os.Stat(config.Record)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode(), "it holds payload")

	replayed := start(t, replay(config, config.Record))
	replayed.finish()
	require.NotEmpty(t, live.metrics)
	require.NotEmpty(t, live.logs)
	require.NotEmpty(t, live.traces)
	assert.Equal(t, texts(t, (&pmetric.JSONMarshaler{}).MarshalMetrics, live.metrics),
		texts(t, (&pmetric.JSONMarshaler{}).MarshalMetrics, replayed.metrics))
	assert.Equal(t, texts(t, (&plog.JSONMarshaler{}).MarshalLogs, live.logs),
		texts(t, (&plog.JSONMarshaler{}).MarshalLogs, replayed.logs))
	assert.Equal(t, texts(t, (&ptrace.JSONMarshaler{}).MarshalTraces, live.traces),
		texts(t, (&ptrace.JSONMarshaler{}).MarshalTraces, replayed.traces))
	assert.Equal(t, live.engine.Stats(), replayed.engine.Stats())

	t.Run("cut short", func(t *testing.T) {
		whole, err := os.ReadFile(config.Record)
		require.NoError(t, err)
		path := filepath.Join(t.TempDir(), "cut")
		require.NoError(t, os.WriteFile(path, whole[:len(whole)/2], 0o600))
		cut, err := engine.New(replay(config, path), (&observer{}).sink(), zap.NewNop())
		require.NoError(t, err)
		err = cut.Run(context.Background())
		require.ErrorIs(t, err, recording.ErrTruncated)
		assert.ErrorContains(t, err, path)
	})
}

func TestAForeignFileIsNoRecording(t *testing.T) {
	mayMakeNamespaces(t)
	for name, content := range map[string]string{
		"empty": "", "text": "not a recording", "pcap": "\xd4\xc3\xb2\xa1\x02\x00\x04\x00" + string(make([]byte, 100)),
	} {
		path := filepath.Join(t.TempDir(), name)
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
		_, err := engine.New(engine.Config{Replay: path}, (&observer{}).sink(), zap.NewNop())
		require.Error(t, err, name)
		assert.ErrorContains(t, err, path)
	}
	_, err := engine.New(engine.Config{Replay: "/nowhere"}, (&observer{}).sink(), zap.NewNop())
	assert.ErrorContains(t, err, "/nowhere")
}

func replay(config engine.Config, path string) engine.Config {
	config.Record, config.Replay = "", path
	return config
}

// texts are batches as JSON, one by one: where they differ, a reader can see it.
func texts[T any](t *testing.T, marshal func(T) ([]byte, error), batches []T) (out []string) {
	t.Helper()
	for _, batch := range batches {
		text, err := marshal(batch)
		require.NoError(t, err)
		out = append(out, string(text))
	}
	return out
}
