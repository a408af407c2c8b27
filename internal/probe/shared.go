//go:build linux && (amd64 || arm64)

package probe

import (
	"maps"
	"slices"
	"strings"

	"github.com/ebpfnet/ebpfnetreceiver/bpf"
	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

// sharedCapability names what serves several capabilities at once. Like a kind of hook, it can be avoided.
const sharedCapability = "shared"

// A sharedHook is one where several capabilities may have a program of their own. To come into a program costs the
// traced task as much as a part of it does, so one of bpf/shared.bpf.c takes the place of theirs.
type sharedHook struct {
	name    string
	program string
	parts   map[string]string // capability: its own program there
}

var sharedHooks = []sharedHook{
	{"tp_btf/tcp_probe", "on_tcp_probe", map[string]string{
		"times.received": "tcp_probe", "stages.receive": "stage_tcp_probe",
	}},
	{"tp_btf/tcp_rcv_space_adjust", "on_space_adjust", map[string]string{
		"stages.receive": "stage_read", "waits.read": "wait_read",
	}},
	{"tp_btf/net_dev_start_xmit", "on_start_xmit", map[string]string{
		"times.sent": "net_dev_start_xmit", "stages.transmit": "stage_start_xmit",
	}},
	{"tp_btf/tcp_sendmsg_locked", "on_sendmsg", map[string]string{
		"payload": "tcp_sendmsg_locked", "stages.socket": "stage_offered_traced", "waits.write": "wait_offered_traced",
	}},
	{"tp_btf/sock_send_length", "on_send_length", map[string]string{
		"payload": "sock_send_length", "datagrams": "datagram_sent", "waits.write": "wait_send_length",
	}},
	{"tp_btf/sock_recv_length", "on_recv_length", map[string]string{
		"payload": "sock_recv_length", "datagrams": "datagram_received",
	}},
	{"fentry/tcp_sendmsg_locked", "on_sendmsg_entry", map[string]string{
		"payload": "tcp_sendmsg_start", "stages.socket": "stage_offered_entry", "waits.write": "wait_send_start",
	}},
	{"fexit/tcp_sendmsg_locked", "on_sendmsg_exit", map[string]string{
		"payload": "tcp_sendmsg_exit", "waits.write": "wait_send_end",
	}},
}

// capability is what has the parts of these in one program.
func (h sharedHook) capability(of []capability) capability {
	c := capability{name: sharedCapability, load: bpf.LoadShared, constants: map[string]any{}}
	for _, part := range of {
		maps.Copy(c.constants, part.constants)
		c.constants["with_"+strings.ReplaceAll(part.name, ".", "_")] = boolean(true)
	}
	c.hooks = []hook{{name: h.name, programs: []attachment{tracing(h.program)}}}
	return c
}

// sharers are those who are served with a program of their own at this hook.
func (l *loader) sharers(h sharedHook) (found []*served) {
	for _, s := range l.served {
		if _, ok := s.programs[h.parts[s.capability]]; ok {
			found = append(found, s)
		}
	}
	return found
}

// attach makes the programs of all but one capability run; whose programs are not taken any more is given up. First
// come those that nobody else has a part in, so that who is given up then is not in what the others share.
func (l *loader) attach(except string) {
	share := !avoided(sharedCapability, l.config.AvoidHooks)
	for _, h := range sharedHooks {
		if sharers := l.sharers(h); share && len(sharers) > 1 {
			for _, s := range sharers {
				s.later = append(s.later, h.parts[s.capability])
			}
		}
	}
	for _, s := range slices.Clone(l.served) {
		if s.capability == except {
			continue
		}
		if err := s.attach(); err != nil {
			l.withdraw(s, err)
		}
	}
	for _, h := range sharedHooks {
		l.attachShared(h)
	}
}

// attachShared runs one program in the place of those that were left for later, or else each of them.
func (l *loader) attachShared(h sharedHook) {
	sharers := slices.DeleteFunc(l.sharers(h), func(s *served) bool {
		return !slices.Contains(s.later, h.parts[s.capability])
	})
	shared := l.share(h, sharers)
	for _, s := range sharers {
		program := h.parts[s.capability]
		if shared {
			s.programs[program].Close()
			delete(s.programs, program)
			continue
		}
		s.later = slices.DeleteFunc(s.later, func(name string) bool { return name == program })
		if err := s.attachOnly(program); err != nil {
			l.withdraw(s, err)
		}
	}
}

// share: false where the kernel does not take the program, which is noted, or nobody needs it.
func (l *loader) share(h sharedHook, sharers []*served) bool {
	if len(sharers) < 2 {
		return false
	}
	var of []capability
	for _, s := range sharers {
		of = append(of, l.asked[slices.IndexFunc(l.asked, func(c capability) bool { return c.name == s.capability })])
	}
	c := h.capability(of)
	s, err := l.load(c, c.hooks[0])
	if err == nil {
		if err = s.attach(); err != nil {
			s.close()
		}
	}
	if err != nil {
		l.unshared = append(l.unshared, wire.Refusal{Hook: h.name, Reason: err.Error()})
		return false
	}
	l.served = append(l.served, s)
	return true
}
