package owner

import (
	"strings"
	"time"

	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

const (
	// What bounds the caches, which forget what was not used lately: at most twice as many entries of ≈200
	// bytes each.
	maxCgroups    = 4096
	maxProcesses  = 8192
	maxNamespaces = 1024

	// processFresh is how long an answer about a process is taken to hold. A pid is reused only after all
	// others were, which takes longer on any machine that is not out of pids.
	processFresh = time.Second
	// processLinger is how long after a process was last seen its pid is still taken for it: its sockets
	// may say something after it is gone.
	processLinger = time.Minute
	// namespaceFresh is how long an answer about a network namespace is taken to hold: its number is given to
	// another as soon as it is free.
	namespaceFresh = 100 * time.Millisecond
	// What is not known is asked for again after retryFirst, then after twice as long each time, up to
	// retryLast.
	retryFirst = time.Second
	retryLast  = time.Minute

	// tick is the unit of wire.Process.StartTicks: the kernel shows all processes USER_HZ = 100.
	tick = uint64(10 * time.Millisecond)
)

// Facts are the questions of wire.Facts that tell an owner.
type Facts interface {
	CgroupPath(id uint64) (path string, ok bool)
	Process(tgid uint32) (process wire.Process, ok bool)
	Namespace(inode uint32) (namespace wire.Namespace, ok bool)
}

// Resolver tells the owner of a record. Time is that of the records, so that a replayed recording gets
// the same answers; for one goroutine.
//
// A socket's cgroup decides, if it is a container's or pod's: it is fixed when the socket is made, needs no
// process and is never reused. Otherwise the process decides, by its own cgroup. Pids are reused, so a
// process is known by its pid and start: a new start under the same pid is another process, and a process
// that started after the time of the record is not the one that the record means. What is left to chance: a
// pid that went to another process less than processFresh ago, or, if both are gone, processLinger.
//
// Where neither tells, as for a packet without a socket, the pod decides whose network namespace it is (see
// Namespaces), unless a cgroup says that the socket is not a container's. The host's namespace is no pod's.
type Resolver struct {
	facts      Facts
	cgroups    *cache[uint64, *cgroup]
	processes  *cache[uint32, *process]
	namespaces *cache[uint32, *namespace]
	nowNs      uint64 // latest time of a record
	hostNetns  uint32 // the host's network namespace, once it has been asked about
}

// namespace is what is known of the number of a network namespace.
type namespace struct {
	owner     Owner  // of the pod or container whose it is
	host      bool   // it is the host's
	startNs   uint64 // CLOCK_MONOTONIC, of the pod's first process
	checkedNs uint64
	retry     retry // while not known
}

// cgroup is what is known of a cgroup.
type cgroup struct {
	owner Owner // of a container or pod
	unit  string
	state cgroupState
	retry retry // while unknown
}

type cgroupState uint8

const (
	cgroupUnknown   cgroupState = iota // its path is not known, it may be a container's
	cgroupSilent                       // the root
	cgroupHost                         // certainly outside containers, as far as its path tells
	cgroupContainer                    // a container or pod
)

// process is what is known of a pid.
type process struct {
	owner     Owner
	exe       string // base name of the executable
	comm      string // the name that the kernel gave last
	alive     bool   // it was there when it was asked for
	startNs   uint64 // CLOCK_MONOTONIC, rounded down to a tick
	checkedNs uint64 // when it was last asked for
	seenNs    uint64 // when it was last there
	retry     retry  // while not there
}

// retry spaces out questions that got no answer.
type retry struct {
	atNs uint64
	wait uint64
}

func (r *retry) next(nowNs uint64) {
	r.wait = min(max(2*r.wait, uint64(retryFirst)), uint64(retryLast))
	r.atNs = nowNs + r.wait
}

// NewResolver gives a Resolver with empty caches.
func NewResolver(facts Facts) *Resolver {
	return &Resolver{
		facts:      facts,
		cgroups:    newCache[uint64, *cgroup](maxCgroups),
		processes:  newCache[uint32, *process](maxProcesses),
		namespaces: newCache[uint32, *namespace](maxNamespaces),
	}
}

// Resolve gives the owner that ref means. comm is the name that the kernel gave with ref.TGID, "" if none;
// timeNs is a time (CLOCK_MONOTONIC) at which ref was true: of the record, or earlier, such as the opening
// of its connection.
func (r *Resolver) Resolve(ref wire.OwnerRef, comm string, timeNs uint64) Owner {
	r.nowNs = max(r.nowNs, timeNs)
	group := r.cgroup(ref.CgroupID)
	if group != nil && group.state == cgroupContainer {
		return group.owner
	}
	if ref.TGID != 0 {
		if owner, ok := r.process(ref.TGID, timeNs); ok {
			return owner
		}
		// It is gone, but what the kernel said of it holds, unless it may have been in a container.
		if group == nil || group.state != cgroupUnknown {
			return processOwner(ref.TGID, r.name(ref.TGID, comm), group.serviceUnit())
		}
	}
	if unit := group.serviceUnit(); unit != "" {
		return processOwner(0, "", unit)
	}
	return r.Namespace(ref.Netns, timeNs, group == nil || group.state != cgroupHost)
}

// ResolveCount gives the owner of what was counted for ref between two times: as Resolve, but a namespace's pod
// only if it was the same all the while.
func (r *Resolver) ResolveCount(ref wire.OwnerRef, sinceNs, timeNs uint64) Owner {
	found := r.Resolve(ref, "", timeNs)
	if e, ok := r.namespaces.get(ref.Netns); ok && ref.CgroupID == 0 && ref.TGID == 0 && e.startNs > sinceNs+tick {
		return Owner{Netns: ref.Netns}
	}
	return found
}

// Executable is the base name of what the process runs that had the pid at timeNs; empty: it is not known.
func (r *Resolver) Executable(tgid uint32, timeNs uint64) string {
	r.nowNs = max(r.nowNs, timeNs)
	if _, ok := r.process(tgid, timeNs); !ok {
		return ""
	}
	p, _ := r.processes.get(tgid)
	return p.exe
}

// Namespace gives the owner of a network namespace at timeNs: the host, or with pods the pod whose it is, else
// nobody that is known.
func (r *Resolver) Namespace(inode uint32, timeNs uint64, pods bool) Owner {
	r.nowNs = max(r.nowNs, timeNs)
	if inode == 0 {
		return Owner{}
	}
	e, ok := r.namespaces.get(inode)
	if !ok {
		e = &namespace{}
		r.namespaces.put(inode, e)
		r.askNamespace(inode, e)
	} else if r.nowNs >= max(e.checkedNs+uint64(namespaceFresh), e.retry.atNs) {
		r.askNamespace(inode, e)
	}
	switch {
	case e.host:
		return Owner{Netns: inode, Host: true}
	case !pods || !e.owner.InContainer() || e.startNs > timeNs+tick:
		return Owner{Netns: inode}
	}
	return e.owner
}

// Host owns what belongs to the machine and to no network namespace. Its own namespace, by which its Resource is
// known, is among those that counters are read of.
func (r *Resolver) Host() Owner { return Owner{Netns: r.hostNetns, Host: true} }

func (r *Resolver) askNamespace(inode uint32, e *namespace) {
	e.checkedNs = r.nowNs
	found, ok := r.facts.Namespace(inode)
	if !ok {
		e.owner, e.host, e.startNs = Owner{}, false, 0
		e.retry.next(r.nowNs)
		return
	}
	e.retry = retry{}
	e.host, e.startNs, e.owner = found.Host, found.StartNs, Owner{}
	if found.Host {
		r.hostNetns = inode
	}
	identity := Parse(found.Cgroup)
	switch {
	case identity.PodUID != "": // all of the pod's containers share it
		e.owner = Owner{PodUID: identity.PodUID}
	case identity.ContainerID != "":
		e.owner = containerOwner(identity)
	}
}

// name is what the kernel calls a process that is gone: comm, or where this record has none (counts have
// not), what an earlier record of the same pid said. Else one process would be two owners.
func (r *Resolver) name(tgid uint32, comm string) string {
	p, ok := r.processes.get(tgid)
	if !ok {
		return comm
	}
	if comm != "" {
		p.comm = comm
	}
	return p.comm
}

func (c *cgroup) serviceUnit() string {
	if c == nil {
		return ""
	}
	return c.unit
}

// cgroup gives what is known of a cgroup; nil: the record has none.
func (r *Resolver) cgroup(id uint64) *cgroup {
	if id == 0 {
		return nil
	}
	group, ok := r.cgroups.get(id)
	if ok && (group.state != cgroupUnknown || r.nowNs < group.retry.atNs) {
		return group
	}
	if !ok {
		group = &cgroup{}
		r.cgroups.put(id, group)
	}
	path, ok := r.facts.CgroupPath(id)
	if !ok {
		group.retry.next(r.nowNs)
		return group
	}
	identity := Parse(path)
	switch {
	case path == "/" || path == "":
		group.state = cgroupSilent
	case identity.InContainer():
		group.state, group.owner = cgroupContainer, containerOwner(identity)
	case strings.HasPrefix(path, "/..") && identity.Unit == "":
		group.retry.next(r.nowNs) // what is above may be a container
	default:
		group.state, group.unit = cgroupHost, identity.Unit
	}
	return group
}

// process gives the owner by the process that had the pid at timeNs; false: it is not known.
func (r *Resolver) process(tgid uint32, timeNs uint64) (Owner, bool) {
	p, ok := r.processes.get(tgid)
	switch {
	case !ok:
		p = &process{}
		r.processes.put(tgid, p)
		r.ask(tgid, p)
	case p.alive && r.nowNs >= p.checkedNs+uint64(processFresh), !p.alive && r.nowNs >= p.retry.atNs:
		r.ask(tgid, p)
	}
	switch {
	case p.owner == (Owner{}):
		return Owner{}, false
	case timeNs != 0 && p.startNs > timeNs+tick: // a tick for the rounding of other clocks
		return Owner{}, false
	case !p.alive && max(timeNs, p.seenNs)-p.seenNs > uint64(processLinger):
		return Owner{}, false
	}
	return p.owner, true
}

// ask brings what is known of a pid up to date. A process that is gone keeps its owner for processLinger.
func (r *Resolver) ask(tgid uint32, p *process) {
	p.checkedNs = r.nowNs
	found, ok := r.facts.Process(tgid)
	if p.alive = ok; !ok {
		p.retry.next(r.nowNs)
		return
	}
	p.retry = retry{}
	p.seenNs = r.nowNs
	p.startNs = found.StartTicks * tick
	p.exe = found.Executable
	identity := Parse(found.Cgroup)
	if identity.InContainer() {
		p.owner = containerOwner(identity)
	} else {
		p.owner = processOwner(tgid, found.Executable, identity.Unit)
	}
}
