//go:build linux && (amd64 || arm64)

package probe

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/rlimit"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
	"github.com/ebpfnet/ebpfnetreceiver/lab/report"
)

// everything is a configuration in which no part of a program is cut off, of a scope that holds nothing: what
// is opened traces nobody. The scope is as long as it may be, which costs the verifier most.
func everything() Config {
	config := Config{
		Payload:   Payload{CaptureBytes: 16384},
		RingBytes: 1 << 20, MaxConnections: 4096,
	}
	switchOn(reflect.ValueOf(&config).Elem())
	for i := range maxPorts {
		config.Scope.IncludePorts = append(config.Scope.IncludePorts, uint16(i+1))
		config.Scope.ExcludePorts = append(config.Scope.ExcludePorts, uint16(i+101)) // others: else nothing is in scope
	}
	for i := range maxScope {
		// Numbers that no namespace has.
		config.Scope.NetworkNamespaces = append(config.Scope.NetworkNamespaces, strconv.Itoa(i+1))
		if _, err := cgroupMount(); err == nil {
			config.Scope.Cgroups = append(config.Scope.Cgroups, "/")
		}
	}
	return config.withDefaults()
}

// switchOn turns on every switch of a configuration and of its blocks, those of tomorrow too.
func switchOn(block reflect.Value) {
	for i := range block.NumField() {
		switch field := block.Field(i); field.Interface().(type) {
		case bool:
			field.SetBool(true)
		case time.Duration:
			field.SetInt(int64(time.Second))
		case float64:
			field.SetFloat(50)
		case Events:
			field.Set(reflect.ValueOf(Events{Enabled: true, Stack: true, PerSecond: 50}))
		default:
			if field.Kind() == reflect.Struct {
				switchOn(field)
			}
		}
	}
}

// needPrivilege skips the test where the kernel takes no programs from this process.
func needPrivilege(t *testing.T) {
	t.Helper()
	err := checkPrivilege()
	if err == nil {
		err = rlimit.RemoveMemlock()
	}
	if err != nil && !inLab() {
		t.Skip(err)
	}
	require.NoError(t, err)
}

// inLab: in the virtual machine of a kernel that is known, nothing may be missing.
func inLab() bool { return os.Getenv("LAB_KERNEL") != "" }

// survey asks the running kernel about every capability that the receiver asks for with everything on.
func survey(t *testing.T) report.Kernel {
	t.Helper()
	needPrivilege(t)
	types, err := loadKernelTypes()
	require.NoError(t, err)
	surveyed := report.Kernel{Line: os.Getenv("LAB_KERNEL"), Arch: runtime.GOARCH, Release: kernelRelease()}
	chosen, asked := chosenHooks(t)
	surveyed.Capabilities = chosen
	asked = append(asked, sharedOf(asked)...)
	for _, state := range []string{report.InSocket, report.ByAddress} {
		for _, c := range asked {
			c = variant(c, state)
			for _, h := range c.hooks {
				if h.byAddress && state != report.ByAddress {
					continue
				}
				tried := report.Hook{Capability: c.name, Name: h.name, State: state}
				programs, err := tryAlone(t, types, c, h, state)
				if err != nil {
					tried.Reason = err.Error()
				}
				surveyed.Hooks = append(surveyed.Hooks, tried)
				surveyed.Programs = append(surveyed.Programs, programs...)
			}
		}
	}
	return surveyed
}

// sharedOf are the programs that stand for several of them, with the parts of all that may have one there.
func sharedOf(asked []capability) (shared []capability) {
	for _, h := range sharedHooks {
		var of []capability
		for _, c := range asked {
			if program, ok := h.parts[c.name]; ok && slices.ContainsFunc(c.hooks, func(h hook) bool { return h.has(program) }) {
				of = append(of, c)
			}
		}
		if len(of) > 1 {
			shared = append(shared, h.capability(of))
		}
	}
	return shared
}

// variant is a capability as it is while connections keep their state there. Softirqs and a driver's commands are
// nobody's: where nothing but the survey runs they may be watched, as on a host that is watched whole.
func variant(c capability, state string) capability {
	byAddress := state == report.ByAddress
	switch c.name {
	case "snapshot":
		return snapshot(byAddress, true)
	case "adoption":
		return adoption(byAddress)
	case "softirq":
		if inLab() {
			return softirqs(Scope{})
		}
	case "virtio":
		if inLab() {
			return virtio(Scope{})
		}
	}
	return c
}

