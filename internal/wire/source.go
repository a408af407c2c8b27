package wire

import (
	"context"
	"net/netip"
)

// Source delivers what the kernel saw: live from the probes or from a recording. Everything behind it
// behaves the same, byte for byte, on either.
type Source interface {
	// Run calls handler from one goroutine, Begin first, until ctx is cancelled, the recording ends (nil)
	// or the source fails. Before it returns it has handed over everything that was still buffered and
	// has made a last collection.
	Run(ctx context.Context, handler Handler) error

	// Facts answers what a record only refers to. Valid while Run runs.
	Facts() Facts

	// Close releases what the source holds in the kernel. Idempotent.
	Close() error
}

// Handler takes what a Source delivers, in the order in which it happened. Records are valid only during
// the call.
type Handler interface {
	Begin(*Begin)
	// Conn is called for RecordConnOpen, -Close, -Failed as they happen and, once per live connection
	// between two calls of Collect, for RecordConnSnapshot.
	Conn(*ConnRecord)
	// Packet is called for RecordDrop, RecordReset and RecordRetransmit.
	Packet(*PacketEvent)
	// Payload is called for RecordPayload with the captured bytes.
	Payload(*PayloadRecord, []byte)
	// Datagram is called for RecordDatagram with the captured bytes.
	Datagram(*DatagramRecord, []byte)
	// Slow is called for RecordSlow.
	Slow(*SlowEvent)
	// Stage is called for RecordStage.
	Stage(*StageRecord)
	// Flush asks for what is complete (logs, spans) to be handed on. What the kernel told before timeNs has all been
	// handed over: what is missing by then does not come any more. A call that was told of later may have begun before.
	Flush(timeNs uint64)
	// Collect ends a collection: snapshots of all live connections came before it.
	Collect(*Collection)
}

// Begin opens a stream.
type Begin struct {
	TimeNs   uint64 // CLOCK_MONOTONIC at the start
	OffsetNs int64  // CLOCK_REALTIME = CLOCK_MONOTONIC + OffsetNs
	Kernel   string // release, as uname -r
	Arch     string // GOARCH
	Probes   []ProbeStatus
}

// ProbeStatus says how one capability is served on this kernel.
type ProbeStatus struct {
	Capability string // connections, drops, payload, …
	Hook       string // the hook in use, such as tp_btf/inet_sock_set_state; empty: none was accepted
	Refused    []Refusal
}

// Refusal says why a hook that would have been preferred is not in use.
type Refusal struct {
	Hook   string
	Reason string
}

// Collection closes one collection interval. Counts and Stats are cumulative since the start, Stages are not.
type Collection struct {
	TimeNs   uint64
	OffsetNs int64 // as in Begin, measured anew
	Snapshot bool  // every live connection was told of before this, and the end of every other
	Counts   []Count
	Stages   []StageTimes   // since the collection before
	Flows    []DatagramFlow // what was exchanged since the collection before
	Softirqs []SoftirqTimes // as Stages
	Commands []CommandTimes // as Stages
	Stats    KernelStats
	// Namespaces are read just before, if that was asked for.
	Namespaces []NamespaceCounters
}

// Count is how often the kernel saw what its key describes, since the start.
type Count struct {
	Key   CountKey
	Value uint64
}

// DatagramFlow is what an owner and a peer exchanged in datagrams.
type DatagramFlow struct {
	Key   FlowKey
	Count FlowCount
	Local netip.AddrPort // of a client's socket; not valid where the flow is not of one socket
}

// KernelStats are the kernel half's own books: for each record kind
// Seen = Submitted + Suppressed + Lost.
type KernelStats struct {
	Kinds    [RecordKindMax]KindStats
	Programs []ProgramStats
	// CountsFull is how many packets could not be added to Counts because its map was full.
	CountsFull uint64
	// ConnsFull is how many connections could not be tracked because their state could not be allocated.
	ConnsFull uint64
	// FlowsFull is how many datagrams could not be added to Flows because its map was full.
	FlowsFull uint64
	// RingBytes and RingSize are the fill of the ring buffer at this collection.
	RingBytes, RingSize uint64
	Stages              StageLosses
}

// KindStats are the books of one record kind.
type KindStats struct {
	Seen       uint64
	Submitted  uint64 // written to the ring buffer
	Suppressed uint64 // held back by the token bucket
	Lost       uint64 // the ring buffer was full
}

// ProgramStats is what one kernel program cost. RunNs is 0 unless the kernel's BPF statistics are on
// (sysctl kernel.bpf_stats_enabled).
type ProgramStats struct {
	Name   string
	Runs   uint64
	RunNs  uint64
	Misses uint64 // runs that the kernel skipped because the program was already running on that CPU
}

// Facts answers what records refer to. Each answer is a fact about the host at the time of asking;
// ok is false where it is not known. A recording holds every answer that was given.
type Facts interface {
	// CgroupPath is the path of a cgroup v2 directory below its mount ("/kubepods.slice/…"), by inode number.
	CgroupPath(id uint64) (path string, ok bool)
	// Process describes a live process.
	Process(tgid uint32) (process Process, ok bool)
	// Namespace tells whose a network namespace is, by inode number.
	Namespace(inode uint32) (namespace Namespace, ok bool)
	// Symbol names a kernel address.
	Symbol(address uint64) (symbol Symbol, ok bool)
	// EnumName gives the name of an enum's value as the running kernel has it, such as
	// skb_drop_reason 8: SKB_DROP_REASON_NETFILTER_DROP.
	EnumName(enum string, value uint32) (name string, ok bool)
}

// Translator is what the Facts of a source may be too.
type Translator interface {
	// Translation is whom destination NAT made the peer of a connection from pair.Local that asked for
	// pair.Remote; ok is false where it did not, or nobody knows.
	Translation(pair *AddressPair) (backend netip.AddrPort, ok bool)
}

// Process is what /proc tells of a process.
type Process struct {
	Executable string // base name of /proc/PID/exe, or of comm where exe cannot be read
	Cgroup     string // path in the cgroup v2 hierarchy
	StartTicks uint64 // /proc/PID/stat field 22: with the pid, the identity of the process
}

// Symbol is a place in the kernel.
type Symbol struct {
	Name   string
	Offset uint64
	Module string // empty: the kernel itself
}
