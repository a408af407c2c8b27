//go:build linux && (amd64 || arm64)

package kerneltest

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"golang.org/x/sys/unix"

	"github.com/ebpfnet/ebpfnetreceiver/internal/engine"
	"github.com/ebpfnet/ebpfnetreceiver/internal/probe"
)

// virtioDevice is the lab's device that has the driver virtio-net. It is up and quiet: without IPv6 nobody joins groups.
func virtioDevice(t *testing.T) string {
	t.Helper()
	drivers, err := filepath.Glob("/sys/class/net/*/device/driver")
	require.NoError(t, err)
	for _, driver := range drivers {
		target, err := os.Readlink(driver)
		require.NoError(t, err)
		if filepath.Base(target) != "virtio_net" {
			continue
		}
		device := filepath.Base(filepath.Dir(filepath.Dir(driver)))
		require.NoError(t, os.WriteFile("/proc/sys/net/ipv6/conf/"+device+"/disable_ipv6", []byte("1"), 0))
		ip(t, "link", "set", device, "up")
		t.Cleanup(func() { ip(t, "link", "set", device, "down") })
		return device
	}
	require.FailNow(t, "the lab has a device of virtio-net")
	return ""
}

// commandTrace is the kernel's own trace of the calls of a function and their returns.
type commandTrace struct {
	t    *testing.T
	path string
}

// traceCommands has the kernel trace the driver's function through which all commands go.
func traceCommands(t *testing.T) *commandTrace {
	t.Helper()
	const tracefs = "/sys/kernel/tracing/"
	symbols, err := os.ReadFile("/proc/kallsyms")
	require.NoError(t, err)
	function := "virtnet_send_command"
	if strings.Contains(string(symbols), " "+function+"_reply\t") {
		function += "_reply"
	}
	write := func(file, text string) {
		f, err := os.OpenFile(tracefs+file, os.O_WRONLY|os.O_APPEND, 0)
		require.NoError(t, err)
		defer f.Close()
		_, err = f.WriteString(text)
		require.NoError(t, err, "%s > %s", text, file)
	}
	for _, event := range []string{"p:lab/command " + function + " class=$arg2:u8", "r:lab/commanded " + function} {
		write("kprobe_events", event)
		name, _, _ := strings.Cut(event[2:], " ")
		t.Cleanup(func() { write("kprobe_events", "-:"+name) })
	}
	// An instance of its own: what others trace is not in it.
	const instance = "instances/lab/"
	require.NoError(t, os.Mkdir(tracefs+instance, 0o700))
	t.Cleanup(func() { require.NoError(t, os.Remove(tracefs+instance)) })
	write(instance+"events/lab/enable", "1")
	t.Cleanup(func() { write(instance+"events/lab/enable", "0") })
	return &commandTrace{t, tracefs + instance + "trace"}
}

// Such as "              ip-305     [001] .....    17.310246: command: (virtnet_send_command+0x0/0x14b) class=0".
var commandLine = regexp.MustCompile(`^\s*(.+-\d+)\s+\[\d+\] \S+\s+(\d+\.\d+): (command|commanded): (?:.* class=(\d+))?`)

// read gives how many commands of each class have returned, and how long they took in all.
func (c *commandTrace) read() (classes map[string]uint64, seconds float64) {
	c.t.Helper()
	text, err := os.ReadFile(c.path)
	require.NoError(c.t, err)
	names := map[string]string{"0": "rx", "1": "mac", "2": "vlan", "4": "mq", "5": "guest_offloads"}
	type call struct {
		class string
		at    float64
	}
	classes = map[string]uint64{}
	under := map[string]call{}
	for line := range strings.Lines(string(text)) {
		found := commandLine.FindStringSubmatch(line)
		if found == nil {
			continue
		}
		at, err := strconv.ParseFloat(found[2], 64)
		require.NoError(c.t, err)
		if found[3] == "command" {
			under[found[1]] = call{names[found[4]], at}
			continue
		}
		begun, ok := under[found[1]]
		require.True(c.t, ok, "%s in %s", line, text)
		delete(under, found[1])
		classes[begun.class]++
		seconds += at - begun.at
	}
	return classes, seconds
}

// needVirtio skips the test where there is no device that is only ours to command, as there is in the lab.
func needVirtio(t *testing.T) {
	t.Helper()
	if inLab() {
		return
	}
	if _, err := os.Stat("/sys/module/virtio_net"); err != nil {
		t.Skip("this host has no driver for virtio-net")
	}
	config := newNetwork(t).settings()
	config.Probe.Stages = true
	hook, refused := observe(t, config).hook("virtio")
	require.Empty(t, hook)
	require.Len(t, refused, 1)
	require.Contains(t, refused[0].Reason, "whole host")
	t.Skip("the driver's commands belong to the whole host, and only the lab's device is ours")
}

