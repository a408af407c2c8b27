//go:build linux && (amd64 || arm64)

package kerneltest

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ebpfnet/ebpfnetreceiver/internal/engine"
	"github.com/ebpfnet/ebpfnetreceiver/internal/probe"
)

// dnsSettings watch lookups at both ends.
func (n *network) dnsSettings() engine.Config {
	config := n.flowSettings()
	config.Probe.Datagrams = probe.Datagrams{Flows: true, DNS: true}
	config.DNS = engine.DNS{Timeout: 5 * time.Second, PerSecond: unlimited}
	return config
}

// nameServer is dnsmasq in the server's namespace, with what it logged.
type nameServer struct {
	t   *testing.T
	log string
}

// serveNames answers for a.example; what is below nx.example does not exist, the rest is refused.
func (n *network) serveNames() *nameServer {
	t := n.server.t
	t.Helper()
	need(t, "dnsmasq")
	s := &nameServer{t, filepath.Join(t.TempDir(), "dnsmasq.log")}
	command := exec.Command("dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--user=root", "--pid-file=",
		"--no-resolv", "--no-hosts", "--bind-interfaces", "--interface=eth0", "--except-interface=lo",
		"--address=/a.example/192.0.2.7", "--address=/a.example/2001:db8::7", "--local=/nx.example/",
		"--log-queries", "--log-facility="+s.log)
	require.NoError(t, n.server.start(command))
	t.Cleanup(func() {
		_ = command.Process.Signal(unix.SIGTERM)
		_ = command.Wait()
	})
	eventually(t, "dnsmasq listens", func() bool {
		return strings.Contains(n.server.run("ss", "-Hltun", "sport", "=", ":53"), n.server.v6.String())
	})
	return s
}

// queries counts the questions of a type that the server has logged.
func (s *nameServer) queries(kind string) (count int) {
	s.t.Helper()
	log, err := os.ReadFile(s.log)
	require.NoError(s.t, err)
	return strings.Count(string(log), " query["+kind+"] ")
}

// dig asks the server and says with what status it answered; empty: there was no answer.
func (n *network) dig(args ...string) string {
	n.client.t.Helper()
	need(n.client.t, "dig")
	command := exec.Command("dig", append([]string{"+tries=1", "+time=60", "+norecurse"}, args...)...)
	var out strings.Builder
	command.Stdout = &out
	require.NoError(n.client.t, n.client.start(command))
	_ = command.Wait() // 9: there was no answer
	_, status, _ := strings.Cut(out.String(), "status: ")
	status, _, _ = strings.Cut(status, ",")
	return status
}

// resolver is Go's own, whose sockets are in the client's namespace.
func (n *network) resolver() *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (c net.Conn, err error) {
		n.client.do(func() { c, err = new(net.Dialer).DialContext(ctx, network, n.server.at4(53).String()) })
		return c, err
	}}
}

func (o *observer) lookups(attributes ...any) int {
	count, _ := o.distribution("dns.lookup.duration", attributes...)
	return int(count)
}

