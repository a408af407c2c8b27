package wire

// StageTimes is a distribution of times that packets of one owner spent in one stage, counted in the kernel since
// the collection before.
type StageTimes struct {
	Owner     OwnerRef
	Overflow  bool   // of all owners for whom the kernel's map had no room; Owner is empty
	Direction uint8  // Direction…; unknown: packets that this host forwards
	Stage     uint8  // Stage…
	SumNs     uint64 // of all of them
	First     uint32 // slot of Counts[0]: struct histogram of bpf/wire.h says what a slot holds
	Counts    []uint32
}

// SoftirqTimes is a distribution of times that softirqs of one vector waited or ran on one CPU, counted in the
// kernel since the collection before.
type SoftirqTimes struct {
	CPU    uint32
	Vector uint8  // include/linux/interrupt.h
	Phase  uint8  // Softirq…
	SumNs  uint64 // of all of them
	First  uint32 // slot of Counts[0]
	Counts []uint32
}

// CommandTimes is a distribution of times that a driver waited for its device to carry out commands, counted in the
// kernel since the collection before.
type CommandTimes struct {
	Key    CommandKey
	SumNs  uint64 // of all of them
	First  uint32 // slot of Counts[0]
	Counts []uint32
}

// StageLosses are the times that were not counted, or not where they belong (StageFolded, under stage 0), by
// direction, stage and reason (StageNoStamp, …), since the start.
type StageLosses [3][StagesPerDirection][StageLossKinds]uint64

// Folded is how many times were counted as overflow.
func (l *StageLosses) Folded() (n uint64) {
	for direction := range l {
		for stage := range l[direction] {
			n += l[direction][stage][StageFolded]
		}
	}
	return n
}
