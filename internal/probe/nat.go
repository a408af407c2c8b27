//go:build linux && (amd64 || arm64)

package probe

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

const conntrackHook = "netlink/conntrack"

// What is used of include/uapi/linux/netfilter/nfnetlink_conntrack.h and nf_conntrack_common.h.
const (
	ctMessageNew = unix.NFNL_SUBSYS_CTNETLINK << 8
	ctMessageGet = unix.NFNL_SUBSYS_CTNETLINK<<8 | 1

	ctaTupleOrig  = 1
	ctaTupleReply = 2
	ctaStatus     = 3
	ctaTupleIP    = 1
	ctaTupleProto = 2
	ctaIPv4Src    = 1
	ctaIPv4Dst    = 2
	ctaIPv6Src    = 3
	ctaIPv6Dst    = 4
	ctaProtoNum   = 1
	ctaProtoSrc   = 2
	ctaProtoDst   = 3

	ipsDstNAT = 1 << 5
)

// conntrack asks the tables of connections of some network namespaces what became of a destination. It asks for
// one connection at a time: a table of a node may hold hundreds of thousands.
type conntrack struct {
	sockets []int
	request []byte
	answer  [4096]byte
	number  uint32
}

// openConntrack needs CAP_NET_ADMIN; for namespaces other than "self" CAP_SYS_ADMIN too, while it opens them.
func openConntrack(namespaces []string) (*conntrack, error) {
	c := &conntrack{}
	for _, namespace := range namespaces {
		socket, err := netfilterSocket(namespace)
		if err == nil {
			c.sockets = append(c.sockets, socket)
			// Of a connection that there cannot be, for the answer of a kernel that answers.
			nowhere := wire.AddressPair{Protocol: unix.IPPROTO_TCP}
			_, err = c.ask(socket, &nowhere)
		}
		if err != nil && !errors.Is(err, unix.ENOENT) {
			c.close()
			return nil, fmt.Errorf("%s: %w", namespace, explainConntrack(err))
		}
	}
	return c, nil
}

func explainConntrack(err error) error {
	switch {
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("%w: the table of connections needs CAP_NET_ADMIN (another namespace CAP_SYS_ADMIN too)", err)
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.EPROTONOSUPPORT):
		return fmt.Errorf("%w: the kernel has no nf_conntrack_netlink (modprobe nf_conntrack_netlink)", err)
	default:
		return err
	}
}

// netfilterSocket opens a socket in a namespace. A socket stays where it was opened, so the thread need not.
func netfilterSocket(namespace string) (socket int, err error) {
	open := func() (int, error) {
		return unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	}
	if namespace == "self" {
		return open()
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		var file *os.File
		if file, err = os.Open(namespace); err != nil {
			return
		}
		defer file.Close()
		if err = unix.Setns(int(file.Fd()), unix.CLONE_NEWNET); err == nil {
			socket, err = open()
		}
	}()
	<-done
	return socket, err
}

// translation is whom a connection from pair.Local that asked for pair.Remote was sent to, if that is another.
func (c *conntrack) translation(pair *wire.AddressPair) (netip.AddrPort, bool) {
	for _, socket := range c.sockets {
		if backend, err := c.ask(socket, pair); err == nil && backend.IsValid() && backend != pair.RemoteAddr() {
			return backend, true
		}
	}
	return netip.AddrPort{}, false
}

// ask asks one table. The result is not valid where the destination was not translated.
func (c *conntrack) ask(socket int, pair *wire.AddressPair) (netip.AddrPort, error) {
	c.number++
	c.request = appendConntrackGet(c.request[:0], pair, c.number)
	if err := unix.Sendto(socket, c.request, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return netip.AddrPort{}, err
	}
	for {
		// The kernel has answered before the call above returned.
		n, _, err := unix.Recvfrom(socket, c.answer[:], unix.MSG_DONTWAIT)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return netip.AddrPort{}, err
		}
		message := c.answer[:n]
		if n < unix.SizeofNlMsghdr+4 || binary.NativeEndian.Uint32(message[8:]) != c.number {
			continue // of an earlier question
		}
		switch binary.NativeEndian.Uint16(message[4:]) {
		case unix.NLMSG_ERROR:
			if code := int32(binary.NativeEndian.Uint32(message[unix.SizeofNlMsghdr:])); code != 0 {
				return netip.AddrPort{}, unix.Errno(-code)
			}
			return netip.AddrPort{}, nil
		case ctMessageNew:
			return destination(message[unix.SizeofNlMsghdr+4:]), nil
		}
	}
}