func TestLookupsAgreeWithTheNameServersLog(t *testing.T) {
	n := newNetwork(t)
	server := n.serveNames()
	n.server.firewall(`table inet wall {
		chain guard { type filter hook input priority 0; udp dport 53 udp length > 150 drop; }
	}`)
	o := observe(t, n.dnsSettings())
	at := "@" + n.server.v4.String()
	require.Equal(t, "NOERROR", n.dig(at, "a.example", "A"))
	require.Equal(t, "NOERROR", n.dig(at, "a.example", "AAAA"))
	require.Equal(t, "NOERROR", n.dig("@"+n.server.v6.String(), "A.EXAMPLE", "A"))
	require.Equal(t, "NXDOMAIN", n.dig(at, "below.nx.example", "A"))
	require.Equal(t, "REFUSED", n.dig(at, "else.where", "A"))
	require.Equal(t, "NOERROR", n.dig(at, "+tcp", "a.example", "A"))
	require.Equal(t, "REFUSED", n.dig(at, "+tcp", "else.where", "AAAA"))
	require.Empty(t, n.dig(at, "+time=1", "+padding=200", "lost.example", "A"))
	for range 5 {
		addresses, err := n.resolver().LookupNetIP(t.Context(), "ip", "a.example.")
		require.NoError(t, err)
		require.Contains(t, addresses, netip.MustParseAddr("192.0.2.7"))
	}
	eventually(t, "the lookup that was lost has timed out", func() bool {
		lookups := o.engine.Stats().Lookups
		return o.sum("dns.lookup.failed", "error.type", "timeout") > 0 || o.skipped() > 0 && lookups.Questions > 0 && lookups.Pending == 0
	})
	o.stop()

	assert.Equal(t, 10, server.queries("A"))
	for _, kind := range []string{"A", "AAAA"} {
		o.assertAll(server.queries(kind), int64(o.lookups("dns.question.type", kind)), "%s, of which the server had %d", kind, server.queries(kind))
	}
	for code, count := range map[string]int{"NOERROR": 14, "NXDOMAIN": 1, "REFUSED": 2} {
		o.assertAll(count, int64(o.lookups("dns.response_code", code)), code)
	}
	for kind, count := range map[string]int{"REFUSED": 2, "timeout": 1} {
		o.assertAll(count, o.sum("dns.lookup.failed", "error.type", kind), kind)
	}
	assert.LessOrEqual(t, o.sum("dns.lookup.failed"), int64(3), "nothing else")
	stats := o.engine.Stats().Lookups
	assert.Equal(t, stats.Questions, stats.Answered+stats.TimedOut+stats.Unknown+stats.Pending, "%+v", stats)
	// What is pending when an answer may have been lost is not known any more.
	assert.True(t, stats.Unknown+stats.Stray == 0 || stats.Unknown <= o.skipped()+1 && stats.Stray <= o.skipped(), "%+v", stats)
	assert.Zero(t, stats.Malformed, "%+v", stats)

	for name, transport := range map[string]string{"A": "udp", "AAAA": "tcp"} {
		events := o.events("dns.lookup.failed", "error.type", "REFUSED", "dns.question.type", name)
		o.assertAll(1, int64(len(events)))
		for _, event := range events {
			a := event.Attributes()
			assert.Equal(t, "else.where", text(a, "dns.question.name"))
			assert.Equal(t, n.server.v4.String(), text(a, "server.address"))
			assert.Equal(t, transport, text(a, "network.transport"))
		}
	}
	lost := o.events("dns.lookup.failed", "error.type", "timeout")
	o.assertAll(1, int64(len(lost)))
	for _, event := range lost {
		assert.Equal(t, "lost.example", text(event.Attributes(), "dns.question.name"))
		assert.Equal(t, "Lookup of lost.example (A) at 10.77.0.2 failed: timeout", event.Body().Str())
	}
}

// TestASlowLookupIsTold: the delay is the name server's, and no connection shows it.
func TestASlowLookupIsTold(t *testing.T) {
	n := newNetwork(t)
	o := observe(t, n.dnsSettings())
	var server net.PacketConn
	var err error
	n.server.do(func() { server, err = net.ListenPacket("udp4", n.server.at4(53).String()) })
	require.NoError(t, err)
	defer server.Close()
	const delay = 300 * time.Millisecond
	go func() {
		buffer := make([]byte, 1500)
		for {
			length, client, err := server.ReadFrom(buffer)
			if err != nil {
				return
			}
			time.Sleep(delay)
			buffer[2] |= 0x80 // a response
			buffer[3] |= 3    // there is no such name
			_, _ = server.WriteTo(buffer[:length], client)
		}
	}()
	assert.Equal(t, "NXDOMAIN", n.dig("@"+n.server.v4.String(), "+noedns", "slow.example", "A"))
	o.stop()
	count, seconds := o.distribution("dns.lookup.duration", "dns.response_code", "NXDOMAIN", "dns.question.type", "A")
	o.assertAll(1, int64(count), fmt.Sprintf("%+v", o.engine.Stats().Lookups))
	assert.GreaterOrEqual(t, seconds, delay.Seconds()*float64(count))
	assert.Zero(t, o.sum("dns.lookup.failed"))
}
