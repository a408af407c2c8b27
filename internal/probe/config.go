package probe

import "time"

// Config says what to watch. The zero value watches nothing of the whole host; receiver.Config validates.
type Config struct {
	CollectionInterval time.Duration // time between collections of connections and counts
	FlushInterval      time.Duration // time between two calls of Handler.Flush; 0: 1 s

	Scope       Scope
	Connections bool // connections for their own sake; Payload follows them anyway
	Drops       Events
	Resets      Events
	Retransmits Events
	Payload     Payload
	Stages      bool    // how long packets take on their way through the kernel, and sockets wait
	StageRate   float64 // packets that are timed on each CPU in a second: stage_allowed() in bpf/stage_cpu.h; 0: all
	Exemplars   bool    // of the stages: tells of the longest times one by one, with their connections
	Slow        Slow    // of the stages and waits
	Counters    Counters
	Datagrams   Datagrams
	NAT         []string // network namespaces whose table of connections tells of translated destinations: "self" or a path

	RingBytes      int      // size of the ring buffer, a power of two and a multiple of the page size; 0: 8 MiB
	MaxConnections int      // least size of the connection map where state cannot live in the socket; 0: 262144
	AvoidHooks     []string // hooks never to use: a kind ("fexit", "kprobe", …) or a whole name ("fexit/tcp_recvmsg")

	Kernel *Kernel // what was read of the kernel before; nil: it is read anew, and forgotten as soon as it can be
}

// Scope is what the kernel half looks at; everything else costs one comparison. Empty: the whole host.
type Scope struct {
	NetworkNamespaces []string // "self", a path such as /var/run/netns/x, or an inode number
	Cgroups           []string // path prefixes in the cgroup v2 hierarchy, with or without its mount point
	IncludePorts      []uint16 // either end has one of these; empty: all
	ExcludePorts      []uint16 // neither end has one of these
}

// Events configures one kind of packet event.
type Events struct {
	Enabled   bool
	Stack     bool    // take the kernel stack of each reported event
	PerSecond float64 // token bucket: events per second reported at most; counts stay exact
}

// Slow says which times are reported one by one. A threshold of 0: none.
type Slow struct {
	Read, Write, Softirq, Stage, ZeroWindow time.Duration

	Stack     bool
	PerSecond float64 // token bucket of all together
}

// Payload configures the tap on TCP payload.
type Payload struct {
	Enabled      bool
	CaptureBytes int // bytes copied at most of each burst in one direction, 256 to 262144
}

// Counters configures what is read of each network namespace at each collection.
type Counters struct {
	Enabled         bool
	Groups          []string // of counters.Groups; empty: all
	Complete        bool     // all of the kernel's tables, not just what is commonly looked at
	Processes       bool     // what the processes of each namespace have open, read and write
	SkipHostDevices []string // patterns of devices of the host's namespace to leave out
}

// Datagrams configures what is looked at of UDP and other protocols than TCP.
type Datagrams struct {
	Flows    bool // count what is exchanged with each peer
	BySocket bool // tell the sockets of UDP's clients apart, so that it can be asked what became of their destinations
	DNS      bool // copy what is asked of port 53, and answered
	MaxFlows int  // entries of each of the maps in which flows are counted; 0: 16384
}
