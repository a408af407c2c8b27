package wire

// NamespaceCounters is what the kernel counts for one network namespace.
type NamespaceCounters struct {
	Inode    uint32 // of the namespace, as in OwnerRef.Netns
	Identity uint64 // never the same for two namespaces, unlike Inode
	ZeroNs   uint64 // CLOCK_MONOTONIC when its sums were zero, or shortly after; 0: at boot
	Counters []Counter
}

// Counter is one number that the kernel keeps. Sums that are zero are left out.
type Counter struct {
	Group  CounterGroup
	Device string // network device: CounterInterface and CounterQdisc; RDMA device and port: CounterRDMA
	Kind   string // of the queueing discipline: CounterQdisc
	Port   uint16 // CounterListener
	Name   string // the kernel's own, or that of the field of its structure
	Value  uint64
}

// CounterGroup is where the kernel keeps a counter.
type CounterGroup uint8

// The names of the counters of a group are those of
const (
	CounterTCP       CounterGroup = 1 + iota // Tcp of /proc/net/snmp, TcpExt of /proc/net/netstat
	CounterUDP                               // Udp of /proc/net/snmp
	CounterUDP6                              // /proc/net/snmp6, without Udp6
	CounterIP                                // Ip of /proc/net/snmp, IpExt of /proc/net/netstat
	CounterIP6                               // /proc/net/snmp6, without Ip6
	CounterICMP                              // Icmp of /proc/net/snmp
	CounterICMP6                             // /proc/net/snmp6, without Icmp6
	CounterMPTCP                             // MPTcpExt of /proc/net/netstat
	CounterSocket                            // /proc/net/sockstat and sockstat6, such as "TCP6 inuse"
	CounterInterface                         // struct rtnl_link_stats64, such as rx_bytes
	CounterSoftnet                           // the columns of /proc/net/softnet_stat: processed, dropped, time_squeeze
	CounterQdisc                             // struct gnet_stats_basic and gnet_stats_queue
	CounterConntrack                         // /proc/net/stat/nf_conntrack, and max of /proc/sys/net/netfilter
	CounterListener                          // struct listener_record
	CounterQueue                             // struct queue_bytes
	CounterIPVS                              // /proc/net/ip_vs_stats: connections, inpackets, outpackets, inbytes, outbytes
	CounterRDMA                              // hw_counters of /sys/class/infiniband
	CounterProcess                           // files, sockets: /proc/PID/fd; /proc/PID/io
)

// Namespace is what is known of the inhabitants of a network namespace.
type Namespace struct {
	Host bool // it is the host's own
	// Cgroup is the path of the cgroup of the process that came first of the only pod, or container outside
	// pods, that is at home there; empty: there is none, or more than one.
	Cgroup  string
	StartNs uint64 // CLOCK_MONOTONIC of that process's start
}
