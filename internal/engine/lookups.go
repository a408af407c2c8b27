package engine

import (
	"slices"

	"github.com/ebpfnet/ebpfnetreceiver/internal/l7/dns"
	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

const dnsPort = 53

// lookups are the lookups of DNS that are under way.
type lookups struct {
	tracker *dns.Tracker
	bucket  bucket
	read    uint64 // all that was told before has been handed over
	lost    uint64 // records that may have been answers
}

// Datagram implements wire.Handler.
func (p *pipeline) Datagram(record *wire.DatagramRecord, data []byte) {
	p.lookups.tracker.Datagram(record, data)
}

// follow begins to follow a connection to a DNS server, if this is one that was seen from its beginning.
func (l *lookups) follow(record *wire.ConnRecord) {
	if record.Role != wire.RoleClient || record.Pair.RemotePort != dnsPort || record.Flags&wire.ConnSequences == 0 {
		return
	}
	l.tracker.Open(&dns.Connection{
		ID: record.ID, Owner: record.Owner, Comm: record.Comm, Server: record.Pair.RemoteAddr(),
		FirstSent: record.FirstSent, FirstReceived: record.FirstReceived,
	})
}

// lookup takes a lookup that has ended.
func (p *pipeline) lookup(lookup *dns.Lookup) {
	p.metrics.Lookup(lookup)
	if !lookup.Failed() || p.engine.sink.Logs == nil {
		return
	}
	if !p.lookups.bucket.pass(lookup.EndNs) {
		p.stats.LookupsSuppressed++
		return
	}
	p.logs.LookupFailed(lookup)
	p.logged()
}

func (l *lookups) flush(timeNs uint64) { l.read = timeNs }

// collect says of those that have waited for too long that they failed, unless an answer may have been lost.
func (l *lookups) collect(stats *wire.KernelStats) {
	lost := stats.Kinds[wire.RecordDatagram].Lost + stats.Kinds[wire.RecordPayload].Lost
	for _, program := range stats.Programs {
		if tapsReceivers(program.Name) {
			lost += program.Misses
		}
	}
	l.tracker.Expire(l.read, lost != l.lost)
	l.lost = lost
}

// tapsReceivers: the kernel may skip a run of this program, and with it an answer.
func tapsReceivers(program string) bool {
	return slices.Contains([]string{
		"udp_recvmsg_exit", "udpv6_recvmsg_exit", "datagram_received", "tcp_recvmsg_exit", "sock_recv_length",
		"on_recv_length",
	}, program)
}