// appendConntrackGet asks for the entry of which pair, local to remote, is the original direction.
func appendConntrackGet(b []byte, pair *wire.AddressPair, number uint32) []byte {
	local, remote := pair.LocalAddr(), pair.RemoteAddr()
	family, source, target := uint8(unix.AF_INET), uint16(ctaIPv4Src), uint16(ctaIPv4Dst)
	if remote.Addr().Is6() {
		family, source, target = unix.AF_INET6, ctaIPv6Src, ctaIPv6Dst
	}
	b = append(b, 0, 0, 0, 0)
	b = binary.NativeEndian.AppendUint16(b, ctMessageGet)
	b = binary.NativeEndian.AppendUint16(b, unix.NLM_F_REQUEST)
	b = binary.NativeEndian.AppendUint32(b, number)
	b = append(b, 0, 0, 0, 0, family, 0, 0, 0)
	tuple := len(b)
	b = openAttribute(b, ctaTupleOrig)
	ip := len(b)
	b = openAttribute(b, ctaTupleIP)
	b = appendAttribute(b, source, local.Addr().AsSlice())
	b = appendAttribute(b, target, remote.Addr().AsSlice())
	closeAttribute(b, ip)
	proto := len(b)
	b = openAttribute(b, ctaTupleProto)
	b = appendAttribute(b, ctaProtoNum, []byte{pair.Protocol})
	b = appendAttribute(b, ctaProtoSrc, binary.BigEndian.AppendUint16(nil, local.Port()))
	b = appendAttribute(b, ctaProtoDst, binary.BigEndian.AppendUint16(nil, remote.Port()))
	closeAttribute(b, proto)
	closeAttribute(b, tuple)
	binary.NativeEndian.PutUint32(b, uint32(len(b)))
	return b
}

func openAttribute(b []byte, kind uint16) []byte {
	b = append(b, 0, 0)
	return binary.NativeEndian.AppendUint16(b, kind|unix.NLA_F_NESTED)
}

func closeAttribute(b []byte, at int) { binary.NativeEndian.PutUint16(b[at:], uint16(len(b)-at)) }

func appendAttribute(b []byte, kind uint16, value []byte) []byte {
	b = binary.NativeEndian.AppendUint16(b, uint16(4+len(value)))
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = append(b, value...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

// destination is whence the answers of an entry come, if its destination was translated.
func destination(entry []byte) netip.AddrPort {
	var status uint32
	if value := attribute(entry, ctaStatus); len(value) == 4 {
		status = binary.BigEndian.Uint32(value)
	}
	if status&ipsDstNAT == 0 {
		return netip.AddrPort{}
	}
	reply := attribute(entry, ctaTupleReply)
	ip, port := attribute(reply, ctaTupleIP), attribute(attribute(reply, ctaTupleProto), ctaProtoSrc)
	source := attribute(ip, ctaIPv4Src)
	if source == nil {
		source = attribute(ip, ctaIPv6Src)
	}
	address, ok := netip.AddrFromSlice(source)
	if !ok || len(port) != 2 {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(address, binary.BigEndian.Uint16(port))
}

// attribute is the value of the first attribute of a kind; nil where there is none.
func attribute(b []byte, kind uint16) []byte {
	for len(b) >= 4 {
		length := int(binary.NativeEndian.Uint16(b))
		if length < 4 || length > len(b) {
			return nil
		}
		if binary.NativeEndian.Uint16(b[2:])&^(unix.NLA_F_NESTED|unix.NLA_F_NET_BYTEORDER) == kind {
			return b[4:length]
		}
		b = b[min((length+3)&^3, len(b)):]
	}
	return nil
}

func (c *conntrack) close() {
	for _, socket := range c.sockets {
		unix.Close(socket)
	}
	c.sockets = nil
}

// Translation implements wire.Translator.
func (f *facts) Translation(pair *wire.AddressPair) (netip.AddrPort, bool) {
	if f.conntrack == nil {
		return netip.AddrPort{}, false
	}
	return f.conntrack.translation(pair)
}

// openNAT opens the tables that config names. Without them flows have no backends, which is told as of a probe.
func (s *source) openNAT() {
	status := wire.ProbeStatus{Capability: "nat", Hook: conntrackHook}
	table, err := openConntrack(s.config.NAT)
	if err != nil {
		status.Hook, status.Refused = "", []wire.Refusal{{Hook: conntrackHook, Reason: err.Error()}}
	}
	s.facts.conntrack = table
	s.loader.statuses = append(s.loader.statuses, status)
}
