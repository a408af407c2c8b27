package symbol

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

func TestAStackIsOneFramePerLine(t *testing.T) {
	symbols, _, _ := newSmall()
	stack := []uint64{0xffffffff81000120, 0xffffffffc0001084, 0xffffffff81000200, 42, 0, 0xffffffff81000120}
	// The third is the return address of a call that ends its function.
	require.Equal(t, "tcp_drop+0x10\nnft_do_chain+0x4 [nf_tables]\ntcp_drop+0xf0\n[unknown]", Stack(stack, symbols.Symbol))
	require.Empty(t, Stack(nil, symbols.Symbol))
	require.Empty(t, Stack(make([]uint64, 24), symbols.Symbol))
}

func TestReasonsReadWithoutTheirPrefix(t *testing.T) {
	for name, want := range map[string]string{
		"SKB_DROP_REASON_NETFILTER_DROP": "NETFILTER_DROP",
		"SK_RST_REASON_NO_SOCKET":        "NO_SOCKET",
		"SKB_CONSUMED":                   "SKB_CONSUMED",
		"OVS_DROP_LAST_ACTION":           "OVS_DROP_LAST_ACTION",
		"SKB_DROP_REASON_":               "SKB_DROP_REASON_",
		"":                               "",
	} {
		require.Equal(t, want, ReasonName(name))
	}
}

func TestEnumsNameWhatTheyHold(t *testing.T) {
	enums := Enums{"skb_drop_reason": {8: "SKB_DROP_REASON_NETFILTER_DROP"}}
	name, ok := enums.EnumName("skb_drop_reason", 8)
	require.True(t, ok)
	require.Equal(t, "SKB_DROP_REASON_NETFILTER_DROP", name)
	for _, unknown := range []Enums{enums, nil} {
		_, ok = unknown.EnumName("skb_drop_reason", 9)
		require.False(t, ok)
		_, ok = unknown.EnumName("sk_rst_reason", 8)
		require.False(t, ok)
	}
}

func TestAStackLeavesOutHowItWasSeen(t *testing.T) {
	names := map[uint64]string{0x1f: "bpf_trace_run4", 0x2f: "__bpf_trace_kfree_skb", 0x3f: "nft_do_chain"}
	symbol := func(address uint64) (wire.Symbol, bool) {
		name, ok := names[address]
		return wire.Symbol{Name: name}, ok
	}
	require.Equal(t, "nft_do_chain+0x1", Stack([]uint64{0x10, 0x20, 0x30, 0x40}, symbol))
}
