package counters

import (
	"maps"
	"slices"
	"strings"

	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

// Group is what can be asked for by name.
type Group struct {
	Name   string
	Groups []wire.CounterGroup
}

// Groups are all of them.
func Groups() []Group {
	return []Group{
		{"tcp", []wire.CounterGroup{wire.CounterTCP}},
		{"mptcp", []wire.CounterGroup{wire.CounterMPTCP}},
		{"udp", []wire.CounterGroup{wire.CounterUDP, wire.CounterUDP6}},
		{"ip", []wire.CounterGroup{wire.CounterIP, wire.CounterIP6}},
		{"icmp", []wire.CounterGroup{wire.CounterICMP, wire.CounterICMP6}},
		{"sockets", []wire.CounterGroup{wire.CounterSocket}},
		{"queues", []wire.CounterGroup{wire.CounterQueue}},
		{"listeners", []wire.CounterGroup{wire.CounterListener}},
		{"interfaces", []wire.CounterGroup{wire.CounterInterface}},
		{"qdisc", []wire.CounterGroup{wire.CounterQdisc}},
		{"conntrack", []wire.CounterGroup{wire.CounterConntrack}},
		{"softnet", []wire.CounterGroup{wire.CounterSoftnet}},
		{"ipvs", []wire.CounterGroup{wire.CounterIPVS}},
		{"rdma", []wire.CounterGroup{wire.CounterRDMA}},
	}
}

// Named gives the groups of these names; none: all.
func Named(names []string) (groups []wire.CounterGroup) {
	for _, group := range Groups() {
		if len(names) == 0 || slices.Contains(names, group.Name) {
			groups = append(groups, group.Groups...)
		}
	}
	return groups
}

// table is one of the tables in /proc/net/snmp, netstat and snmp6.
type table struct {
	prefix string // of its lines, or in snmp6 of its names
	group  wire.CounterGroup
	names  string // what is read of it unless all is
	states string // what is no sum
}

// tables holds everything that one looks at first when something is wrong, and all that KubeSkoop's exporter has.
// The kernel's documentation of the names: Documentation/networking/snmp_counter.rst.
var tables = []table{
	{prefix: "Tcp", group: wire.CounterTCP, names: `ActiveOpens PassiveOpens AttemptFails EstabResets InSegs OutSegs
		RetransSegs InErrs OutRsts InCsumErrors`,
		states: "RtoAlgorithm RtoMin RtoMax MaxConn CurrEstab"},
	{prefix: "TcpExt", group: wire.CounterTCP, names: `ListenDrops ListenOverflows TCPSynRetrans TCPFastRetrans
		TCPSlowStartRetrans TCPRetransFail TCPTimeouts TCPLossProbes TCPLostRetransmit TCPSpuriousRtxHostQueues
		TCPAbortOnClose TCPAbortOnMemory TCPAbortOnTimeout TCPAbortOnLinger TCPAbortOnData TCPAbortFailed
		TCPACKSkippedSynRecv TCPACKSkippedPAWS TCPACKSkippedSeq TCPACKSkippedFinWait2 TCPACKSkippedTimeWait
		TCPACKSkippedChallenge TCPChallengeACK TCPRcvQDrop TCPOFOQueue TCPOFODrop TCPRcvCollapsed PruneCalled RcvPruned
		OfoPruned TCPMemoryPressures TCPMemoryPressuresChrono PAWSActive PAWSEstab EmbryonicRsts TCPWinProbe
		TCPKeepAlive TCPMTUPFail TCPMTUPSuccess TCPZeroWindowDrop TCPToZeroWindowAdv TCPFromZeroWindowAdv
		TCPBacklogDrop PFMemallocDrop TCPMinTTLDrop TCPDeferAcceptDrop TCPReqQFullDrop TCPReqQFullDoCookies
		SyncookiesSent SyncookiesRecv SyncookiesFailed TCPTimeWaitOverflow TCPWqueueTooBig TCPDSACKRecv
		TCPSACKReneging IPReversePathFilter`},
	{prefix: "MPTcpExt", group: wire.CounterMPTCP, names: `MPCapableSYNRX MPCapableSYNTX MPCapableSYNACKRX MPCapableACKRX
		MPCapableFallbackACK MPCapableFallbackSYNACK MPFallbackTokenInit MPTCPRetrans MPJoinNoTokenFound`,
		states: "MPCurrEstab"},
	{prefix: "Udp", group: wire.CounterUDP, names: `InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors SndbufErrors
		InCsumErrors IgnoredMulti MemErrors`},
	{prefix: "Udp6", group: wire.CounterUDP6, names: `InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors SndbufErrors
		InCsumErrors IgnoredMulti MemErrors`},
	{prefix: "Ip", group: wire.CounterIP, names: `InReceives InHdrErrors InAddrErrors InUnknownProtos InDiscards InDelivers
		ForwDatagrams OutRequests OutDiscards OutNoRoutes ReasmTimeout ReasmFails FragFails`,
		states: "Forwarding DefaultTTL"},
	{prefix: "IpExt", group: wire.CounterIP, names: "InNoRoutes InTruncatedPkts InCsumErrors InCEPkts InOctets OutOctets"},
	{prefix: "Ip6", group: wire.CounterIP6, names: `InReceives InHdrErrors InTooBigErrors InAddrErrors InUnknownProtos
		InDiscards InDelivers OutForwDatagrams OutRequests OutDiscards InNoRoutes OutNoRoutes InTruncatedPkts ReasmTimeout
		ReasmFails FragFails InCEPkts InOctets OutOctets`},
	{prefix: "Icmp", group: wire.CounterICMP, names: `InMsgs InErrors InCsumErrors InDestUnreachs InTimeExcds InRedirects
		InEchos InEchoReps OutMsgs OutErrors OutRateLimitGlobal OutRateLimitHost OutDestUnreachs OutTimeExcds OutEchos
		OutEchoReps`},
	{prefix: "IcmpMsg", group: wire.CounterICMP},
	{prefix: "Icmp6", group: wire.CounterICMP6, names: `InMsgs InErrors InCsumErrors InDestUnreachs InPktTooBigs InTimeExcds
		InRedirects InEchos InEchoReplies OutMsgs OutErrors OutRateLimitHost OutDestUnreachs OutPktTooBigs OutTimeExcds
		OutEchos OutEchoReplies`},
}

// Names are the counters of a group that are read by default, where the group is of tables: what the attribute
// network.counter.name may be without Complete.
func Names(group wire.CounterGroup) (names []string) {
	for i := range tables {
		if tables[i].group == group {
			names = append(names, strings.Fields(tables[i].names)...)
		}
	}
	if group == wire.CounterConntrack {
		names = slices.Sorted(maps.Keys(conntrackSums))
	}
	return names
}

// wanted says for each table which of its names are read.
type wanted struct {
	complete      bool
	names, states map[string]bool
}

func newWanted(t *table, complete bool) *wanted {
	w := &wanted{complete: complete, names: map[string]bool{}, states: map[string]bool{}}
	for _, name := range strings.Fields(t.names) {
		w.names[name] = true
	}
	for _, name := range strings.Fields(t.states) {
		w.states[name] = true
	}
	return w
}

func (w *wanted) wants(name string) bool { return w.names[name] || w.complete && !w.states[name] }

// interfaceColumns are the names of rtnl_link_stats64 for the columns of /proc/net/dev (dev_seq_printf_stats);
// empty: it is part of another column.
var interfaceColumns = [16]string{
	"rx_bytes", "rx_packets", "rx_errors", "rx_dropped", "", "", "", "",
	"tx_bytes", "tx_packets", "tx_errors", "tx_dropped",
}

// softnetNames are the first columns of /proc/net/softnet_stat (softnet_seq_show).
var softnetNames = [...]string{"processed", "dropped", "time_squeeze"}

// conntrackSums are the columns of /proc/net/stat/nf_conntrack (ct_cpu_seq_show) that are sums, as named there.
var conntrackSums = map[string]bool{
	"found": true, "invalid": true, "ignore": true, "insert": true, "insert_failed": true, "drop": true,
	"early_drop": true, "icmp_error": true, "search_restart": true, "clashres": true,
}

// socketFields are the fields of /proc/net/sockstat and sockstat6 that are told.
var socketFields = map[string]bool{
	"TCP inuse": true, "TCP tw": true, "TCP6 inuse": true, "UDP inuse": true, "UDP6 inuse": true,
}

// hostSocketFields are those that are the whole host's, whatever namespace they are read in.
var hostSocketFields = map[string]bool{
	"TCP orphan": true, "TCP alloc": true, "TCP mem": true, "UDP mem": true,
}
