package otlp

import (
	"strconv"

	"github.com/ebpfnet/ebpfnetreceiver/internal/symbol"
	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

// reasons names the reasons of drops, resets and retransmits. Names are the kernel's own, in its own
// upper case, without the prefix that they share, so that they can be looked up in its source and in
// other tools; the running kernel is asked for them, as numbers move between versions. Where a kernel gives
// no reason, the function that dropped the packet stands for it; it is in lower case.
type reasons struct {
	facts wire.Facts
	names map[reason]string
}

type reason struct {
	location  uint64
	value     uint32
	kind      uint32
	hasReason bool
}

func newReasons(facts wire.Facts) reasons {
	return reasons{facts: facts, names: map[reason]string{}}
}

// name is the reason's name, empty where none is known. location counts only where has is 0.
func (r *reasons) name(kind uint32, has uint8, value uint32, location uint64) string {
	key := reason{kind: kind, hasReason: has != 0}
	switch {
	case kind == wire.RecordRetransmit:
		return at(retransmitTypes[:], value)
	case key.hasReason:
		key.value = value
	default:
		key.location = location
	}
	name, ok := r.names[key]
	if !ok {
		if len(r.names) >= 4096 { // locations of modules that come and go
			clear(r.names)
		}
		name = r.ask(key)
		r.names[key] = name
	}
	return name
}

func (r *reasons) ask(key reason) string {
	if !key.hasReason {
		return r.function(key.location)
	}
	enum := "skb_drop_reason"
	if key.kind == wire.RecordReset {
		enum = "sk_rst_reason"
	}
	if name, ok := r.facts.EnumName(enum, key.value); ok {
		return symbol.ReasonName(name)
	}
	// Subsystems number their own reasons from 1 << 16 (SKB_DROP_REASON_SUBSYS_SHIFT), in enums of their own.
	return strconv.FormatUint(uint64(key.value), 10)
}

// function names the function that a return address leads back to, empty where it is not known. The call is
// before the address: one that does not return may be the last instruction of its function.
func (r *reasons) function(address uint64) string {
	if address == 0 {
		return ""
	}
	found, _ := r.facts.Symbol(address - 1)
	return found.Name
}
