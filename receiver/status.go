package receiver

import (
	"errors"
	"fmt"
	"strings"
	"sync"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componentstatus"
	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

// status reports to the hosts of all signals. The Collector keeps a status per signal, and hands each
// signal a host of its own; a signal that starts later is told what the others were.
type status struct {
	mu    sync.Mutex
	hosts []component.Host
	last  *componentstatus.Event
}

func (s *status) add(host component.Host) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hosts = append(s.hosts, host)
	if s.last != nil {
		componentstatus.ReportStatus(host, s.last)
	}
}

func (s *status) report(event *componentstatus.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = event
	for _, host := range s.hosts {
		componentstatus.ReportStatus(host, event)
	}
}

// probesEvent tells how the kernel serves what was asked for. Whoever is woken at night must be woken for
// something that they can act on:
//
//   - Every capability has a hook: OK, even where a better hook was refused. The data are all there; what
//     was refused is in the log and in the probe status metric. The event's attributes name the hooks.
//   - A capability has none: data that the configuration asks for are missing, so it is an error and not
//     OK. It is the recoverable kind, although only another kernel or another privilege will mend it,
//     because the permanent kind is final: the Collector would not take the report that the engine died
//     any more, and health checks that restart the pod on a permanent error would do so for ever, losing
//     the data of the capabilities that work.
//   - That is no error of what takes more than the documented privileges, see optional: it is there for whoever grants
//     more, and the log and the probe status metric say why it is not.
//   - The engine died: permanent, see diedEvent.
func probesEvent(probes []wire.ProbeStatus) *componentstatus.Event {
	hooks := pcommon.NewMap()
	var missing []error
	for _, probe := range probes {
		hooks.PutStr(probe.Capability, probe.Hook)
		if probe.Hook == "" && !optional[probe.Capability] {
			missing = append(missing, missingError(probe))
		}
	}
	if len(missing) == 0 {
		return componentstatus.NewEvent(componentstatus.StatusOK, componentstatus.WithAttributes(hooks))
	}
	return componentstatus.NewEvent(componentstatus.StatusRecoverableError,
		componentstatus.WithAttributes(hooks), componentstatus.WithError(errors.Join(missing...)))
}

// optional are the capabilities that CAP_BPF and CAP_PERFMON are not enough for everywhere. Only CAP_SYS_ADMIN may ask for
// the types of modules, as it takes to trace a driver's functions without a kprobe.
var optional = map[string]bool{"virtio": true}

func missingError(probe wire.ProbeStatus) error {
	reasons := make([]string, len(probe.Refused))
	for i, refused := range probe.Refused {
		reasons[i] = refused.Hook + ": " + refused.Reason
	}
	return fmt.Errorf("%s: this kernel takes none of its hooks, so its data are missing (%s); "+
		"grant what is refused or switch the capability off", probe.Capability, strings.Join(reasons, "; "))
}

// diedEvent says that nothing is measured any more and that only a restart helps.
func diedEvent(err error) *componentstatus.Event {
	return componentstatus.NewPermanentErrorEvent(err)
}
