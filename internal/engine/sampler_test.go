package engine

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/ebpfnet/ebpfnetreceiver/internal/l7"
	"github.com/ebpfnet/ebpfnetreceiver/internal/tracecontext"
)

func traces(n int) [][16]byte {
	ids := make([][16]byte, n)
	for i := range ids {
		ids[i], _, _ = tracecontext.Derive(netip.MustParseAddrPort("10.0.0.1:1"), uint32(i), 0)
	}
	return ids
}

// ended is a call that ended then.
func ended(timeNs uint64) *l7.Call { return &l7.Call{EndNs: timeNs, Status: 200} }

func TestARatioKeepsThatShareOfTraces(t *testing.T) {
	for _, ratio := range []float64{0, 0.1, 0.5, 1} {
		s := newSampler(Trace{Ratio: ratio, PerSecond: 1e9})
		kept := 0
		for i, id := range traces(20000) {
			if s.decide(id, ended(uint64(i)*1000)) == sampled {
				kept++
			}
		}
		assert.InDelta(t, ratio*20000, kept, 300, "ratio %v", ratio)
	}
}

func TestALargerRatioKeepsWhatASmallerOneKeeps(t *testing.T) {
	small, large := newSampler(Trace{Ratio: 0.2, PerSecond: 1e9}), newSampler(Trace{Ratio: 0.3, PerSecond: 1e9})
	for i, id := range traces(5000) {
		if small.decide(id, ended(uint64(i)*1000)) == sampled {
			assert.Equal(t, sampled, large.decide(id, ended(uint64(i)*1000)))
		}
	}
}

func TestPerSecondBoundsSpansInEachSecond(t *testing.T) {
	const perSecond = 100
	s := newSampler(Trace{Ratio: 1, PerSecond: perSecond})
	kept := 0
	for i, id := range traces(10000) { // ten seconds, a thousand calls in each
		if s.decide(id, ended(1e9+uint64(i)*1e6)) == sampled {
			kept++
		}
	}
	// A full bucket at the start, then the rate.
	assert.InDelta(t, 11*perSecond, kept, 2)
}

func TestACallThatIsToldOfLateIsNotOverTheLimit(t *testing.T) {
	s := newSampler(Trace{Ratio: 1, PerSecond: 100})
	ids := traces(2)
	assert.Equal(t, sampled, s.decide(ids[0], ended(60e9)))
	assert.Equal(t, sampled, s.decide(ids[1], ended(1e9)))
}

func TestZeroPerSecondMakesNoSpan(t *testing.T) {
	s := newSampler(Trace{Ratio: 1})
	assert.Equal(t, overLimit, s.decide([16]byte{1: 0xff, 9: 0xff}, ended(1)))
}

func TestACallWithoutSharedKnowledgeHasIdsOfItsOwn(t *testing.T) {
	s := newSampler(Trace{Ratio: 1, PerSecond: 1, JoinNetworks: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}})
	one := s.identify(&l7.Call{ConnID: 1, StartNs: 5, Server: true}, nil)
	two := s.identify(&l7.Call{ConnID: 2, StartNs: 5, Server: true}, nil)
	assert.NotEqual(t, one.TraceID, two.TraceID)
	assert.Zero(t, one.ParentID)
	assert.NotZero(t, one.SpanID)
}

func TestACarriedTraceIsKept(t *testing.T) {
	s := newSampler(Trace{Ratio: 1, PerSecond: 1})
	const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	client := s.identify(&l7.Call{ConnID: 1, StartNs: 5, Traceparent: parent, Tracestate: "a=b"}, nil)
	server := s.identify(&l7.Call{ConnID: 2, StartNs: 6, Server: true, Traceparent: parent}, nil)
	assert.Equal(t, byte(0x0a), client.TraceID[0])
	assert.Equal(t, client.TraceID, server.TraceID)
	assert.Equal(t, client.ParentID, server.ParentID)
	assert.Equal(t, byte(0xb7), client.ParentID[0])
	assert.Equal(t, "a=b", client.TraceState)
	assert.EqualValues(t, 1, client.Flags)
}

func TestErrorsAndSlowCallsAreKeptBeyondTheRatio(t *testing.T) {
	s := newSampler(Trace{PerSecond: 1e9, KeepErrors: true, KeepSlowerThan: time.Second})
	for name, test := range map[string]struct {
		call l7.Call
		want decision
	}{
		"fine":                    {l7.Call{Status: 200, StartNs: 1, EndNs: 1e9}, unsampled},
		"redirected":              {l7.Call{Status: 302, StartNs: 1, EndNs: 2}, unsampled},
		"gRPC that is fine":       {l7.Call{Status: 200, RPC: "grpc", RPCStatus: "OK"}, unsampled},
		"server error":            {l7.Call{Status: 500}, sampled},
		"client error":            {l7.Call{Status: 404}, sampled},
		"client error, server":    {l7.Call{Status: 404, Server: true}, sampled},
		"gRPC error":              {l7.Call{Status: 200, RPC: "grpc", RPCStatus: "NOT_FOUND", Server: true}, sampled},
		"no answer":               {l7.Call{Error: "ECONNRESET"}, sampled},
		"slow":                    {l7.Call{Status: 200, StartNs: 1, EndNs: 2 + 1e9}, sampled},
		"of which no start known": {l7.Call{Status: 200, EndNs: 2 + 1e9}, unsampled},
		"of which no end is":      {l7.Call{Status: 200, StartNs: 2 + 1e9}, unsampled},
	} {
		assert.Equal(t, test.want, s.decide([16]byte{}, &test.call), name)
	}
	plain := newSampler(Trace{PerSecond: 1e9})
	assert.Equal(t, unsampled, plain.decide([16]byte{}, &l7.Call{Status: 500, StartNs: 1, EndNs: 1e12}))
}

func TestWhatIsKeptIsBoundedPerSecondToo(t *testing.T) {
	s := newSampler(Trace{PerSecond: 10, KeepErrors: true})
	kept := 0
	for i, id := range traces(1000) {
		if s.decide(id, &l7.Call{Status: 500, EndNs: uint64(i) * 1e6}) == sampled {
			kept++
		}
	}
	assert.InDelta(t, 20, kept, 2)
}
