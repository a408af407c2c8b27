package counters

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

// These tests ask the running machine.

func self(t testing.TB) Target {
	inode, ok := namespaceOf("/proc/self")
	require.True(t, ok)
	return Target{Inode: inode, Identity: 1, TGID: uint32(os.Getpid()), Host: true}
}

func always(*Target) bool { return true }

func TestThisMachinesCountersAreRead(t *testing.T) {
	r := NewReader(Options{Complete: true})
	read := r.Read([]Target{self(t)}, always)
	require.Len(t, read, 1)
	groups := map[wire.CounterGroup]int{}
	for _, c := range read[0].Counters {
		groups[c.Group]++
		require.NotEmpty(t, c.Name)
	}
	t.Log(groups)
	for _, group := range []wire.CounterGroup{wire.CounterTCP, wire.CounterIP, wire.CounterSocket, wire.CounterInterface, wire.CounterSoftnet} {
		assert.NotZero(t, groups[group], "group %d", group)
	}
}

func TestWhatIsReadIsWhatNstatSays(t *testing.T) {
	if _, err := exec.LookPath("nstat"); err != nil {
		t.Skipf("nstat is not installed: %v", err)
	}
	r := NewReader(Options{Complete: true, Groups: []wire.CounterGroup{
		wire.CounterTCP, wire.CounterUDP, wire.CounterUDP6, wire.CounterIP, wire.CounterIP6, wire.CounterICMP, wire.CounterICMP6, wire.CounterMPTCP,
	}})
	before, err := exec.Command("nstat", "-asz").Output()
	require.NoError(t, err)
	read := r.Read([]Target{self(t)}, always)
	after, err := exec.Command("nstat", "-asz").Output()
	require.NoError(t, err)
	low, high := nstat(t, string(before)), nstat(t, string(after))
	// Names of two tables may be the same here, so each is looked for in all tables of its group.
	prefixes := map[wire.CounterGroup][]string{
		wire.CounterTCP: {"Tcp", "TcpExt"}, wire.CounterUDP: {"Udp"}, wire.CounterUDP6: {"Udp6"}, wire.CounterIP: {"Ip", "IpExt"},
		wire.CounterIP6: {"Ip6"}, wire.CounterICMP: {"Icmp", "IcmpMsg"}, wire.CounterICMP6: {"Icmp6"}, wire.CounterMPTCP: {"MPTcpExt"},
	}
	for _, c := range read[0].Counters {
		matches := 0
		for _, prefix := range prefixes[c.Group] {
			name := prefix + c.Name
			if least, ok := low[name]; ok {
				matches++
				assert.GreaterOrEqual(t, c.Value, least, name)
				assert.LessOrEqual(t, c.Value, high[name], name)
			}
		}
		assert.Equal(t, 1, matches, "%+v", c)
	}
	found := map[string]bool{}
	for _, c := range read[0].Counters {
		for _, prefix := range prefixes[c.Group] {
			found[prefix+c.Name] = true
		}
	}
	for name, value := range low {
		switch {
		case value == 0, strings.HasPrefix(name, "UdpLite"):
		case name == "IpForwarding", name == "IpDefaultTTL", name == "TcpCurrEstab", strings.HasPrefix(name, "TcpRto"), name == "TcpMaxConn":
			assert.False(t, found[name], "%s is no sum", name)
		default:
			assert.True(t, found[name], "%s is not read", name)
		}
	}
}

func nstat(t *testing.T, out string) map[string]uint64 {
	t.Helper()
	counters := map[string]uint64{}
	for row := range strings.Lines(out) {
		if part := strings.Fields(row); len(part) >= 2 && part[0] != "#kernel" {
			value, err := strconv.ParseInt(part[1], 10, 64)
			require.NoError(t, err)
			counters[part[0]] = uint64(value)
		}
	}
	return counters
}

func TestANamespaceThatIsAnothersByNowIsNotTold(t *testing.T) {
	r := NewReader(Options{})
	target := self(t)
	assert.Empty(t, r.Read([]Target{target}, func(*Target) bool { return false }), "the process has gone")
	target.Inode++
	assert.Empty(t, r.Read([]Target{target}, always), "the process lives elsewhere")
	target = self(t)
	target.TGID = 1 << 30
	assert.Empty(t, r.Read([]Target{target}, func(*Target) bool { return false }))
}

// BenchmarkRead110 is what a full node costs at each collection: its own namespace is read 110 times.
func BenchmarkRead110(b *testing.B) {
	for name, groups := range map[string][]wire.CounterGroup{
		"all": nil,
		"without_qdisc": {
			wire.CounterTCP, wire.CounterUDP, wire.CounterUDP6, wire.CounterIP, wire.CounterIP6, wire.CounterICMP,
			wire.CounterICMP6, wire.CounterMPTCP, wire.CounterSocket, wire.CounterInterface, wire.CounterConntrack,
		},
	} {
		b.Run(name, func(b *testing.B) {
			r := NewReader(Options{Groups: groups})
			targets := make([]Target, 110)
			for i := range targets {
				targets[i] = self(b)
				targets[i].Identity, targets[i].Host = uint64(i), false
			}
			b.ReportAllocs()
			for b.Loop() {
				r.Read(targets, always)
			}
		})
	}
}
