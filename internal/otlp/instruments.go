package otlp

// Kind is how an instrument's points are to be read.
type Kind uint8

const (
	Sum           Kind = iota // cumulative, only grows
	UpDownCounter             // cumulative sum that may fall: how many there are
	Histogram                 // cumulative, exponential or with explicit Bounds
)

// Instrument describes a metric. Values of sums are integers, of histograms seconds.
type Instrument struct {
	Name        string
	Unit        string // UCUM
	Description string
	Kind        Kind
	Attributes  []string  // on its points, where known
	Optional    []string  // on its points if asked for, see Options.Attributes
	Bounds      []float64 // with Options.ExplicitBuckets
}

// StageDuration is the name of the metric of the stages.
const StageDuration = "network.stage.duration"

// TimeMetrics are the names of all metrics of times that the kernel counted: without any of them there is nothing
// to count.
func TimeMetrics() []string {
	return []string{
		StageDuration, instruments[socketReadWait].Name, instruments[socketWriteWait].Name,
		instruments[softirqDuration].Name, instruments[interfaceCommandDuration].Name,
	}
}

type instrument int

const (
	tcpConnectionCount instrument = iota
	tcpConnectionOpened
	tcpConnectionClosed
	tcpConnectionFailed
	tcpConnectionDuration
	tcpHandshakeDuration
	networkIO
	packetCount
	tcpRetransmits
	tcpRTT
	tcpRTTMin
	tcpOutOfOrder
	tcpZeroWindow
	tcpResets
	packetDrops
	flowIO
	flowPackets
	dnsLookupDuration
	dnsLookupFailed
	httpServerDuration
	httpClientDuration
	rpcServerDuration
	rpcClientDuration
	stageDuration
	socketReadWait
	socketWriteWait
	softirqDuration
	interfaceCommandDuration

	// Of a network namespace, see counters.go.
	counterTCP
	counterMPTCP
	counterUDP
	counterIP
	counterICMP
	counterConntrack
	conntrackCount
	conntrackLimit
	socketCount
	socketMemory
	tcpQueueSize
	tcpListenQueueLength
	tcpListenQueueLimit
	tcpListenDropped
	interfaceIO
	interfacePackets
	interfaceErrors
	interfaceDropped
	qdiscIO
	qdiscPackets
	qdiscDropped
	qdiscOverlimits
	qdiscRequeues
	qdiscQueueLength
	qdiscQueueSize
	softnetProcessed
	softnetDropped
	softnetSqueezed
	ipvsConnections
	ipvsPackets
	ipvsIO
	rdmaCounter
	openFiles
	openSockets
	ioCalls
	diskIO

	instrumentCount
)

var (
	connectionOptional = OptionalAttributes()
	flowAttributes     = []string{
		attrIODirection, attrPeerAddress, attrPeerPort, attrServerAddress, attrServerPort, attrFlowRole, attrTransport,
	}

	// Twice to two and a half times per step: round-trip times from a host to a continent.
	rttBounds = []float64{0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5}
	// From a request's worth to half a day.
	lifeBounds = []float64{0.001, 0.01, 0.1, 1, 10, 60, 300, 1800, 7200, 43200}
	// As the HTTP and RPC conventions advise.
	httpBounds = []float64{0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10}
)

