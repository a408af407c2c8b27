package otlp

import (
	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

// softirqVectors are the values of network.softirq.vector (include/linux/interrupt.h), as in /proc/softirqs.
var softirqVectors = [wire.SoftirqVectors]string{
	"hi", "timer", "net_tx", "net_rx", "block", "irq_poll", "tasklet", "sched", "hrtimer", "rcu",
}

var softirqPhases = [wire.SoftirqPhases]string{wire.SoftirqWait: "wait", wire.SoftirqRun: "run"}

// softirqs sums up what the kernel counted per CPU. Nobody owns it.
type softirqs struct {
	startNs uint64
	cpus    []*[wire.SoftirqVectors][wire.SoftirqPhases]*stageSum
}

func (s *softirqs) add(collection *wire.Collection, sinceNs uint64) {
	const maxCPUs = 1 << 16
	for i := range collection.Softirqs {
		times := &collection.Softirqs[i]
		if times.CPU >= maxCPUs || times.Vector >= wire.SoftirqVectors || times.Phase >= wire.SoftirqPhases ||
			int(times.First)+len(times.Counts) > wire.HistogramSlots {
			continue // of a newer kernel half, in a recording
		}
		if s.startNs == 0 {
			s.startNs = sinceNs
		}
		for uint32(len(s.cpus)) <= times.CPU {
			s.cpus = append(s.cpus, nil)
		}
		cpu := s.cpus[times.CPU]
		if cpu == nil {
			cpu = new([wire.SoftirqVectors][wire.SoftirqPhases]*stageSum)
			s.cpus[times.CPU] = cpu
		}
		sum := &cpu[times.Vector][times.Phase]
		if *sum == nil {
			*sum = &stageSum{}
		}
		(*sum).add(times.SumNs, times.First, times.Counts)
	}
}

// softirqs writes the distributions of all CPUs.
func (w *writer) softirqs(s *softirqs, bounds []float64) {
	if len(s.cpus) == 0 || !w.instrument(softirqDuration, s.startNs) {
		return
	}
	for number, cpu := range s.cpus {
		if cpu == nil {
			continue
		}
		for vector := range cpu {
			for phase, sum := range cpu[vector] {
				if sum == nil {
					continue
				}
				to := w.stage(sum, bounds)
				to.PutStr(attrSoftirqVector, softirqVectors[vector])
				to.PutStr(attrSoftirqPhase, softirqPhases[phase])
				to.PutInt(attrCPU, int64(number))
			}
		}
	}
}
