package counters

import (
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

// Attributes of include/uapi/linux/rtnetlink.h and gen_stats.h, and the parent of a device's outermost queueing
// discipline, of pkt_sched.h.
const (
	tcaKind        = 1
	tcaStats2      = 7
	tcaStatsBasic  = 1
	tcaStatsQueue  = 3
	tcaStatsPkt64  = 8
	tcHRoot        = 0xffffffff
	sizeofTcmsg    = 20
	attributeTypes = 0x3fff // without the flags NLA_F_NESTED and NLA_F_NET_BYTEORDER
)

// visitor opens sockets in network namespaces, in a thread of its own: it ends with the visitor, and whatever
// namespace it is in with it.
type visitor struct {
	ask    chan string // path of a process in procfs
	answer chan visit
}

type visit struct {
	socket int
	err    error
}

func newVisitor() *visitor {
	v := &visitor{ask: make(chan string), answer: make(chan visit)}
	go func() {
		runtime.LockOSThread() // and never unlocked
		for process := range v.ask {
			socket, err := enterAndOpen(process)
			v.answer <- visit{socket, err}
		}
	}()
	return v
}

func (v *visitor) open(process string) (int, error) {
	v.ask <- process
	got := <-v.answer
	return got.socket, got.err
}

func (v *visitor) close() { close(v.ask) }

func enterAndOpen(process string) (int, error) {
	fd, err := unix.Open(process+"/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open the namespace: %w", err)
	}
	defer unix.Close(fd)
	if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
		return -1, fmt.Errorf("enter the namespace: %w", err)
	}
	return openNetlink()
}

func openNetlink() (int, error) {
	return unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
}

// readQdiscs reads the outermost queueing discipline of each device; of one with a queue for each of the device's,
// such as mq, that has their sum. It takes CAP_SYS_ADMIN and CAP_SYS_PTRACE, but in the reader's own namespace.
func (r *Reader) readQdiscs(target *Target) {
	var socket int
	var err error
	switch {
	case target.Inode == r.own:
		socket, err = openNetlink()
	case r.refused != nil:
		return
	default:
		if r.visitor == nil {
			r.visitor = newVisitor()
		}
		socket, err = r.visitor.open(r.process(target))
		if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
			r.refused = err
		}
	}
	if err != nil {
		return
	}
	defer unix.Close(socket)
	devices := 0
	err = r.dump(socket, unix.RTM_GETQDISC, sizeofTcmsg, func(message []byte) {
		if devices < maxDevices && r.readQdisc(socket, target, message) {
			devices++
		}
	})
	if err != nil {
		r.failed = fmt.Errorf("queueing disciplines of network namespace %d: %w", target.Inode, err)
	}
}

// dump asks for all objects of a kind and hands over what is told of each, behind the header.
func (r *Reader) dump(socket int, kind uint16, bodySize int, each func([]byte)) error {
	request := make([]byte, unix.NLMSG_HDRLEN+bodySize)
	binary.NativeEndian.PutUint32(request, uint32(len(request)))
	binary.NativeEndian.PutUint16(request[4:], kind)
	binary.NativeEndian.PutUint16(request[6:], unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	if err := unix.Sendto(socket, request, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	for {
		n, _, err := unix.Recvfrom(socket, r.buffer, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return err
		}
		for rest := r.buffer[:n]; len(rest) >= unix.NLMSG_HDRLEN; {
			size := int(binary.NativeEndian.Uint32(rest))
			if size < unix.NLMSG_HDRLEN || size > len(rest) {
				return errors.New("netlink: a message that is cut short")
			}
			switch binary.NativeEndian.Uint16(rest[4:]) {
			case unix.NLMSG_DONE:
				return nil
			case unix.NLMSG_ERROR:
				if size < unix.NLMSG_HDRLEN+4 {
					return errors.New("netlink: a message that is cut short")
				}
				return fmt.Errorf("netlink: %w", unix.Errno(-int32(binary.NativeEndian.Uint32(rest[unix.NLMSG_HDRLEN:]))))
			}
			each(rest[unix.NLMSG_HDRLEN:size])
			rest = rest[min((size+3)&^3, len(rest)):]
		}
	}
}

func (r *Reader) readQdisc(socket int, target *Target, message []byte) bool {
	if len(message) < sizeofTcmsg || binary.NativeEndian.Uint32(message[12:]) != tcHRoot {
		return false
	}
	var kind string
	var basic, queue, packets []byte
	attributes(message[sizeofTcmsg:], func(kindOf uint16, value []byte) {
		switch kindOf {
		case tcaKind:
			kind = r.text([]byte(strings.TrimRight(string(value), "\x00")))
		case tcaStats2:
			attributes(value, func(kindOf uint16, value []byte) {
				switch kindOf {
				case tcaStatsBasic:
					basic = value
				case tcaStatsQueue:
					queue = value
				case tcaStatsPkt64:
					packets = value
				}
			})
		}
	})
	if kind == "noqueue" || len(basic) < 12 || len(queue) < 20 {
		return false
	}
	device, err := deviceName(socket, binary.NativeEndian.Uint32(message[4:]))
	if err != nil || r.skips(target, device) {
		return false
	}
	add := func(add func(wire.Counter), name string, value uint64) {
		add(wire.Counter{Group: wire.CounterQdisc, Device: device, Kind: kind, Name: name, Value: value})
	}
	sent := uint64(binary.NativeEndian.Uint32(basic[8:]))
	if len(packets) >= 8 { // there if 32 bits do not hold it
		sent = binary.NativeEndian.Uint64(packets)
	}
	add(r.sum, "bytes", binary.NativeEndian.Uint64(basic))
	add(r.sum, "packets", sent)
	add(r.state, "qlen", uint64(binary.NativeEndian.Uint32(queue)))
	add(r.state, "backlog", uint64(binary.NativeEndian.Uint32(queue[4:])))
	add(r.sum, "drops", uint64(binary.NativeEndian.Uint32(queue[8:])))
	add(r.sum, "requeues", uint64(binary.NativeEndian.Uint32(queue[12:])))
	add(r.sum, "overlimits", uint64(binary.NativeEndian.Uint32(queue[16:])))
	return true
}

// attributes calls each for the netlink attributes in b.
func attributes(b []byte, each func(kind uint16, value []byte)) {
	for len(b) >= unix.SizeofNlAttr {
		size := int(binary.NativeEndian.Uint16(b))
		if size < unix.SizeofNlAttr || size > len(b) {
			return
		}
		each(binary.NativeEndian.Uint16(b[2:])&attributeTypes, b[unix.SizeofNlAttr:size])
		b = b[min((size+3)&^3, len(b)):]
	}
}

// deviceName asks for the name of a device in the namespace of a socket.
func deviceName(socket int, index uint32) (string, error) {
	request, err := unix.NewIfreq("x")
	if err != nil {
		return "", err
	}
	request.SetUint32(index)
	if err := unix.IoctlIfreq(socket, unix.SIOCGIFNAME, request); err != nil {
		return "", err
	}
	return request.Name(), nil
}
