package conn

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ebpfnet/ebpfnetreceiver/internal/owner"
	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

const (
	startNs  = uint64(1000 * time.Second) // CLOCK_MONOTONIC of Begin
	offsetNs = int64(1_700_000_000 * time.Second)
	interval = uint64(10 * time.Second)
)

// byRef resolves a process to itself, a cgroup to a container, the rest to the namespace.
type byRef struct{}

func (byRef) Resolve(ref wire.OwnerRef, comm string, _ uint64) owner.Owner {
	switch {
	case ref.CgroupID != 0:
		return owner.Owner{ContainerID: string(rune('a' + ref.CgroupID%26))}
	case ref.TGID != 0:
		return owner.Owner{PID: ref.TGID, Executable: comm, ServiceName: comm}
	default:
		return owner.Owner{Netns: ref.Netns}
	}
}

// world drives a table through time.
type world struct {
	*testing.T
	*Table
	time uint64
}

func newWorld(t *testing.T, options Options) *world {
	w := &world{T: t, Table: New(options, byRef{}), time: startNs}
	w.Begin(&wire.Begin{TimeNs: startNs, OffsetNs: offsetNs})
	return w
}

func (w *world) pass(d time.Duration) { w.time += uint64(d) }

// collect lets an interval pass and ends it.
func (w *world) collect() {
	w.time += interval
	w.Collect(w.time, offsetNs)
}

// sees hands over the record as of now.
func (w *world) sees(kind uint32, r wire.ConnRecord) {
	r.Header = wire.RecordHeader{TimeNs: w.time, Kind: kind}
	w.Conn(&r)
}

// only is the only series that there is.
func (w *world) only() *Series {
	w.Helper()
	var all []*Series
	for group := range w.Groups().All {
		all = append(all, group.Value.Series()...)
	}
	require.Len(w, all, 1)
	return all[0]
}

func (w *world) balanced() {
	w.Helper()
	s := w.Stats()
	require.Equal(w, s.Seen, s.Opened+s.Adopted+s.Failed+s.Abandoned+s.Handshaking, "%+v", s)
	require.Equal(w, s.Opened+s.Adopted, s.Live+s.Closed+s.LostClose, "%+v", s)
	require.EqualValues(w, s.Live+s.Handshaking, len(w.live), "%+v", s)
}

// client is an established connection of process 7 to 10.0.0.2:80, opened 2 ms ago and established 1 ms ago.
func (w *world) client(id uint64) wire.ConnRecord {
	r := wire.ConnRecord{
		ID:       id,
		Owner:    wire.OwnerRef{Netns: 1, TGID: 7},
		OpenedNs: w.time - 2e6, EstablishedNs: w.time - 1e6, HandshakeUs: 1000,
		State: StateEstablished, Role: wire.RoleClient, Flags: wire.ConnEstablished,
		SRTTUs: 500, MinRTTUs: 400, SndWnd: 65536, RcvWnd: 65536,
	}
	r.Pair = wire.AddressPair{
		Local: netip.MustParseAddr("::ffff:10.0.0.1").As16(), Remote: netip.MustParseAddr("::ffff:10.0.0.2").As16(),
		LocalPort: 40000, RemotePort: 80, Protocol: 6,
	}
	copy(r.Comm[:], "curl")
	return r
}
