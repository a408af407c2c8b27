//go:build linux && (amd64 || arm64)

package probe

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

// loader turns capabilities into running programs. The maps are shared: each is made by the first object
// that names it.
type loader struct {
	config    Config
	types     kernelTypes
	constants map[string]any // what all objects share
	byAddress bool           // connection state is kept by the socket's address, not in the socket
	log       ebpf.LogLevel  // what programs that were accepted keep of the verifier's words
	maps      map[mapKey]*ebpf.Map
	asked     []capability // all that were to be served, in this order
	served    []*served
	statuses  []wire.ProbeStatus
	unshared  []wire.Refusal // shared programs that the kernel did not take
}

// mapKey tells maps apart by size too: while hooks are tried, one may need a larger map than the next.
type mapKey struct {
	name    string
	entries uint32
}

// shared finds a map by name, the largest if hooks that were tried have left others; nil if no object
// that was loaded names it.
func (l *loader) shared(name string) *ebpf.Map {
	var found *ebpf.Map
	for key, m := range l.maps {
		if key.name == name && (found == nil || key.entries > found.MaxEntries()) {
			found = m
		}
	}
	return found
}

// served is a capability with the hook that serves it.
type served struct {
	capability string
	hook       hook
	programs   map[string]*ebpf.Program
	links      []link.Link
	later      []string // programs in whose place a shared one runs, see sharedHooks
}

func newLoader(config Config, types kernelTypes, constants map[string]any) *loader {
	return &loader{config: config, types: types, constants: constants, maps: map[mapKey]*ebpf.Map{}}
}

// serve loads a capability with the first hook that the kernel accepts, and records what was refused. Nil
// when none is. Nothing is attached yet, but it is known that it can be.
func (l *loader) serve(c capability) *served {
	l.asked = append(l.asked, c)
	status := wire.ProbeStatus{Capability: c.name}
	defer func() { l.statuses = append(l.statuses, status) }()
	for _, h := range c.hooks {
		if c.refused != "" {
			status.Refused = append(status.Refused, wire.Refusal{Hook: h.name, Reason: c.refused})
			continue
		}
		s, err := l.try(c, h)
		if err == nil {
			status.Hook = h.name
			l.served = append(l.served, s)
			return s
		}
		status.Refused = append(status.Refused, wire.Refusal{Hook: h.name, Reason: err.Error()})
	}
	return nil
}

// try loads one hook's programs, and attaches them once to see whether the kernel lets them. Before 5.11 they
// are then loaded anew, because a tracing program that was attached once cannot be again.
func (l *loader) try(c capability, h hook) (*served, error) {
	if avoided(h.name, l.config.AvoidHooks) {
		return nil, errors.New("switched off by hooks.avoid")
	}
	trial, err := l.load(c, h)
	if err != nil {
		return nil, err
	}
	if err := trial.attach(); err != nil {
		trial.close()
		return nil, err
	}
	if len(trial.links) == 0 || kernelSince(5, 11) {
		trial.detach()
		return trial, nil
	}
	trial.close()
	return l.load(c, h)
}

func (l *loader) load(c capability, h hook) (*served, error) {
	spec, err := c.load()
	if err != nil {
		return nil, err
	}
	wanted := map[string]*ebpf.ProgramSpec{}
	for _, a := range h.programs {
		program, ok := spec.Programs[a.program]
		if !ok {
			return nil, fmt.Errorf("the object has no program %s", a.program)
		}
		wanted[a.program] = program
	}
	spec.Programs = wanted
	dropUnusedMaps(spec)
	if err := l.setConstants(spec, h.byAddress, c.constants, h.constants); err != nil {
		return nil, err
	}
	inlineConstants(spec)
	// The collection's variables keep their maps until the garbage is collected. Constants are taken from there.
	maps.DeleteFunc(spec.Variables, func(_ string, v *ebpf.VariableSpec) bool { return v.SectionName != constantSection })
	shared := map[string]*ebpf.Map{}
	for name, m := range spec.Maps {
		if strings.HasPrefix(name, ".") && name != stageCPUs {
			continue // constants are each object's own
		}
		if shared[name], err = l.sharedMap(m, h.byAddress, c.name == sharedCapability); err != nil {
			return nil, fmt.Errorf("map %s: %w", name, err)
		}
	}
	collection, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{
		MapReplacements: shared,
		Cache:           l.types.cache,
		Programs:        ebpf.ProgramOptions{LogLevel: l.log},
	})
	if err != nil {
		return nil, explain(err)
	}
	defer collection.Close()
	loaded := &served{capability: c.name, hook: h, programs: map[string]*ebpf.Program{}}
	for name := range wanted {
		loaded.programs[name] = collection.DetachProgram(name)
	}
	return loaded, nil
}

