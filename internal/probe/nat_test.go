//go:build linux && (amd64 || arm64)

package probe

import (
	"net/netip"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

// inNewNamespace runs f in a thread, and a network namespace, that end with it.
func inNewNamespace(t *testing.T, f func()) {
	t.Helper()
	entered := make(chan error)
	go func() {
		runtime.LockOSThread()
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			f()
		}
		entered <- err
	}()
	if err := <-entered; err != nil {
		t.Skipf("needs root to make a network namespace: %v", err)
	}
}

func TestTheTableOfConnectionsSaysWhichCapabilityItLacks(t *testing.T) {
	inNewNamespace(t, func() {
		var caps [2]unix.CapUserData
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		if !assert.NoError(t, unix.Capget(&header, &caps[0])) {
			return
		}
		caps[0].Effective &^= 1 << unix.CAP_NET_ADMIN
		if !assert.NoError(t, unix.Capset(&header, &caps[0])) {
			return
		}
		_, err := openConntrack([]string{"self"})
		assert.ErrorIs(t, err, unix.EPERM)
		assert.ErrorContains(t, err, "CAP_NET_ADMIN")
	})
}

func TestAConnectionThatIsNotInTheTableIsNotTranslated(t *testing.T) {
	inNewNamespace(t, func() {
		table, err := openConntrack([]string{"self"})
		if err != nil {
			assert.False(t, inLab(), err)
			t.Logf("not here: %v", err)
			return
		}
		defer table.close()
		for _, remote := range []string{"::ffff:10.0.0.1", "fd00::1"} {
			address := netip.MustParseAddr(remote).As16()
			_, ok := table.translation(&wire.AddressPair{Local: address, Remote: address, LocalPort: 1, RemotePort: 2, Protocol: 6})
			assert.False(t, ok)
		}
	})
}

func TestOnlyATranslatedDestinationIsRead(t *testing.T) {
	nested := func(kind uint16, parts ...[]byte) []byte {
		at := openAttribute(nil, kind)
		for _, part := range parts {
			at = append(at, part...)
		}
		closeAttribute(at, 0)
		return at
	}
	value := func(kind uint16, bytes ...byte) []byte { return appendAttribute(nil, kind, bytes) }
	reply := nested(ctaTupleReply,
		nested(ctaTupleIP, value(ctaIPv4Src, 10, 2, 0, 9), value(ctaIPv4Dst, 10, 1, 0, 1)),
		nested(ctaTupleProto, value(ctaProtoNum, 6), value(ctaProtoSrc, 0x1f, 0x90), value(ctaProtoDst, 1, 2)))
	translated := append(value(ctaStatus, 0, 0, 1, ipsDstNAT), reply...)
	require.Equal(t, netip.MustParseAddrPort("10.2.0.9:8080"), destination(translated))
	for name, entry := range map[string][]byte{
		"not translated":   append(value(ctaStatus, 0, 0, 1, 0x10), reply...),
		"without a status": reply,
		"empty":            {},
	} {
		assert.False(t, destination(entry).IsValid(), name)
	}
	for n := range translated { // a message that is cut breaks nothing
		destination(translated[:n])
	}
}

// BenchmarkTranslation is one question about a connection.
func BenchmarkTranslation(b *testing.B) {
	failed := make(chan error)
	go func() {
		runtime.LockOSThread()
		err := unix.Unshare(unix.CLONE_NEWNET)
		var table *conntrack
		if err == nil {
			table, err = openConntrack([]string{"self"})
		}
		if err == nil {
			defer table.close()
			address := netip.MustParseAddr("::ffff:10.0.0.1").As16()
			pair := wire.AddressPair{Local: address, Remote: address, LocalPort: 1, RemotePort: 2, Protocol: 6}
			b.ReportAllocs()
			for b.Loop() {
				table.translation(&pair)
			}
		}
		failed <- err
	}()
	if err := <-failed; err != nil {
		b.Skipf("needs the privilege to make a network namespace, and connection tracking in the kernel: %v", err)
	}
}
