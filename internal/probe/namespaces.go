//go:build linux && (amd64 || arm64)

package probe

import (
	"time"

	"github.com/ebpfnet/ebpfnetreceiver/bpf"
	"github.com/ebpfnet/ebpfnetreceiver/internal/owner"
	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

// namespaces tells who lives in which network namespace.
func namespaces() capability {
	return capability{
		name: "namespaces", load: bpf.LoadNamespaces,
		hooks: []hook{{name: "iter/task", programs: []attachment{onDemand("tasks")}}},
	}
}

// listeners tells what listens, and how long its queues are. Before 5.11 a file's socket is found without a helper.
func listeners() capability {
	way := func(name string, helper bool) hook {
		return hook{
			name: name, programs: []attachment{onDemand("listening")},
			constants: map[string]any{"has_sock_from_file": boolean(helper)},
		}
	}
	return capability{
		name: "listeners", load: bpf.LoadNamespaces,
		hooks: []hook{way("iter/task_file", true), way("iter/task_file, by inode", false)},
	}
}

const (
	// residentsFresh is how long a list of processes is good enough for a question about a namespace, and
	// residentsRetry for one about a namespace that is not on it, or whose inhabitant has gone.
	residentsFresh = 5 * time.Second
	residentsRetry = time.Second
)

// residents knows who lives in which network namespace, from a list of all processes that is made anew at each
// collection and as questions need it.
type residents struct {
	*owner.Namespaces
	tasks   *iterator
	list    []wire.TaskRecord
	updated time.Time
}

func newResidents(s *served, proc *owner.Proc) (*residents, error) {
	tasks, err := newIterator(s, nil)
	if err != nil {
		return nil, err
	}
	return &residents{Namespaces: owner.NewNamespaces(proc), tasks: tasks}, nil
}

func (r *residents) close() { r.tasks.close() }

// update makes the list anew.
func (r *residents) update() error {
	r.updated, r.list = time.Now(), r.list[:0]
	err := r.tasks.each(wire.TaskRecordSize, func(raw []byte) error {
		task, err := wire.Decode[wire.TaskRecord](raw)
		if err == nil {
			r.list = append(r.list, *task)
		}
		return err
	})
	if err == nil {
		r.Update(r.list)
	}
	return err
}

// namespace tells whose a namespace is. The number of one that has ended is soon another's, so the process that
// the answer is about is looked for.
func (r *residents) namespace(inode uint32) (wire.Namespace, bool) {
	age := time.Since(r.updated)
	found, ok := r.Get(inode)
	certain := ok && age < residentsFresh && (found.Cgroup == "" || owner.Lives("", found.Home.TGID, found.StartNs))
	if !certain && age >= residentsRetry {
		if r.update() != nil {
			return wire.Namespace{}, false
		}
		found, certain = r.Get(inode)
	}
	if !certain {
		return wire.Namespace{}, false
	}
	return found.Namespace, true
}
