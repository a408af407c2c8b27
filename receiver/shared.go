package receiver

import (
	"fmt"
	"sync"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/receiver"
)

// instances holds the instances that were made and not yet shut down. The Collector makes one component per
// signal; loading the kernel half three times would triple its cost and count every drop three times, so
// they share one. It belongs to one factory: all signals of a running service come from the same one.
type instances struct {
	open opener

	mu    sync.Mutex
	byKey map[instanceKey]*instance
}

// instanceKey is what the signals of one receiver have in common: the Collector hands the same *Config to
// each of them, and a new one after a reload.
type instanceKey struct {
	id     component.ID
	config *Config
}

// consumers are the next consumers of the signals that are in some pipeline, nil for the others.
type consumers struct {
	metrics consumer.Metrics
	logs    consumer.Logs
	traces  consumer.Traces
}

// register returns the instance of this receiver, made if this is its first signal, with the signal's
// consumer set.
func (s *instances) register(
	set receiver.Settings, config *Config, setConsumer func(*consumers),
) (*instance, error) {
	key := instanceKey{id: set.ID, config: config}
	s.mu.Lock()
	defer s.mu.Unlock()
	in, ok := s.byKey[key]
	if !ok {
		var err error
		if in, err = newInstance(set, config, s.open); err != nil {
			return nil, err
		}
		in.forget = func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			delete(s.byKey, key)
		}
		s.byKey[key] = in
	}
	if !in.setConsumer(setConsumer) {
		return nil, fmt.Errorf("%s is running already: a signal cannot be added to it, restart the Collector", set.ID)
	}
	return in, nil
}
