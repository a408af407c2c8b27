package owner

import (
	"cmp"
	"slices"
	"time"

	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

// identityFresh is how long what was read of a process outside of containers is taken to hold. With cgroup v2 it
// does not matter: a process that moves is seen to have another cgroup.
const identityFresh = 30 * time.Second

// Namespaces tells whose each network namespace is, from lists of all processes. For one goroutine.
//
// A pod's network namespace is the one that its first process lives in: the sandbox, which outlives all of its
// containers. So what a pod makes beside it (a runtime in the pod, the health endpoint of a network plugin) is
// not taken for it, and a pod whose first process is in the host's namespace has none of its own. Processes
// outside of containers, such as an administrator's shell that entered it, make no claim.
type Namespaces struct {
	facts   Inhabitants
	byInode map[uint32]*Inhabited
	sorted  []*Inhabited
	places  map[dweller]place // of the last list
	now     func() time.Time
}

// Inhabitants are the questions that a list of processes leaves open.
type Inhabitants interface {
	CgroupPath(id uint64) (path string, ok bool)
	Process(tgid uint32) (process wire.Process, ok bool)
}

// Inhabited is a network namespace that processes live in.
type Inhabited struct {
	wire.Namespace
	Inode    uint32
	Identity uint64          // never the same for two namespaces
	InScope  bool            // one of its processes is
	First    wire.TaskRecord // of the processes that live there now
	Home     wire.TaskRecord // whose cgroup and start the Namespace tells

	claims int
}

// dweller is a process in a cgroup.
type dweller struct {
	tgid    uint32
	startNs uint64
	cgroup  uint64
}

// place is where a process belongs.
type place struct {
	claimant string // a pod's uid, or a container's id; empty: outside of containers
	cgroup   string
	at       time.Time
}

// NewNamespaces knows of none yet.
func NewNamespaces(facts Inhabitants) *Namespaces {
	return &Namespaces{facts: facts, byInode: map[uint32]*Inhabited{}, now: time.Now}
}

// Get finds a namespace of the last list.
func (n *Namespaces) Get(inode uint32) (*Inhabited, bool) {
	found, ok := n.byInode[inode]
	return found, ok
}

// All are the namespaces of the last list, by inode number.
func (n *Namespaces) All() []*Inhabited { return n.sorted }

// Update takes a list of all processes.
func (n *Namespaces) Update(tasks []wire.TaskRecord) {
	type home struct {
		task  wire.TaskRecord
		place place
	}
	homes := map[string]home{}
	places := make(map[dweller]place, len(tasks))
	n.byInode, n.sorted = map[uint32]*Inhabited{}, nil
	for _, task := range tasks {
		n.enter(&task)
		if task.Flags&wire.TaskKernel != 0 {
			continue
		}
		who := dweller{task.TGID, task.StartNs, task.CgroupID}
		lives := n.place(who)
		places[who] = lives
		if first, ok := homes[lives.claimant]; lives.claimant != "" && (!ok || earlier(&task, &first.task)) {
			homes[lives.claimant] = home{task, lives}
		}
	}
	n.places = places
	for _, home := range homes {
		namespace := n.byInode[home.task.Netns]
		if namespace.claims++; namespace.Host || namespace.claims > 1 {
			namespace.Cgroup, namespace.StartNs, namespace.Home = "", 0, wire.TaskRecord{}
			continue
		}
		namespace.Cgroup, namespace.StartNs, namespace.Home = home.place.cgroup, home.task.StartNs, home.task
	}
	slices.SortFunc(n.sorted, func(a, b *Inhabited) int { return cmp.Compare(a.Inode, b.Inode) })
}

func (n *Namespaces) enter(task *wire.TaskRecord) {
	namespace, ok := n.byInode[task.Netns]
	if !ok {
		namespace = &Inhabited{Inode: task.Netns, First: *task}
		n.byInode[task.Netns] = namespace
		n.sorted = append(n.sorted, namespace)
	}
	if earlier(task, &namespace.First) {
		namespace.First = *task
	}
	// Before 5.12 a namespace has no number of its own, but its first process is seldom not the same.
	namespace.Identity = cmp.Or(task.NetnsCookie, namespace.First.StartNs)
	namespace.Host = namespace.Host || task.Flags&wire.TaskKernel != 0
	namespace.InScope = namespace.InScope || task.Flags&wire.TaskInScope != 0
}

func earlier(a, b *wire.TaskRecord) bool {
	return cmp.Or(cmp.Compare(a.StartNs, b.StartNs), cmp.Compare(a.TGID, b.TGID)) < 0
}

// place finds where a process belongs: by its cgroup, or where that is no container's, which with cgroup v1 says
// little, by all of its cgroups.
func (n *Namespaces) place(who dweller) place {
	now := n.now()
	if known, ok := n.places[who]; ok && (known.claimant != "" || now.Sub(known.at) < identityFresh) {
		return known
	}
	path, ok := n.facts.CgroupPath(who.cgroup)
	if identity := Parse(path); !ok || !identity.InContainer() {
		process, _ := n.facts.Process(who.tgid)
		path = process.Cgroup
	}
	identity := Parse(path)
	return place{claimant: cmp.Or(identity.PodUID, identity.ContainerID), cgroup: path, at: now}
}