// dropUnusedMaps keeps maps from taking memory that only other hooks' programs use. Some are read or iterated over
// without a program that names them.
func dropUnusedMaps(spec *ebpf.CollectionSpec) {
	used := map[string]bool{"records": true, "stats": true, "conns": true, "conns_by_socket": true}
	for _, program := range spec.Programs {
		for i := range program.Instructions {
			if instruction := &program.Instructions[i]; instruction.IsLoadFromMap() {
				used[instruction.Reference()] = true
			}
		}
	}
	maps.DeleteFunc(spec.Maps, func(name string, _ *ebpf.MapSpec) bool {
		return !used[name] && (!strings.HasPrefix(name, ".") || name == stageCPUs) // others are constants
	})
}

func (l *loader) setConstants(spec *ebpf.CollectionSpec, byAddress bool, own ...map[string]any) error {
	constants := map[string]any{"use_sk_storage": boolean(!byAddress && !l.byAddress)}
	maps.Copy(constants, l.constants)
	for _, more := range own {
		maps.Copy(constants, more)
	}
	for name, value := range constants {
		variable, ok := spec.Variables[name]
		if !ok {
			continue // this object has no use for it
		}
		if err := variable.Set(value); err != nil {
			return fmt.Errorf("constant %s: %w", name, err)
		}
	}
	return nil
}

// sharedMap gives the one map of this name that all objects share, made with the size that it needs here. Of
// what only parts use that are not in a shared program, it makes the smallest.
func (l *loader) sharedMap(spec *ebpf.MapSpec, byAddress, inParts bool) (*ebpf.Map, error) {
	if spec.Name == stageCPUs {
		roomForCPUs(spec, ebpf.MustPossibleCPU())
		return l.makeMap(spec)
	}
	if inParts && spec.MaxEntries > 0 && spec.Type != ebpf.RingBuf && l.shared(spec.Name) == nil {
		spec.MaxEntries = 1
		return l.makeMap(spec)
	}
	possible, err := ebpf.PossibleCPU()
	if err != nil {
		return nil, err
	}
	cpus := uint32(possible)
	switch spec.Name {
	case "records":
		spec.MaxEntries = uint32(l.config.RingBytes)
	case "flows":
		spec.MaxEntries = uint32(l.config.Datagrams.MaxFlows)
	case "socket_flows":
		spec.MaxEntries = 1
		if l.config.Datagrams.BySocket {
			spec.MaxEntries = uint32(l.config.Datagrams.MaxFlows)
		}
	case "scratch", "datagram_scratch":
		spec.MaxEntries = cpus * 2
	case "stage_blocks":
		spec.MaxEntries = stageEntries(possible)
	case "conns_by_socket", "stage_sockets_by_address":
		// Every object names it; where the state lives in the sockets it must not cost memory.
		spec.MaxEntries = 1
		if byAddress || l.byAddress {
			spec.MaxEntries = uint32(l.config.MaxConnections)
		}
	}
	if spec.Type == ebpf.LRUHash && spec.MaxEntries > 1 {
		spec.MaxEntries = max(spec.MaxEntries, cpus*lruEntriesPerCPU)
	}
	return l.makeMap(spec)
}