func TestCommandsToAVirtioDeviceAgreeWithTheKernelsTrace(t *testing.T) {
	needVirtio(t)
	device := virtioDevice(t)
	for name, avoided := range map[string][]string{"the best hook": nil, "without trampolines": {"fexit"}} {
		t.Run(name, func(t *testing.T) { testCommands(t, device, avoided) })
	}
}

func testCommands(t *testing.T, device string, avoided []string) {
	// From here to the end nobody but the test gives commands.
	witness := traceCommands(t)
	// The other capabilities' hooks take long to verify.
	o := observe(t, engine.Config{Probe: probe.Config{
		CollectionInterval: 200 * time.Millisecond, FlushInterval: 50 * time.Millisecond,
		Stages: true, Slow: probe.Slow{Stage: time.Nanosecond, PerSecond: unlimited},
		AvoidHooks: append([]string{"tp_btf", "fentry"}, avoided...),
	}})
	if !o.serves("virtio") {
		t.Skip("this kernel has no hook for virtio, for the reason above: without one nothing is told")
	}
	before, _ := witness.read()
	require.Empty(t, before)
	const times = 10
	for i := range times {
		ip(t, "link", "set", device, "promisc", "on")
		ip(t, "link", "set", device, "promisc", "off")
		ip(t, "link", "set", device, "address", fmt.Sprintf("52:54:00:12:34:%02x", 0x60+i))
		ip(t, "link", "add", "link", device, "name", "vlan7", "type", "vlan", "id", "7")
		ip(t, "link", "del", "vlan7")
	}
	// What the device is to receive may be left to a worker.
	var said map[string]uint64
	eventually(t, "all commands have been carried out", func() bool {
		was := fmt.Sprint(said)
		time.Sleep(300 * time.Millisecond)
		said, _ = witness.read()
		return said["rx"] >= 2*times && fmt.Sprint(said) == was
	})
	o.stop()
	said, took := witness.read()

	told, measured, total := map[string]uint64{}, 0.0, uint64(0)
	o.each("network.interface.command.duration", func(metric pmetric.Metric, resource pcommon.Map) {
		host, _ := resource.Get("ebpfnet.network.namespace.host")
		assert.True(t, host.Bool(), "whose: %v", resource.AsRaw())
		for _, point := range metric.ExponentialHistogram().DataPoints().All() {
			assert.Equal(t, device, text(point.Attributes(), "network.interface.name"))
			told[text(point.Attributes(), "network.interface.command.class")] += point.Count()
			measured += point.Sum()
			total += point.Count()
		}
	})
	hook, _ := o.hook("virtio")
	t.Logf("%s: %v in %.6f s, the kernel's trace says %v in %.6f s", hook, told, measured, said, took)
	assert.Len(t, told, len(said))
	for class, count := range said {
		o.assertAll(int(count), int64(told[class]), class)
	}
	assert.GreaterOrEqual(t, said["mac"], uint64(times))
	assert.GreaterOrEqual(t, said["vlan"], uint64(2*times))
	// One of the two is within the other, and times it too: where the clock counts instructions that is half of it.
	const tracing = 20 * time.Microsecond
	assert.InDelta(t, took, measured, took/2+tracing.Seconds()*float64(total))

	events := o.events("network.interface.command.slow")
	assert.EqualValues(t, total, len(events))
	for _, event := range events {
		assert.Equal(t, device, text(event.Attributes(), "network.interface.name"))
		assert.Contains(t, event.Body().Str(), " to "+device+" took ")
	}
}

// Only CAP_SYS_ADMIN may ask for the types of a module's functions. Without it there are kprobes, if kernel.perf_event_paranoid,
// which Debian sets to 3, allows them to CAP_PERFMON.
func TestAVirtioDeviceIsWatchedByWhoeverMay(t *testing.T) {
	needVirtio(t)
	var capabilities []uintptr
	for _, capability := range documented {
		capabilities = append(capabilities, capability)
	}
	if olderThan(t, 5, 11) { // there BPF memory is locked memory
		capabilities = append(capabilities, unix.CAP_SYS_RESOURCE)
	}
	const paranoid = "/proc/sys/kernel/perf_event_paranoid"
	was, err := os.ReadFile(paranoid)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.WriteFile(paranoid, was, 0)) })
	for _, test := range []struct {
		paranoid     string
		capabilities []uintptr
		want         string
	}{
		{"3", capabilities, `not available`},
		{"2", capabilities, `kprobe/virtnet_send_command`},
		{"3", append(capabilities, unix.CAP_SYS_ADMIN), `(fexit|kprobe)/virtnet_send_command`},
	} {
		require.NoError(t, os.WriteFile(paranoid, []byte(test.paranoid), 0))
		output, code := startAs(t, test.capabilities, "")
		require.Equal(t, 0, code, output)
		assert.Regexp(t, `(?m)^ +virtio +`+test.want, output)
	}
}