var instruments = [instrumentCount]Instrument{
	tcpConnectionCount: {"network.tcp.connection.count", "{connection}",
		"TCP connections by state at the time of collection.",
		UpDownCounter, []string{attrConnectionState}, connectionOptional, nil},
	tcpConnectionOpened: {"network.tcp.connection.opened", "{connection}",
		"TCP connections that were established.",
		Sum, []string{attrHandshakeRole}, connectionOptional, nil},
	tcpConnectionClosed: {"network.tcp.connection.closed", "{connection}",
		"Established TCP connections that ended, by what ended them.",
		Sum, []string{attrCloseReason}, connectionOptional, nil},
	tcpConnectionFailed: {"network.tcp.connection.failed", "{connection}",
		"Attempts to connect that did not become a TCP connection, by error.",
		Sum, []string{attrErrorType}, connectionOptional, nil},
	tcpConnectionDuration: {"network.tcp.connection.duration", "s",
		"Time from the establishment of TCP connections to their end.",
		Histogram, nil, connectionOptional, lifeBounds},
	tcpHandshakeDuration: {"network.tcp.handshake.duration", "s",
		"Time that TCP handshakes waited for the peer: SYN to SYN-ACK at the client, SYN-ACK to ACK at the server.",
		Histogram, []string{attrHandshakeRole}, connectionOptional, rttBounds},
	networkIO: {"network.io", "By",
		"Payload of TCP connections, without retransmissions. What this host itself dropped on its way out counts again when it is sent.",
		Sum, []string{attrIODirection}, connectionOptional, nil},
	packetCount: {"network.packet.count", "{packet}",
		"TCP segments, retransmissions and bare acknowledgments included.",
		Sum, []string{attrIODirection}, connectionOptional, nil},
	tcpRetransmits: {"network.tcp.retransmits", "{packet}",
		"TCP segments that were sent again, by what made the kernel do so.",
		Sum, []string{attrRetransmitType}, nil, nil},
	tcpRTT: {"network.tcp.rtt", "s",
		"Smoothed round-trip time of TCP connections: one value per collection for each that moved payload, and one at its end.",
		Histogram, nil, connectionOptional, rttBounds},
	tcpRTTMin: {"network.tcp.rtt.min", "s",
		"Least recent round-trip time of TCP connections, taken together with network.tcp.rtt: the difference is queueing.",
		Histogram, nil, connectionOptional, rttBounds},
	tcpOutOfOrder: {"network.tcp.out_of_order", "{packet}",
		"TCP segments that arrived out of order.",
		Sum, nil, connectionOptional, nil},
	tcpZeroWindow: {"network.tcp.zero_window", "{connection}",
		"TCP connections stopped by a closed window at the time of collection; transmit: the peer's reader is behind, receive: the reader here.",
		UpDownCounter, []string{attrIODirection}, connectionOptional, nil},
	tcpResets: {"network.tcp.resets", "{packet}",
		"TCP resets sent and received, with the kernel's reason for those sent.",
		Sum, []string{attrIODirection, attrResetReason}, nil, nil},
	packetDrops: {"network.packet.drops", "{packet}",
		"Packets that the kernel dropped, by its own reason or, where it gives none, the function that dropped them.",
		Sum, []string{attrDropReason, attrIODirection}, nil, nil},
	flowIO: {"network.flow.io", "By",
		"Payload exchanged with one peer. Of TCP without retransmissions.",
		Sum, flowAttributes, nil, nil},
	flowPackets: {"network.flow.packets", "{packet}",
		"Packets exchanged with one peer: TCP segments, retransmissions and bare acknowledgments included; UDP datagrams as they were sent and received by the application.",
		Sum, flowAttributes, nil, nil},
	dnsLookupDuration: {"dns.lookup.duration", "s",
		"Time from a question to its answer, as the client's socket saw them.",
		Histogram, []string{attrDNSQuestionType, attrDNSResponseCode}, nil, httpBounds},
	dnsLookupFailed: {"dns.lookup.failed", "{lookup}",
		"Lookups that were not answered in time, or by an error; that a name does not exist is none.",
		Sum, []string{attrDNSQuestionType, attrErrorType}, nil, nil},
	httpServerDuration: {"http.server.request.duration", "s",
		"Duration of HTTP server requests.",
		Histogram, []string{attrMethod, attrURLScheme, attrStatusCode, attrErrorType, attrProtocolVersion}, nil, httpBounds},
	httpClientDuration: {"http.client.request.duration", "s",
		"Duration of HTTP client requests.",
		Histogram, []string{attrMethod, attrURLScheme, attrStatusCode, attrErrorType, attrProtocolVersion, attrServerAddress, attrServerPort}, nil, httpBounds},
	rpcServerDuration: {"rpc.server.call.duration", "s",
		"Duration of incoming remote procedure calls.",
		Histogram, []string{attrRPCSystem, attrRPCMethod, attrRPCStatus, attrErrorType, attrServerAddress, attrServerPort}, nil, httpBounds},
	rpcClientDuration: {"rpc.client.call.duration", "s",
		"Duration of outgoing remote procedure calls.",
		Histogram, []string{attrRPCSystem, attrRPCMethod, attrRPCStatus, attrErrorType, attrServerAddress, attrServerPort}, nil, httpBounds},
	stageDuration: {StageDuration, "s",
		"Time that packets took in a stage of their way through the kernel; which the stages are, see docs/stages.md.",
		Histogram, []string{attrIODirection, attrStageName}, nil, stageBounds()},
	socketReadWait: {"network.socket.read.wait", "s",
		"Time that received data lay in TCP sockets until a reader took some of it.",
		Histogram, nil, nil, stageBounds()},
	socketWriteWait: {"network.socket.write.wait", "s",
		"Time that senders waited for room in TCP sockets.",
		Histogram, nil, nil, stageBounds()},
	softirqDuration: {"network.softirq.duration", "s",
		"Time that softirqs waited to be run, and ran. Of the whole host, only where the scope is that.",
		Histogram, []string{attrSoftirqVector, attrSoftirqPhase, attrCPU}, nil, stageBounds()},
	interfaceCommandDuration: {"network.interface.command.duration", "s",
		"Time that the driver waited for a network device to carry out a command. Of virtio-net; of the whole host, only where the scope is that.",
		Histogram, []string{attrInterfaceName, attrCommandClass}, nil, stageBounds()},
	counterTCP: {"network.tcp.counter", "1",
		"The kernel's TCP counters of a network namespace (tables Tcp and TcpExt, as nstat prints them), by the kernel's own name.",
		Sum, []string{attrCounterName}, nil, nil},
	counterMPTCP: {"network.mptcp.counter", "1",
		"The kernel's Multipath TCP counters of a network namespace (table MPTcpExt), by the kernel's own name.",
		Sum, []string{attrCounterName}, nil, nil},
	counterUDP: {"network.udp.counter", "1",
		"The kernel's UDP counters of a network namespace (tables Udp and Udp6), by the kernel's own name.",
		Sum, []string{attrCounterName, attrNetworkType}, nil, nil},
	counterIP: {"network.ip.counter", "1",
		"The kernel's IP counters of a network namespace (tables Ip, IpExt and Ip6), by the kernel's own name.",
		Sum, []string{attrCounterName, attrNetworkType}, nil, nil},
	counterICMP: {"network.icmp.counter", "1",
		"The kernel's ICMP counters of a network namespace (tables Icmp, IcmpMsg and Icmp6), by the kernel's own name.",
		Sum, []string{attrCounterName, attrNetworkType}, nil, nil},
	counterConntrack: {"network.conntrack.counter", "1",
		"What connection tracking did in a network namespace (/proc/net/stat/nf_conntrack), by the kernel's own name.",
		Sum, []string{attrCounterName}, nil, nil},
	conntrackCount: {"network.conntrack.count", "{connection}",
		"Connections that are tracked in a network namespace.",
		UpDownCounter, nil, nil, nil},
	conntrackLimit: {"network.conntrack.limit", "{connection}",
		"Connections that can be tracked in each network namespace; on the host's Resource.",
		UpDownCounter, nil, nil, nil},
	socketCount: {"network.socket.count", "{socket}",
		"Sockets of a network namespace by transport and state; orphaned and allocated ones are counted for the whole host.",
		UpDownCounter, []string{attrTransport, attrNetworkType, attrSocketState}, nil, nil},
	socketMemory: {"network.socket.memory", "By",
		"Memory in the queues of all sockets of the host.",
		UpDownCounter, []string{attrTransport}, nil, nil},
	tcpQueueSize: {"network.tcp.queue.size", "By",
		"Bytes in the queues of the TCP connections of a network namespace: received and not read yet, or sent and not acknowledged yet.",
		UpDownCounter, []string{attrIODirection}, nil, nil},
	tcpListenQueueLength: {"network.tcp.listen.queue.length", "{connection}",
		"Connections that wait to be accepted, by listening port.",
		UpDownCounter, []string{attrServerPort}, nil, nil},
	tcpListenQueueLimit: {"network.tcp.listen.queue.limit", "{connection}",
		"Connections that may wait to be accepted, by listening port.",
		UpDownCounter, []string{attrServerPort}, nil, nil},
	tcpListenDropped: {"network.tcp.listen.dropped", "{connection}",
		"Segments of attempts to connect that were turned away, mostly because too many waited already, by listening port. " +
			"The kernel counts the last segment of a handshake twice.",
		Sum, []string{attrServerPort}, nil, nil},
	interfaceIO: {"network.interface.io", "By",
		"Bytes on a network device, headers included.",
		Sum, []string{attrInterfaceName, attrIODirection}, nil, nil},
	interfacePackets: {"network.interface.packet.count", "{packet}",
		"Packets on a network device.",
		Sum, []string{attrInterfaceName, attrIODirection}, nil, nil},
	interfaceErrors: {"network.interface.errors", "{packet}",
		"Packets that a network device received or sent wrongly.",
		Sum, []string{attrInterfaceName, attrIODirection}, nil, nil},
	interfaceDropped: {"network.interface.dropped", "{packet}",
		"Packets that a network device had no room for, or that nobody wanted.",
		Sum, []string{attrInterfaceName, attrIODirection}, nil, nil},
	qdiscIO: {"network.qdisc.io", "By",
		"Bytes that the outermost queueing discipline of a device sent.",
		Sum, []string{attrInterfaceName, attrQdiscKind}, nil, nil},
	qdiscPackets: {"network.qdisc.packet.count", "{packet}",
		"Packets that the outermost queueing discipline of a device sent.",
		Sum, []string{attrInterfaceName, attrQdiscKind}, nil, nil},
	qdiscDropped: {"network.qdisc.dropped", "{packet}",
		"Packets that the outermost queueing discipline of a device dropped.",
		Sum, []string{attrInterfaceName, attrQdiscKind}, nil, nil},
	qdiscOverlimits: {"network.qdisc.overlimits", "{event}",
		"How often the outermost queueing discipline of a device held back because of a limit.",
		Sum, []string{attrInterfaceName, attrQdiscKind}, nil, nil},
	qdiscRequeues: {"network.qdisc.requeues", "{packet}",
		"Packets that the device did not take and that were queued again.",
		Sum, []string{attrInterfaceName, attrQdiscKind}, nil, nil},
	qdiscQueueLength: {"network.qdisc.queue.length", "{packet}",
		"Packets in the outermost queueing discipline of a device.",
		UpDownCounter, []string{attrInterfaceName, attrQdiscKind}, nil, nil},
	qdiscQueueSize: {"network.qdisc.queue.size", "By",
		"Bytes in the outermost queueing discipline of a device.",
		UpDownCounter, []string{attrInterfaceName, attrQdiscKind}, nil, nil},
	softnetProcessed: {"network.softnet.processed", "{packet}",
		"Packets that the host's processors took from network devices.",
		Sum, nil, nil, nil},
	softnetDropped: {"network.softnet.dropped", "{packet}",
		"Packets that a processor of the host dropped because its queue was full.",
		Sum, nil, nil, nil},
	softnetSqueezed: {"network.softnet.squeezed", "{event}",
		"How often a processor of the host stopped taking packets because its time or budget was used up.",
		Sum, nil, nil, nil},
	ipvsConnections: {"network.ipvs.connections", "{connection}",
		"Connections that IPVS scheduled in a network namespace.",
		Sum, nil, nil, nil},
	ipvsPackets: {"network.ipvs.packet.count", "{packet}",
		"Packets that IPVS passed on in a network namespace: received from clients, transmitted to them.",
		Sum, []string{attrIODirection}, nil, nil},
	ipvsIO: {"network.ipvs.io", "By",
		"Bytes that IPVS passed on in a network namespace: received from clients, transmitted to them.",
		Sum, []string{attrIODirection}, nil, nil},
	rdmaCounter: {"network.rdma.counter", "1",
		"What the host's RDMA devices count for each port, by the driver's own name.",
		Sum, []string{attrInterfaceName, attrCounterName}, nil, nil},
	openFiles: {"network.namespace.open_files", "{file}",
		"File descriptors that the processes of a network namespace have open.",
		UpDownCounter, nil, nil, nil},
	openSockets: {"network.namespace.open_sockets", "{socket}",
		"File descriptors of sockets that the processes of a network namespace have open.",
		UpDownCounter, nil, nil, nil},
	ioCalls: {"network.namespace.io.calls", "{call}",
		"System calls with which the processes of a network namespace read and wrote files, pipes and sockets alike.",
		Sum, []string{attrDiskDirection}, nil, nil},
	diskIO: {"network.namespace.disk.io", "By",
		"Bytes that the processes of a network namespace had read from disks and written to them.",
		Sum, []string{attrDiskDirection}, nil, nil},
}

// Instruments are all metrics that may be emitted, in the order in which they are. To be read only.
func Instruments() []Instrument { return instruments[:] }

// ConnectionMetrics are the names of the metrics made of the connection table: those that can be told
// apart by a connection's attributes.
func ConnectionMetrics() []string {
	var names []string
	for _, instrument := range instruments {
		if instrument.Optional != nil {
			names = append(names, instrument.Name)
		}
	}
	return names
}
