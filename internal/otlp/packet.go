package otlp

import (
	"net/netip"
	"strconv"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/ebpfnet/ebpfnetreceiver/internal/conn"
	"github.com/ebpfnet/ebpfnetreceiver/internal/owner"
	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

// packet is what an event says of a packet, in words.
type packet struct {
	source, destination netip.AddrPort
	addressed           bool // the addresses were read; IPv4 ones are never all zero in 16 bytes
	transport           string
	direction           string
	device              string
	flags               string
	etherType           uint16
	length              uint32
}

func describePacket(event *wire.PacketEvent) packet {
	p := packet{
		source:      event.Pair.LocalAddr(),
		destination: event.Pair.RemoteAddr(),
		transport:   transport(event.Pair.Protocol),
		direction:   at(directions[:], event.Direction),
		device:      wire.Text(event.Ifname),
		etherType:   event.EtherType,
		length:      event.Length,
		addressed:   event.Pair.Local != [16]uint8{} || event.Pair.Remote != [16]uint8{},
	}
	if event.HasTCP&wire.TCPHeader != 0 {
		p.flags = tcpFlags(event.TCPFlags)
	}
	return p
}

func (p *packet) write(to pcommon.Map) {
	if p.addressed {
		to.PutStr(attrSourceAddress, p.source.Addr().String())
		putPort(to, attrSourcePort, p.source.Port())
		to.PutStr(attrDestinationAddress, p.destination.Addr().String())
		putPort(to, attrDestinationPort, p.destination.Port())
		to.PutStr(attrNetworkType, p.family())
	}
	putStr(to, attrTransport, p.transport)
	putStr(to, attrIODirection, p.direction)
}

func (p *packet) family() string {
	if p.destination.Addr().Is4() {
		return "ipv4"
	}
	return "ipv6"
}

// line is the body: what happened, to which packet, where, and whose it was.
func (p *packet) line(b []byte, kind uint32, what string, who *process) []byte {
	switch kind {
	case wire.RecordReset:
		switch p.direction {
		case "receive":
			b = append(b, "reset received"...)
		case "transmit":
			b = append(b, "reset sent"...)
		default:
			b = append(b, "reset"...)
		}
	case wire.RecordRetransmit:
		b = append(b, "retransmit"...)
	default:
		b = append(b, "drop"...)
	}
	if what != "" {
		b = append(append(b, ' '), what...)
	}
	b = append(b, ':')
	switch {
	case p.addressed:
		b = p.ends(b)
	case p.etherType == 0:
		b = append(b, " no header"...)
	default:
		b = append(b, " ethertype 0x"...)
		b = strconv.AppendUint(b, uint64(p.etherType), 16)
	}
	for _, word := range [...]string{p.transport, p.flags} {
		if word != "" {
			b = append(append(b, ' '), word...)
		}
	}
	if p.length != 0 {
		b = append(b, ", "...)
		b = strconv.AppendUint(b, uint64(p.length), 10)
		b = append(b, " bytes"...)
	}
	if p.device != "" {
		b = append(append(b, ", on "...), p.device...)
	}
	return who.line(b)
}

// failed is the body of a failed connect.
func (p *packet) failed(b []byte, failure string, r *wire.ConnRecord, who *process) []byte {
	b = append(append(b, "connect "...), failure...)
	b = p.ends(append(b, ':'))
	if r.OpenedNs != 0 && r.Header.TimeNs > r.OpenedNs {
		b = append(b, ", after "...)
		b = append(b, time.Duration(r.Header.TimeNs-r.OpenedNs).Round(10*time.Microsecond).String()...)
	}
	return who.line(b)
}

func (p *packet) ends(b []byte) []byte {
	b = appendEnd(append(b, ' '), p.source)
	return appendEnd(append(b, " -> "...), p.destination)
}

// appendEnd leaves a port out where there is none: ICMP, a fragment.
func appendEnd(b []byte, end netip.AddrPort) []byte {
	if end.Port() == 0 {
		return end.Addr().AppendTo(b)
	}
	return end.AppendTo(b)
}

// process is the process at one end, where it is certain.
type process struct {
	pid        uint32
	comm       string
	executable string
}

func (l *Logs) process(event *wire.PacketEvent, c *conn.Connection) process {
	if event.Owner.TGID == 0 && c != nil {
		return l.processOf(c.Process(), c.Comm(), event.Header.TimeNs)
	}
	return l.processOf(event.Owner.TGID, wire.Text(event.Comm), event.Header.TimeNs)
}

func (l *Logs) processOf(pid uint32, comm string, timeNs uint64) process {
	if pid == 0 {
		return process{}
	}
	return process{pid: pid, comm: comm, executable: l.environment.Owners.Executable(pid, timeNs)}
}

// write writes what the Resource does not say already.
func (p *process) write(o owner.Owner, to pcommon.Map) {
	if p.pid == 0 || o.PID == p.pid {
		return
	}
	to.PutInt(attrPID, int64(p.pid))
	putStr(to, attrExecutableName, p.executable)
}

func (p *process) line(b []byte) []byte {
	if p.pid == 0 {
		return b
	}
	b = append(b, ", process "...)
	if name := p.name(); name != "" {
		b = append(append(b, name...), ' ')
	}
	return strconv.AppendUint(b, uint64(p.pid), 10)
}

func (p *process) name() string {
	if p.executable != "" {
		return p.executable
	}
	return p.comm
}
