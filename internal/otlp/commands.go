package otlp

import (
	"bytes"
	"cmp"
	"slices"

	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

// commandClasses are the values of network.interface.command.class: VIRTIO_NET_CTRL_… of include/uapi/linux/virtio_net.h.
var commandClasses = [...]string{
	0: "rx", 1: "mac", 2: "vlan", 3: "announce", 4: "mq", 5: "guest_offloads", 6: "notf_coal", 8: "stats",
}

// commandClass is "_OTHER" for those that have come since.
func commandClass(class uint8) string { return cmp.Or(at(commandClasses[:], class), "_OTHER") }

// commands sums up what the kernel counted per device. Nobody owns it.
type commands struct {
	startNs uint64
	sums    []commandSum // by key
}

type commandSum struct {
	key wire.CommandKey
	sum stageSum
}

func (c *commands) add(collection *wire.Collection, sinceNs uint64) {
	for i := range collection.Commands {
		times := &collection.Commands[i]
		if int(times.First)+len(times.Counts) > wire.HistogramSlots {
			continue // of a newer kernel half, in a recording
		}
		if c.startNs == 0 {
			c.startNs = sinceNs
		}
		at, found := slices.BinarySearchFunc(c.sums, times.Key, func(s commandSum, key wire.CommandKey) int {
			return compareCommands(&s.key, &key)
		})
		if !found {
			c.sums = slices.Insert(c.sums, at, commandSum{key: times.Key})
		}
		c.sums[at].sum.add(times.SumNs, times.First, times.Counts)
	}
}

func compareCommands(a, b *wire.CommandKey) int {
	return cmp.Or(
		cmp.Compare(a.Overflow, b.Overflow), bytes.Compare(a.Device[:], b.Device[:]), cmp.Compare(a.Class, b.Class),
	)
}

// commands writes the distributions of all devices.
func (w *writer) commands(c *commands, bounds []float64) {
	if len(c.sums) == 0 || !w.instrument(interfaceCommandDuration, c.startNs) {
		return
	}
	for i := range c.sums {
		to := w.stage(&c.sums[i].sum, bounds)
		if key := &c.sums[i].key; key.Overflow != 0 {
			to.PutBool(attrOverflow, true)
		} else {
			putCommand(to, key.Device, key.Class)
		}
	}
}

func putCommand(to pcommon.Map, device [16]uint8, class uint8) {
	putStr(to, attrInterfaceName, wire.Text(device))
	putStr(to, attrCommandClass, commandClass(class))
}