// chosenHooks opens the probe as the receiver does, and runs it for a moment: for a scope that holds nothing, and in
// the lab its stages for the whole host besides.
func chosenHooks(t *testing.T) (chosen []report.Capability, asked []capability) {
	t.Helper()
	statuses, asked := opened(t, everything())
	if inLab() {
		whole, _ := opened(t, Config{Stages: true, RingBytes: 1 << 20, MaxConnections: 4096}.withDefaults())
		for _, name := range []string{"softirq", "virtio"} {
			nobodys := func(s wire.ProbeStatus) bool { return s.Capability == name }
			statuses[slices.IndexFunc(statuses, nobodys)] = whole[slices.IndexFunc(whole, nobodys)]
		}
	}
	for _, status := range statuses {
		c := report.Capability{Name: status.Capability, Hook: status.Hook}
		for _, refused := range status.Refused {
			c.Refused = append(c.Refused, report.Refusal(refused))
		}
		chosen = append(chosen, c)
	}
	return chosen, asked
}

func opened(t *testing.T, config Config) ([]wire.ProbeStatus, []capability) {
	t.Helper()
	opened, err := Open(config, zap.NewNop())
	require.NoError(t, err)
	defer opened.Close()
	runOnce(t, opened)
	l := opened.(*source).loader
	return l.statuses, l.asked
}

func both(a, b capability) []capability { return []capability{a, b} }

// tryAlone loads and attaches one hook, runs it if it is an iterator, and tells what the verifier spent on it.
func tryAlone(t *testing.T, types kernelTypes, c capability, h hook, state string) ([]report.Program, error) {
	t.Helper()
	config := everything()
	constants, err := config.Scope.constants()
	require.NoError(t, err)
	config.addLimits(constants)
	l := newLoader(config, types, constants)
	l.byAddress = state == report.ByAddress
	defer l.close()
	l.log = ebpf.LogLevelStats
	if c.refused != "" {
		return nil, errors.New(c.refused)
	}
	tried, err := l.try(c, h)
	if err != nil {
		l.log = 0 // with which the reason is found
		_, err = l.try(c, h)
		require.Error(t, err, "%s was refused the first time", h.name)
		return nil, err
	}
	defer tried.close()
	if err := iterate(l, tried); err != nil {
		return nil, err
	}
	var programs []report.Program
	for i, a := range h.programs {
		if slices.ContainsFunc(h.programs[:i], func(other attachment) bool { return other.program == a.program }) {
			continue // one program of several attachments
		}
		program, err := spent(tried.programs[a.program].VerifierLog)
		require.NoError(t, err, a.program)
		program.Capability, program.Hook, program.State, program.Name = c.name, h.name, state, a.program
		programs = append(programs, program)
	}
	return programs, nil
}

// iterate runs those programs that are not attached, but read.
func iterate(l *loader, s *served) error {
	switch s.capability {
	case "snapshot":
		return readAll(s, l.connMap(), wire.ConnRecordSize)
	case "namespaces":
		return readAll(s, nil, wire.TaskRecordSize)
	case "listeners":
		return readAll(s, nil, wire.ListenerRecordSize)
	case "adoption":
		for name, program := range s.programs {
			if err := runIterator(program); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	return nil
}

func readAll(s *served, over *ebpf.Map, size int) error {
	i, err := newIterator(s, over)
	if err != nil {
		return err
	}
	defer i.close()
	return i.each(size, func([]byte) error { return nil })
}

var (
	processed  = regexp.MustCompile(`processed (\d+) insns .* peak_states (\d+)`)
	stackDepth = regexp.MustCompile(`stack depth ([\d+]+)`)
)

// spent reads the statistics of the verifier (print_verification_stats in kernel/bpf/verifier.c). The depth of
// the stack is given for each function, the program itself first; none of the others calls another.
func spent(log string) (p report.Program, err error) {
	counts, depths := processed.FindStringSubmatch(log), stackDepth.FindStringSubmatch(log)
	if counts == nil || depths == nil {
		return p, fmt.Errorf("no statistics in %q", log)
	}
	p.Instructions, _ = strconv.Atoi(counts[1])
	p.States, _ = strconv.Atoi(counts[2])
	for _, depth := range strings.Split(depths[1], "+") {
		bytes, _ := strconv.Atoi(depth)
		p.Stack += bytes
	}
	return p, nil
}
