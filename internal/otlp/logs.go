package otlp

import (
	"strings"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"

	"github.com/ebpfnet/ebpfnetreceiver/internal/conn"
	"github.com/ebpfnet/ebpfnetreceiver/internal/owner"
	"github.com/ebpfnet/ebpfnetreceiver/internal/symbol"
	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

// Event names.
const (
	EventPacketDrop       = "network.packet.drop"
	EventTCPReset         = "network.tcp.reset"
	EventTCPRetransmit    = "network.tcp.retransmit"
	EventConnectionFailed = "network.tcp.connection.failed"
)

// Link names the call that an event hurt. Zero: none, or not known.
type Link struct {
	TraceID [16]byte
	SpanID  [8]byte
}

// Logs accumulates events, by Resource.
type Logs struct {
	clock
	options     Options
	environment Environment
	reasons     reasons
	logs        plog.Logs
	scopes      map[owner.Owner]plog.LogRecordSlice
	count       int
	line        []byte
}

// NewLogs makes an empty builder.
func NewLogs(options Options, environment Environment) *Logs {
	return &Logs{
		options:     options,
		environment: environment,
		reasons:     newReasons(environment.Facts),
		logs:        plog.NewLogs(),
		scopes:      map[owner.Owner]plog.LogRecordSlice{},
	}
}

// Len is how many records Take would hand over.
func (l *Logs) Len() int { return l.count }

// Take hands over what has accumulated. Resources are in the order of their first record.
func (l *Logs) Take() plog.Logs {
	taken := l.logs
	l.logs, l.count = plog.NewLogs(), 0
	clear(l.scopes)
	return taken
}

func (l *Logs) append(o owner.Owner, timeNs uint64, name string, severity plog.SeverityNumber, link Link) plog.LogRecord {
	records, ok := l.scopes[o]
	if !ok {
		resource := l.logs.ResourceLogs().AppendEmpty()
		resource.SetSchemaUrl(SchemaURL)
		writeResource(o, resource.Resource().Attributes())
		scope := resource.ScopeLogs().AppendEmpty()
		scope.SetSchemaUrl(SchemaURL)
		writeScope(l.options.Version, scope.Scope())
		records = scope.LogRecords()
		l.scopes[o] = records
	}
	l.count++
	record := records.AppendEmpty()
	at := pcommon.Timestamp(l.wall(timeNs))
	record.SetTimestamp(at)
	record.SetObservedTimestamp(at) // the kernel half observed it as it happened
	record.SetEventName(name)
	record.SetSeverityNumber(severity)
	record.SetSeverityText(strings.ToUpper(severity.String()))
	record.SetTraceID(link.TraceID)
	record.SetSpanID(link.SpanID)
	record.Attributes().EnsureCapacity(20)
	return record
}

// Packet adds a drop, reset or retransmit. c is the connection of event.ConnID, nil where there is none.
func (l *Logs) Packet(event *wire.PacketEvent, c *conn.Connection, link Link) {
	name, severity, attribute := EventPacketDrop, plog.SeverityNumberWarn, attrDropReason
	switch event.Header.Kind {
	case wire.RecordReset:
		name, attribute = EventTCPReset, attrResetReason
	case wire.RecordRetransmit:
		// TCP doing its work, and frequent under load.
		name, severity, attribute = EventTCPRetransmit, plog.SeverityNumberInfo, attrRetransmitType
	}
	process := l.process(event, c)
	o := ownerOf(c)
	if c == nil {
		o = l.environment.Owners.Resolve(event.Owner, wire.Text(event.Comm), event.Header.TimeNs)
	}
	record := l.append(o, event.Header.TimeNs, name, severity, link)
	to := record.Attributes()
	what := l.reasons.name(event.Header.Kind, event.HasReason, event.Reason, event.Location)
	packet := describePacket(event)

	putStr(to, attribute, what)
	packet.write(to)
	putStr(to, attrInterfaceName, packet.device)
	if event.Length != 0 {
		to.PutInt(attrPacketSize, int64(event.Length))
	}
	if event.HasTCP&wire.TCPSequence != 0 {
		to.PutInt(attrTCPSequence, int64(event.Sequence))
	}
	if event.HasTCP&wire.TCPHeader != 0 {
		putStr(to, attrTCPFlags, packet.flags)
		if event.TCPFlags&tcpACK != 0 {
			to.PutInt(attrTCPAcknowledge, int64(event.Acknowledgment))
		}
	}
	putStr(to, attrConnectionState, at(connectionStates[:], event.TCPState))
	putStr(to, attrFunctionName, l.reasons.function(event.Location))
	if depth := min(int(event.StackDepth), len(event.Stack)); depth > 0 {
		putStr(to, attrStacktrace, symbol.Stack(event.Stack[:depth], l.environment.Facts.Symbol))
	}
	process.write(o, to)
	l.line = packet.line(l.line[:0], event.Header.Kind, what, &process)
	record.Body().SetStr(string(l.line))
}

// ConnectionFailed adds a connect that failed: a record of kind wire.RecordConnFailed. c is its
// connection, nil where it is not known.
func (l *Logs) ConnectionFailed(r *wire.ConnRecord, c *conn.Connection, link Link) {
	o := ownerOf(c)
	if c == nil {
		o = l.environment.Owners.Resolve(r.Owner, wire.Text(r.Comm), r.Header.TimeNs)
	}
	process := process{}
	if r.Flags&wire.ConnTGIDAmbiguous == 0 {
		process = l.processOf(r.Owner.TGID, wire.Text(r.Comm), r.Header.TimeNs)
	}
	record := l.append(o, r.Header.TimeNs, EventConnectionFailed, plog.SeverityNumberWarn, link)
	to := record.Attributes()
	failure := errnoName(conn.FailureOf(r))
	packet := packet{
		source: r.Pair.LocalAddr(), destination: r.Pair.RemoteAddr(),
		addressed: true, transport: transport(6),
	}
	to.PutStr(attrErrorType, failure)
	packet.write(to)
	putStr(to, attrConnectionState, at(connectionStates[:], r.State))
	process.write(o, to)
	l.line = packet.failed(l.line[:0], failure, r, &process)
	record.Body().SetStr(string(l.line))
}
