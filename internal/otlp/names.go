package otlp

// SchemaURL is the version of the semantic conventions that the names below are of.
const SchemaURL = "https://opentelemetry.io/schemas/1.44.0"

// Attribute names. They are written out here, not taken from go.opentelemetry.io/otel/semconv, because
// that stops at 1.43 and wraps each in the SDK's attribute type, where pdata takes strings; a test holds
// those that both have against it.
const (
	attrClientAddress       = "client.address"
	attrClientPort          = "client.port"
	attrConnectionState     = "network.connection.state"
	attrContainerID         = "container.id"
	attrContainerRuntime    = "container.runtime.name"
	attrDestinationAddress  = "destination.address"
	attrDestinationPort     = "destination.port"
	attrDNSQuestionName     = "dns.question.name"
	attrErrorType           = "error.type"
	attrExecutableName      = "process.executable.name"
	attrFunctionName        = "code.function.name"
	attrInterfaceName       = "network.interface.name"
	attrIODirection         = "network.io.direction"
	attrLocalAddress        = "network.local.address"
	attrLocalPort           = "network.local.port"
	attrMethod              = "http.request.method"
	attrMethodOriginal      = "http.request.method_original"
	attrNetworkType         = "network.type"
	attrOverflow            = "otel.metric.overflow"
	attrPeerAddress         = "network.peer.address"
	attrPeerPort            = "network.peer.port"
	attrPID                 = "process.pid"
	attrPodUID              = "k8s.pod.uid"
	attrProtocolName        = "network.protocol.name"
	attrProtocolVersion     = "network.protocol.version"
	attrRequestBodySize     = "http.request.body.size"
	attrRequestHeader       = "http.request.header."
	attrResponseBodySize    = "http.response.body.size"
	attrResponseHeader      = "http.response.header."
	attrRPCMethod           = "rpc.method" // fully qualified: package.Service/Method
	attrRPCRequestMetadata  = "rpc.request.metadata."
	attrRPCResponseMetadata = "rpc.response.metadata."
	attrRPCStatus           = "rpc.status_code" // as of 1.44; rpc.response.status_code before
	attrRPCSystem           = "rpc.system.name"
	attrServerAddress       = "server.address"
	attrServerPort          = "server.port"
	attrServiceName         = "service.name"
	attrSourceAddress       = "source.address"
	attrSourcePort          = "source.port"
	attrStacktrace          = "code.stacktrace"
	attrStatusCode          = "http.response.status_code"
	attrTransport           = "network.transport"
	attrURLFull             = "url.full"
	attrURLPath             = "url.path"
	attrURLQuery            = "url.query"
	attrURLScheme           = "url.scheme"
	attrUserAgent           = "user_agent.original"

	// Proposed for the conventions, not merged.
	attrHandshakeRole  = "network.tcp.handshake.role"  // client: this end sent the SYN; server
	attrRetransmitType = "network.tcp.retransmit.type" // fast, timeout, tail_loss_probe, syn, syn_ack

	// Of this receiver, in the style of the conventions.
	// Where a call's time went, in seconds, see Parts; each only where it is known.
	attrNICToTCP       = "ebpfnet.receive.nic_to_tcp.duration"
	attrTCPToApp       = "ebpfnet.receive.tcp_to_app.duration"
	attrAppToDevice    = "ebpfnet.transmit.app_to_device.duration"
	attrApplication    = "ebpfnet.application.duration"
	attrPeerTime       = "ebpfnet.peer.duration"
	attrTCPRTT         = "ebpfnet.tcp.rtt"
	attrTCPRetransmits = "ebpfnet.tcp.retransmits"

	attrCapture          = "ebpfnet.capture"                 // l7.Capture, where a call was not seen whole
	attrCloseReason      = "network.tcp.close.reason"        // see closeReasons
	attrCommandClass     = "network.interface.command.class" // see commandClasses
	attrCounterName      = "network.counter.name"            // the kernel's, such as ListenDrops
	attrDNSDuration      = "dns.lookup.duration"             // s
	attrDNSQuestions     = "dns.lookup.questions"            // how often it was asked
	attrDNSQuestionType  = "dns.question.type"               // mnemonic, such as AAAA
	attrDNSResponseCode  = "dns.response_code"               // mnemonic, such as NXDOMAIN
	attrDropReason       = "network.packet.drop.reason"      // the kernel's name without SKB_DROP_REASON_, or a function
	attrFlowRole         = "network.flow.role"               // client, server: what this end is
	attrNetnsHost        = "ebpfnet.network.namespace.host"  // of the Resource: it is the host itself
	attrNetnsInode       = "ebpfnet.network.namespace.inode" // of the Resource, only where nothing else is known
	attrPacketSize       = "network.packet.size"             // By, as the kernel held the packet
	attrQdiscKind        = "network.qdisc.kind"
	attrRequestMessages  = "ebpfnet.rpc.request.message.count"
	attrResponseMessages = "ebpfnet.rpc.response.message.count"
	attrResetReason      = "network.tcp.reset.reason" // the kernel's name without SK_RST_REASON_, or a function
	attrCPU              = "cpu.logical_number"
	attrDiskDirection    = "disk.io.direction"          // read, write
	attrSlowDuration     = "network.slow.duration"      // s
	attrSoftirqPhase     = "network.softirq.phase"      // wait, run
	attrSoftirqVector    = "network.softirq.vector"     // see softirqVectors
	attrStageName        = "network.stage.name"         // see stageNames
	attrSocketState      = "network.socket.state"       // in_use, established, time_wait, orphaned, allocated
	attrTCPAcknowledge   = "network.tcp.acknowledgment" // number in the packet
	attrTCPFlags         = "network.tcp.flags"          // such as SYN|ACK
	attrTCPSequence      = "network.tcp.sequence"       // number in the packet
	attrWindowState      = "network.tcp.window.state"   // closed, opened
)

// OptionalAttributes are what Options.Attributes may name: attributes of connection metrics that are off
// because each multiplies the number of points.
func OptionalAttributes() []string {
	return []string{attrNetworkType, attrPeerAddress, attrServerPort, attrHandshakeRole}
}