// lruEntriesPerCPU is the least that an LRU hash must have for each CPU that there may be. One that adds an entry takes up
// to 128 free ones for itself (LOCAL_FREE_TARGET, kernel/bpf/bpf_lru_list.c). One that finds none left takes what is in
// use, its own latest too, however many lie unused with the others. Twice as many: half are left for all.
const lruEntriesPerCPU = 256

func (l *loader) makeMap(spec *ebpf.MapSpec) (*ebpf.Map, error) {
	key := mapKey{spec.Name, spec.MaxEntries}
	if m, ok := l.maps[key]; ok {
		return m, nil
	}
	m, err := ebpf.NewMap(spec)
	if err != nil {
		return nil, err
	}
	l.maps[key] = m
	return m, nil
}

// attach makes the programs run. Iterators wait to be opened.
func (s *served) attach() error {
	return s.attachIf(func(program string) bool { return !slices.Contains(s.later, program) })
}

func (s *served) attachOnly(program string) error {
	return s.attachIf(func(name string) bool { return name == program })
}

func (s *served) attachIf(wanted func(program string) bool) error {
	for _, a := range s.hook.programs {
		if a.attach == nil || !wanted(a.program) {
			continue
		}
		l, err := a.attach(s.programs[a.program])
		if err != nil {
			s.detach()
			return explain(fmt.Errorf("attach %s: %w", a.program, err))
		}
		s.links = append(s.links, l)
	}
	return nil
}

func (s *served) detach() {
	for _, l := range s.links {
		l.Close()
	}
	s.links = nil
}

func (s *served) close() {
	s.detach()
	for _, p := range s.programs {
		p.Close()
	}
}

func (l *loader) close() {
	for _, s := range l.served {
		s.close()
	}
	for _, m := range l.maps {
		m.Close()
	}
}

// withdraw gives up a capability whose hook was accepted and is not any more.
func (l *loader) withdraw(s *served, reason error) {
	for i := range l.statuses {
		if status := &l.statuses[i]; status.Capability == s.capability {
			status.Refused = append(status.Refused, wire.Refusal{Hook: status.Hook, Reason: reason.Error()})
			status.Hook = ""
		}
	}
	s.close()
	l.served = slices.DeleteFunc(l.served, func(other *served) bool { return other == s })
}

// avoided: is a hook named by a pattern, which is a kind (fexit) or a whole name?
func avoided(hook string, patterns []string) bool {
	kind, _, _ := strings.Cut(hook, "/")
	for _, pattern := range patterns {
		if pattern == kind || pattern == hook {
			return true
		}
	}
	return false
}

// explain shortens what the kernel says to what a reader can use.
func explain(err error) error {
	var refused *ebpf.VerifierError
	switch {
	case errors.As(err, &refused):
		log := refused.Log
		if len(log) == 0 {
			return fmt.Errorf("verifier: %w", refused.Cause)
		}
		return fmt.Errorf("verifier: %w: %s", refused.Cause, verifierReason(log))
	case errors.Is(err, unix.EPERM): // the library adds a guess about memory limits, which have been raised
		return fmt.Errorf("%w: this kernel or a security module forbids this kind of hook", unix.EPERM)
	case errors.Is(err, unix.ENOENT), errors.Is(err, ebpf.ErrNotSupported):
		return fmt.Errorf("this kernel has no such hook: %w", err)
	}
	return errors.New(shorten(err.Error()))
}

// shorten keeps the two ends of a long chain of causes: what was tried, and what came of it.
func shorten(chain string) string {
	causes := strings.Split(chain, ": ")
	if len(chain) <= 160 || len(causes) <= 3 {
		return chain
	}
	return strings.Join(causes[:2], ": ") + ": …: " + causes[len(causes)-1]
}

// verifierReason finds the line that tells why: the last that is neither a count nor the state of registers.
func verifierReason(log []string) string {
	for i := len(log) - 1; i >= 0; i-- {
		line := strings.TrimSpace(log[i])
		if line != "" && !strings.HasPrefix(line, "processed ") && !strings.HasPrefix(line, ";") {
			return line
		}
	}
	return strings.TrimSpace(log[len(log)-1])
}

func boolean(b bool) uint32 {
	if b {
		return 1
	}
	return 0
}
