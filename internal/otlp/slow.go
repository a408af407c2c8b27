package otlp

import (
	"strconv"
	"time"

	"go.opentelemetry.io/collector/pdata/plog"

	"github.com/ebpfnet/ebpfnetreceiver/internal/conn"
	"github.com/ebpfnet/ebpfnetreceiver/internal/symbol"
	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

// Event names of what took long.
const (
	EventReadSlow    = "network.socket.read.slow"
	EventWriteSlow   = "network.socket.write.slow"
	EventStageSlow   = "network.stage.slow"
	EventSoftirqSlow = "network.softirq.slow"
	EventCommandSlow = "network.interface.command.slow"
	// EventWindowClosed: one of the windows of a connection is closed, or was.
	EventWindowClosed = "network.tcp.window.closed"
)

// Slow adds something that took longer than its threshold. c is the connection of event.ConnID, nil where there
// is none.
func (l *Logs) Slow(event *wire.SlowEvent, c *conn.Connection, link Link) {
	if event.What == wire.SlowSoftirq {
		l.softirq(event)
		return
	}
	if event.What == wire.SlowCommand {
		l.command(event)
		return
	}
	o := ownerOf(c)
	if c == nil {
		o = l.environment.Owners.Resolve(event.Owner, wire.Text(event.Comm), event.Header.TimeNs)
	}
	name, what := EventStageSlow, "slow stage "+StageName(event.Direction, event.Stage)
	switch event.What {
	case wire.SlowRead:
		name, what = EventReadSlow, "slow read"
	case wire.SlowWrite:
		name, what = EventWriteSlow, "slow write"
	case wire.SlowWindow:
		name, what = EventWindowClosed, windowText(event)
	}
	record := l.append(o, event.Header.TimeNs, name, plog.SeverityNumberWarn, link)
	p := packet{
		source: event.Pair.LocalAddr(), destination: event.Pair.RemoteAddr(),
		addressed: event.Pair.Protocol != 0, transport: transport(event.Pair.Protocol),
		direction: at(directions[:], event.Direction),
	}
	if event.Direction == wire.DirectionReceive {
		p.source, p.destination = p.destination, p.source
	}
	who := l.processOf(event.Owner.TGID, wire.Text(event.Comm), event.Header.TimeNs)
	to := record.Attributes()
	to.PutDouble(attrSlowDuration, float64(event.DurationNs)/1e9)
	p.write(to)
	switch event.What {
	case wire.SlowStage:
		putStr(to, attrStageName, StageName(event.Direction, event.Stage))
	case wire.SlowRead:
		to.PutInt(attrTCPSequence, int64(event.Sequence))
	case wire.SlowWindow:
		to.PutInt(attrTCPSequence, int64(event.Sequence))
		putStr(to, attrWindowState, at(windowStates[:], event.Stage))
	}
	l.stack(event, record)
	who.write(o, to)

	line := append(l.line[:0], what...)
	line = append(line, ", "...)
	line = append(line, took(event)...)
	if p.addressed {
		line = p.ends(append(line, ':'))
	}
	l.line = who.line(line)
	record.Body().SetStr(string(l.line))
}

var windowStates = [...]string{wire.WindowClosed: "closed", wire.WindowOpened: "opened"}

func windowText(event *wire.SlowEvent) string {
	text := "peer's window "
	if event.Direction == wire.DirectionReceive {
		text = "own window "
	}
	if event.Stage == wire.WindowOpened {
		return text + "was closed"
	}
	return text + "is closed"
}

func (l *Logs) softirq(event *wire.SlowEvent) {
	record := l.append(l.environment.Owners.Host(), event.Header.TimeNs, EventSoftirqSlow, plog.SeverityNumberWarn, Link{})
	to := record.Attributes()
	vector, phase := at(softirqVectors[:], event.Stage), at(softirqPhases[:], event.Direction)
	to.PutDouble(attrSlowDuration, float64(event.DurationNs)/1e9)
	putStr(to, attrSoftirqVector, vector)
	putStr(to, attrSoftirqPhase, phase)
	to.PutInt(attrCPU, int64(event.Header.CPU))
	l.stack(event, record)
	verb := " waited "
	if event.Direction == wire.SoftirqRun {
		verb = " ran "
	}
	record.Body().SetStr("softirq " + vector + verb + took(event) + " on CPU " + strconv.FormatUint(uint64(event.Header.CPU), 10))
}

func (l *Logs) command(event *wire.SlowEvent) {
	record := l.append(l.environment.Owners.Host(), event.Header.TimeNs, EventCommandSlow, plog.SeverityNumberWarn, Link{})
	to := record.Attributes()
	to.PutDouble(attrSlowDuration, float64(event.DurationNs)/1e9)
	putCommand(to, event.Comm, event.Stage)
	l.stack(event, record)
	record.Body().SetStr("command " + commandClass(event.Stage) + " to " + wire.Text(event.Comm) + " took " + took(event))
}

func (l *Logs) stack(event *wire.SlowEvent, record plog.LogRecord) {
	if depth := min(int(event.StackDepth), len(event.Stack)); depth > 0 {
		putStr(record.Attributes(), attrStacktrace, symbol.Stack(event.Stack[:depth], l.environment.Facts.Symbol))
	}
}

func took(event *wire.SlowEvent) string {
	return time.Duration(event.DurationNs).Round(10 * time.Microsecond).String()
}
