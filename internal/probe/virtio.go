//go:build linux && (amd64 || arm64)

package probe

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/cilium/ebpf"

	"github.com/ebpfnet/ebpfnetreceiver/bpf"
	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

// virtio times the commands of the virtio-net driver to its devices. Where there are both functions, one is a wrapper of
// the other, which sees all commands.
func virtio(scope Scope) capability {
	c := capability{
		name: "virtio",
		load: bpf.LoadVirtio,
		hooks: []hook{
			{
				name:     "fexit/virtnet_send_command_reply",
				programs: []attachment{tracing("command_reply_entry"), tracing("command_reply_exit")},
			},
			{
				name:     "fexit/virtnet_send_command",
				programs: []attachment{tracing("command_entry"), tracing("command_exit")},
			},
			virtioProbe("virtnet_send_command_reply"),
			virtioProbe("virtnet_send_command"),
		},
	}
	if !scope.empty() {
		c.hooks = c.hooks[:1] // of all of which the same is to be said
		c.refused = "a driver's commands belong to nobody: they are watched only where the scope is the whole host"
	}
	return c
}

func virtioProbe(function string) hook {
	return hook{
		name:     "kprobe/" + function,
		programs: []attachment{kprobe("command_call", function), kretprobe("command_return", function)},
	}
}

// hasVirtio: a host without this driver has no commands that could be missed. One that gets its first such device later
// has it from the next start on.
func hasVirtio() bool {
	_, err := os.Stat("/sys/module/virtio_net")
	return err == nil
}

// commandTable reads what the kernel counted.
type commandTable struct {
	counted *ebpf.Map
	last    map[wire.CommandKey]*seenHistogram
	times   []wire.CommandTimes
	now     wire.Histogram // reused
}

// newCommandTable makes ready what the programs need; nil where commands are not watched.
func newCommandTable(l *loader) (*commandTable, error) {
	t := &commandTable{counted: l.shared("command_times"), last: map[wire.CommandKey]*seenHistogram{}}
	if t.counted == nil {
		return nil, nil
	}
	if err := t.counted.Put(&wire.CommandKey{Overflow: 1}, &t.now); err != nil {
		return nil, fmt.Errorf("make the overflow histogram: %w", err)
	}
	return t, nil
}

// read takes what was added since the reading before. Safe on nil.
func (t *commandTable) read() ([]wire.CommandTimes, error) {
	if t == nil {
		return nil, nil
	}
	t.times = t.times[:0]
	var key wire.CommandKey
	iterator := t.counted.Iterate()
	for iterator.Next(&key, &t.now) {
		if t.last[key] == nil {
			t.last[key] = &seenHistogram{}
		}
		first, counts, sumNs := t.last[key].difference(&t.now)
		if counts == nil {
			continue
		}
		t.last[key].keep(&t.now)
		t.times = append(t.times, wire.CommandTimes{Key: key, SumNs: sumNs, First: first, Counts: counts})
	}
	slices.SortFunc(t.times, func(a, b wire.CommandTimes) int {
		return cmp.Or(bytes.Compare(a.Key.Device[:], b.Key.Device[:]), cmp.Compare(a.Key.Class, b.Key.Class))
	})
	if err := iterator.Err(); err != nil && !errors.Is(err, ebpf.ErrIterationAborted) {
		return t.times, err
	}
	return t.times, nil
}
