package otlp

import (
	"net/netip"
	"testing"
	"time"

	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/ebpfnet/ebpfnetreceiver/internal/conn"
	"github.com/ebpfnet/ebpfnetreceiver/internal/l7"
	"github.com/ebpfnet/ebpfnetreceiver/internal/owner"
	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

const (
	startNs  = uint64(1000 * time.Second)
	offsetNs = int64(1_700_000_000 * time.Second)
	interval = uint64(10 * time.Second)
)

// host is a small kernel: one cgroup that is a container, processes, some reasons and one symbol.
type host struct{}

const (
	podCgroup = 77
	curlPID   = 1234
	dropsAt   = 0xffffffff81000100
	rstReason = 5
	hostNetns = 4026531841
	podNetns  = 4026532001
)

var pod = owner.Owner{ContainerID: "0123456789abcdef", PodUID: "6c8aa0a5-3a1b-4f5b-8f55-3a2d1f0f3f11", Runtime: "containerd"}

func (host) Resolve(ref wire.OwnerRef, comm string, _ uint64) owner.Owner {
	switch {
	case ref.CgroupID == podCgroup:
		return pod
	case ref.TGID != 0:
		return owner.Owner{PID: ref.TGID, Executable: "curl", ServiceName: "curl"}
	default:
		return owner.Owner{Netns: ref.Netns}
	}
}

func (h host) ResolveCount(ref wire.OwnerRef, _, timeNs uint64) owner.Owner {
	return h.Resolve(ref, "", timeNs)
}

func (h host) Executable(tgid uint32, _ uint64) string {
	if process, ok := h.Process(tgid); ok {
		return process.Executable
	}
	return ""
}

func (host) Namespace(inode uint32, _ uint64, _ bool) owner.Owner {
	switch inode {
	case hostNetns:
		return owner.Owner{Netns: inode, Host: true}
	case podNetns:
		return owner.Owner{PodUID: pod.PodUID}
	}
	return owner.Owner{Netns: inode}
}

func (host) Host() owner.Owner { return owner.Owner{Netns: hostNetns, Host: true} }

func (host) CgroupPath(uint64) (string, bool) { return "", false }

func (host) Process(tgid uint32) (wire.Process, bool) {
	return wire.Process{Executable: "nginx"}, tgid == 80
}

// What the Facts know of a namespace has the same name as what the Owners do: the builders ask the latter.
type facts struct{ host }

func (facts) Namespace(uint32) (wire.Namespace, bool) { return wire.Namespace{}, false }

func (host) Symbol(address uint64) (wire.Symbol, bool) {
	if address < dropsAt-0x100 || address > dropsAt {
		return wire.Symbol{}, false
	}
	return wire.Symbol{Name: "nft_do_chain", Offset: address - (dropsAt - 0x100), Module: "nf_tables"}, true
}

func (host) EnumName(enum string, value uint32) (string, bool) {
	switch {
	case enum == "skb_drop_reason" && value == 8:
		return "SKB_DROP_REASON_NETFILTER_DROP", true
	case enum == "sk_rst_reason" && value == rstReason:
		return "SK_RST_REASON_NO_SOCKET", true
	default:
		return "", false
	}
}

var environment = Environment{Owners: host{}, Facts: facts{}}

func pair(local, remote string) wire.AddressPair {
	l, r := netip.MustParseAddrPort(local), netip.MustParseAddrPort(remote)
	return wire.AddressPair{
		Local: l.Addr().As16(), Remote: r.Addr().As16(), LocalPort: l.Port(), RemotePort: r.Port(), Protocol: 6,
	}
}

// client is an established connection of curl to 10.0.0.2:80.
func client(id, timeNs uint64, kind uint32) *wire.ConnRecord {
	r := &wire.ConnRecord{
		Header:   wire.RecordHeader{TimeNs: timeNs, Kind: kind},
		ID:       id,
		Owner:    wire.OwnerRef{Netns: 1, TGID: curlPID},
		Pair:     pair("10.0.0.1:40000", "10.0.0.2:80"),
		OpenedNs: timeNs - 2e6, EstablishedNs: timeNs - 1e6, HandshakeUs: 1000,
		BytesSent: 120, BytesRetrans: 20, BytesReceived: 5000, SegsOut: 9, SegsIn: 8, OutOfOrder: 2,
		SRTTUs: 500, MinRTTUs: 400, SndWnd: 65536, RcvWnd: 65536,
		State: conn.StateEstablished, Role: wire.RoleClient, Flags: wire.ConnEstablished,
	}
	copy(r.Comm[:], "curl")
	return r
}

// serverEnd is the other end, in the pod.
func serverEnd(id, timeNs uint64, kind uint32) *wire.ConnRecord {
	r := client(id, timeNs, kind)
	r.Pair.Local, r.Pair.Remote = r.Pair.Remote, r.Pair.Local
	r.Pair.LocalPort, r.Pair.RemotePort = r.Pair.RemotePort, r.Pair.LocalPort
	r.Owner = wire.OwnerRef{CgroupID: podCgroup, Netns: 2, TGID: 80}
	r.Role = wire.RoleServer
	copy(r.Comm[:], "nginx")
	return r
}

// pipeline is a table and the metrics of it.
type pipeline struct {
	*conn.Table
	*Metrics
	time       uint64
	times      []wire.StageTimes // of the next collection
	softirqs   []wire.SoftirqTimes
	commands   []wire.CommandTimes
	namespaces []wire.NamespaceCounters
}

func newPipeline(options Options) *pipeline {
	p := &pipeline{Table: conn.New(options.Connections(), host{}), Metrics: NewMetrics(options, environment), time: startNs}
	begin := &wire.Begin{TimeNs: startNs, OffsetNs: offsetNs}
	p.Table.Begin(begin)
	p.Metrics.Begin(begin)
	return p
}

func (p *pipeline) collect(counts ...wire.Count) pmetric.Metrics {
	p.time += interval
	p.Table.Collect(p.time, offsetNs)
	collection := &wire.Collection{TimeNs: p.time, OffsetNs: offsetNs, Counts: counts, Stages: p.times, Softirqs: p.softirqs, Commands: p.commands, Namespaces: p.namespaces}
	flows := p.Metrics.Flows(collection, p.Table.Flows())
	metrics := p.Metrics.Collect(collection, p.Table)
	if flows != nil {
		flows.Each(func(batch pmetric.Metrics) {
			batch.ResourceMetrics().MoveAndAppendTo(metrics.ResourceMetrics())
		})
	}
	return metrics
}

func (p *pipeline) get(id uint64) *conn.Connection {
	c, _ := p.Get(id)
	return c
}

// get is a complete GET /index.html?token=secret, answered with 200 after 12 ms.
func get(connID uint64, isServer bool) *l7.Call {
	return &l7.Call{
		ConnID: connID, Server: isServer,
		ProtocolVersion: "1.1", Method: "GET", Target: "/index.html?token=secret&x", Authority: "shop.example:8080",
		Status: 200, UserAgent: "curl/8.5.0",
		StartNs: startNs + 1e9, ResponseStartNs: startNs + 1e9 + 10e6, EndNs: startNs + 1e9 + 12e6,
		RequestBody: 0, ResponseBody: 612,
	}
}

// each calls f for every data point's metric and resource.
func each(metrics pmetric.Metrics, f func(resource pmetric.ResourceMetrics, metric pmetric.Metric)) {
	for _, resource := range metrics.ResourceMetrics().All() {
		for _, scope := range resource.ScopeMetrics().All() {
			for _, metric := range scope.Metrics().All() {
				f(resource, metric)
			}
		}
	}
}

// find is the only metric of that name.
func find(t *testing.T, metrics pmetric.Metrics, name string) (found pmetric.Metric) {
	t.Helper()
	n := 0
	each(metrics, func(_ pmetric.ResourceMetrics, metric pmetric.Metric) {
		if metric.Name() == name {
			found = metric
			n++
		}
	})
	if n != 1 {
		t.Fatalf("%d metrics %s, want one", n, name)
	}
	return found
}

func command(device string, class uint8) (key wire.CommandKey) {
	copy(key.Device[:], device)
	key.Class = class
	return key
}
