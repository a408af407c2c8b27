//go:build linux && (amd64 || arm64)

package probe

import (
	"errors"
	"net"
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

// ends keeps the records of connections that are told when something happens to them.
type ends struct {
	ignore
	records []wire.ConnRecord
}

func (e *ends) Conn(r *wire.ConnRecord) {
	if r.Header.Kind != wire.RecordConnSnapshot && r.Role == wire.RoleClient {
		e.records = append(e.records, *r)
	}
}

// A kernel that preempts itself leaves out runs of a program. Here that of the end of a handshake is left out: what
// comes of the connection later tells that there was one.
func TestAConnectWhoseSuccessWasMissedIsNoFailure(t *testing.T) {
	needPrivilege(t)
	runtime.LockOSThread() // never unlocked: the thread ends with the test, and its namespace with it
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Skipf("needs the privilege to make a network namespace: %v", err)
	}
	loopbackUp(t)
	var namespace unix.Stat_t
	require.NoError(t, unix.Stat("/proc/thread-self/ns/net", &namespace))
	scope := Scope{NetworkNamespaces: []string{strconv.FormatUint(namespace.Ino, 10)}}
	var told []wire.ConnRecord
	// The kernel may leave out another run, too: that which tells a beginning or an end. It counts them.
	for attempt := 0; len(told) != 2; attempt++ {
		var skipped uint64
		told, skipped = missSuccess(t, scope)
		t.Logf("%d ends were told, %d runs left out", len(told), skipped)
		for _, r := range told {
			assert.EqualValues(t, wire.RecordConnClose, r.Header.Kind)
			assert.NotZero(t, r.Flags&wire.ConnEstablished)
		}
		if len(told) != 2 {
			require.NotZero(t, skipped, "both are told: %+v", told)
			require.Less(t, attempt, 4, "both are told")
		}
	}
	known := 0
	for _, r := range told {
		if r.EstablishedNs != 0 {
			known++
		}
	}
	assert.Equal(t, 1, known, "of the other is not known when")
}

// missSuccess makes two connections, of which the end of one's handshake is not seen, and gives what is told of their
// ends, and how many runs of the program that tells it the kernel left out.
func missSuccess(t *testing.T, scope Scope) (told []wire.ConnRecord, skipped uint64) {
	t.Helper()
	opened, err := Open(Config{Connections: true, RingBytes: 1 << 20, MaxConnections: 64, Scope: scope}, zap.NewNop())
	require.NoError(t, err)
	defer opened.Close()
	s := opened.(*source)

	listener, address := listenForOne(t)
	first := connect(t, address)
	waitFor(t, "the first fills the queue", func() bool { return info(t, listener).Unacked == 1 })
	second := connect(t, address)
	waitFor(t, "the second connect waits", func() bool { return state(t, second) == unix.BPF_TCP_SYN_SENT })
	s.detach()
	accepted, _, err := unix.Accept(listener)
	require.NoError(t, err)
	waitFor(t, "its SYN is repeated", func() bool { return state(t, second) == unix.BPF_TCP_ESTABLISHED })
	before := programMisses(t, s) // of programs that the next line replaces
	require.NoError(t, reattach(s))
	for _, fd := range []int{second, first, accepted, listener} {
		require.NoError(t, unix.Close(fd))
	}
	var seen ends
	for deadline := time.Now().Add(20 * time.Second); len(seen.records) < 2 && time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		require.NoError(t, s.drain(&seen))
	}
	return seen.records, before + programMisses(t, s)
}

func programMisses(t *testing.T, s *source) (n uint64) {
	t.Helper()
	for _, served := range s.loader.served {
		if served.capability != "connections" {
			continue
		}
		for _, program := range served.programs {
			stats, err := program.Stats()
			require.NoError(t, err)
			n += stats.RecursionMisses
		}
	}
	return n
}

// reattach needs programs that were not attached before 5.11.
func reattach(s *source) error {
	for i, was := range s.loader.served {
		if was.capability != "connections" {
			continue
		}
		again, err := s.loader.load(connections(), was.hook)
		if err != nil {
			return err
		}
		was.close()
		s.loader.served[i] = again
		return again.attach()
	}
	return errors.New("connections are not served")
}

func loopbackUp(t *testing.T) {
	t.Helper()
	require.NoError(t, raiseLoopback())
}

func raiseLoopback() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	request, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_UP)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, request)
}

// listenForOne takes one connection; further SYNs are dropped until it is accepted, and come again.
func listenForOne(t *testing.T) (fd int, address *unix.SockaddrInet4) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	require.NoError(t, unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte(net.IPv4(127, 0, 0, 1).To4())}))
	require.NoError(t, unix.Listen(fd, 0))
	name, err := unix.Getsockname(fd)
	require.NoError(t, err)
	return fd, name.(*unix.SockaddrInet4)
}

func connect(t *testing.T, to *unix.SockaddrInet4) (fd int) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	require.NoError(t, err)
	require.ErrorIs(t, unix.Connect(fd, to), unix.EINPROGRESS)
	return fd
}

func state(t *testing.T, fd int) int {
	t.Helper()
	return int(info(t, fd).State)
}

// info of a listener has the connections that wait to be accepted in Unacked.
func info(t *testing.T, fd int) *unix.TCPInfo {
	t.Helper()
	info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	require.NoError(t, err)
	return info
}

func waitFor(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); !condition(); time.Sleep(5 * time.Millisecond) {
		require.True(t, time.Now().Before(deadline), "this never came true: "+what)
	}
}
