//go:build linux && (amd64 || arm64)

package probe

import (
	"context"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

// successor takes so long for the end of a connection that another one begins and ends meanwhile.
type successor struct {
	ignore
	next      func()
	left      int
	last      func()
	flushedNs uint64
	late      []uint64 // how much older than the time of a flush a record was that came after it
	records   int
}

func (h *successor) Flush(timeNs uint64) { h.flushedNs = timeNs }

func (h *successor) Conn(r *wire.ConnRecord) {
	if r.Header.Kind == wire.RecordConnSnapshot {
		return
	}
	h.records++
	if r.Header.TimeNs < h.flushedNs {
		h.late = append(h.late, h.flushedNs-r.Header.TimeNs)
	}
	if r.Header.Kind != wire.RecordConnClose || r.Role != wire.RoleClient {
		return
	}
	if h.left--; h.left < 0 {
		h.last()
		return
	}
	h.next()
	time.Sleep(20 * time.Millisecond)
}

// What was told before a flush has come before it, however long the records before took: else a call whose end is on its
// way would be given up as lost.
func TestNoEndOfAConnectionIsOlderThanTheFlushBefore(t *testing.T) {
	needPrivilege(t)
	runtime.LockOSThread() // never unlocked: the thread ends with the test, and its namespace with it
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Skipf("needs the privilege to make a network namespace: %v", err)
	}
	loopbackUp(t)
	var namespace unix.Stat_t
	require.NoError(t, unix.Stat("/proc/thread-self/ns/net", &namespace))
	opened, err := Open(Config{
		Connections: true, RingBytes: 1 << 20, MaxConnections: 64, FlushInterval: time.Millisecond,
		Scope: Scope{NetworkNamespaces: []string{strconv.FormatUint(namespace.Ino, 10)}},
	}, zap.NewNop())
	require.NoError(t, err)
	defer opened.Close()
	listener, address := listenForOne(t)
	defer unix.Close(listener)
	one := func() {
		client := connect(t, address)
		var accepted int
		waitFor(t, "it is accepted", func() (done bool) {
			accepted, _, err = unix.Accept(listener)
			return err == nil
		})
		require.NoError(t, unix.Close(client))
		require.NoError(t, unix.Close(accepted))
	}
	ctx, stop := context.WithTimeout(t.Context(), 2*time.Minute)
	defer stop()
	handler := successor{next: one, left: 20, last: stop}
	one()
	require.NoError(t, opened.Run(ctx, &handler))
	require.Negative(t, handler.left, "each brought the next: %d records", handler.records)
	assert.Empty(t, handler.late)
}
