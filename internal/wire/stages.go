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

// StageLosses are the times that were not counted, by direction, stage and reason (StageNoStamp, …), since the
// start.
type StageLosses [3][StagesPerDirection][StageLossKinds]uint64
