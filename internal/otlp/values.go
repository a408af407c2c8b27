package otlp

import (
	"strconv"
	"strings"

	"github.com/ebpfnet/ebpfnetreceiver/internal/conn"
	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

// Values of network.connection.state, by TCP state.
var connectionStates = [conn.StateCount]string{
	conn.StateEstablished: "established",
	conn.StateSynSent:     "syn_sent",
	conn.StateSynRecv:     "syn_received",
	conn.StateFinWait1:    "fin_wait_1",
	conn.StateFinWait2:    "fin_wait_2",
	conn.StateTimeWait:    "time_wait",
	conn.StateClose:       "closed",
	conn.StateCloseWait:   "close_wait",
	conn.StateLastACK:     "last_ack",
	conn.StateListen:      "listen",
	conn.StateClosing:     "closing",
	conn.StateNewSynRecv:  "syn_received",
}

var closeReasons = [...]string{
	wire.CloseUnknown:       "unknown",
	wire.CloseLocalFIN:      "local_fin",
	wire.CloseRemoteFIN:     "remote_fin",
	wire.CloseResetReceived: "reset_received",
	wire.CloseResetSent:     "reset_sent",
	wire.CloseTimeout:       "timeout",
	wire.CloseError:         "error",
}

var (
	roles           = [...]string{"", "client", "server"}
	directions      = [...]string{"", "transmit", "receive"}
	retransmitTypes = [...]string{"", "fast", "timeout", "tail_loss_probe", "syn", "syn_ack"}
)

// at is names[i], empty where there is none: a newer kernel half may know more values.
func at[I uint8 | uint32](names []string, i I) string {
	if int(i) < len(names) {
		return names[i]
	}
	return ""
}

// errnoName is the error.type of a failed connect: the errno as Linux numbers it on every supported
// architecture (include/uapi/asm-generic/errno.h), "aborted" where the application closed the socket
// before there was an answer, else "_OTHER".
func errnoName(errno uint32) string {
	switch errno {
	case conn.ErrnoAborted:
		return "aborted"
	case 1:
		return "EPERM"
	case 4:
		return "EINTR"
	case 11:
		return "EAGAIN"
	case 12:
		return "ENOMEM"
	case 13:
		return "EACCES"
	case 22:
		return "EINVAL"
	case 32:
		return "EPIPE"
	case 71:
		return "EPROTO"
	case 90:
		return "EMSGSIZE"
	case 92:
		return "ENOPROTOOPT"
	case 95:
		return "EOPNOTSUPP"
	case 98:
		return "EADDRINUSE"
	case 99:
		return "EADDRNOTAVAIL"
	case 100:
		return "ENETDOWN"
	case 101:
		return "ENETUNREACH"
	case 102:
		return "ENETRESET"
	case 103:
		return "ECONNABORTED"
	case 104:
		return "ECONNRESET"
	case 105:
		return "ENOBUFS"
	case 110:
		return "ETIMEDOUT"
	case 111:
		return "ECONNREFUSED"
	case 112:
		return "EHOSTDOWN"
	case 113:
		return "EHOSTUNREACH"
	case 125:
		return "ECANCELED"
	default:
		return "_OTHER"
	}
}

// transports are the protocols that have a name here, of IANA's protocol numbers.
var transports = map[uint8]string{
	1: "icmp", 2: "igmp", 4: "ipip", 6: "tcp", 17: "udp", 33: "dccp", 41: "ipv6", 47: "gre", 50: "esp", 51: "ah",
	58: "icmpv6", 89: "ospf", 103: "pim", 112: "vrrp", 115: "l2tp", 132: "sctp", 136: "udplite", 255: "raw",
}

// transport is the name of a protocol, its number where it has none, and empty for zero.
func transport(protocol uint8) string {
	if name, ok := transports[protocol]; ok || protocol == 0 {
		return name
	}
	return strconv.Itoa(int(protocol))
}

const tcpACK = 0x10 // RFC 9293 section 3.1

// tcpFlags writes the flags of a segment as SYN|ACK, in the order of their bits.
func tcpFlags(flags uint8) string {
	switch flags { // what nearly all segments have
	case 0x02:
		return "SYN"
	case 0x10:
		return "ACK"
	case 0x12:
		return "SYN|ACK"
	case 0x18:
		return "PSH|ACK"
	case 0x04:
		return "RST"
	case 0x14:
		return "RST|ACK"
	}
	var names []string
	for bit, name := range [...]string{"FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"} {
		if flags&(1<<bit) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, "|")
}
