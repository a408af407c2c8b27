package tracecontext

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	trace = "4bf92f3577b34da6a3ce929d0e0e4736"
	span  = "00f067aa0ba902b7"
)

func TestTraceparent(t *testing.T) {
	for _, test := range []struct {
		name, value string
		ok, sampled bool
	}{
		{"sampled", "00-" + trace + "-" + span + "-01", true, true},
		{"not sampled", "00-" + trace + "-" + span + "-00", true, false},
		{"other flags are left alone", "00-" + trace + "-" + span + "-fe", true, false},
		{"a future version", "01-" + trace + "-" + span + "-01", true, true},
		{"a future version with more", "cc-" + trace + "-" + span + "-01-what-the-future", true, true},
		{"a future version with more in the wrong place", "cc-" + trace + "-" + span + "-01.what", false, false},
		{"version 00 with more", "00-" + trace + "-" + span + "-01-x", false, false},
		{"version ff", "ff-" + trace + "-" + span + "-01", false, false},
		{"version that is no hex", "0x-" + trace + "-" + span + "-01", false, false},
		{"trace id of zeros", "00-" + strings.Repeat("0", 32) + "-" + span + "-01", false, false},
		{"span id of zeros", "00-" + trace + "-" + strings.Repeat("0", 16) + "-01", false, false},
		{"upper case", "00-" + strings.ToUpper(trace) + "-" + span + "-01", false, false},
		{"short", "00-" + trace + "-" + span + "-0", false, false},
		{"other separators", "00_" + trace + "_" + span + "_01", false, false},
		{"flags that are no hex", "00-" + trace + "-" + span + "-0x", false, false},
		{"empty", "", false, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			p, ok := FromTraceparent(test.value, "a=1")
			require.Equal(t, test.ok, ok)
			if !ok {
				require.Equal(t, Parent{}, p)
				return
			}
			require.Equal(t, trace, hex.EncodeToString(p.TraceID[:]))
			require.Equal(t, span, hex.EncodeToString(p.SpanID[:]))
			require.Equal(t, test.sampled, p.Flags&Sampled != 0)
			require.False(t, p.Undecided)
			require.Equal(t, "a=1", p.TraceState)
		})
	}
}

func TestTracestateIsPassedOnIfItIsSane(t *testing.T) {
	for state, want := range map[string]string{
		"":                              "",
		"congo=t61rcWkgMzE,rojo=00f0":   "congo=t61rcWkgMzE,rojo=00f0",
		"a=\x00":                        "",
		"a=ü":                           "",
		strings.Repeat("x", MaxState):   strings.Repeat("x", MaxState),
		strings.Repeat("x", MaxState+1): "",
	} {
		p, ok := FromTraceparent("00-"+trace+"-"+span+"-01", state)
		require.True(t, ok)
		require.Equal(t, want, p.TraceState)
	}
}

func TestB3(t *testing.T) {
	for _, test := range []struct {
		name, value          string
		ok, decided, sampled bool
	}{
		{"sampled", trace + "-" + span + "-1", true, true, true},
		{"debug", trace + "-" + span + "-d", true, true, true},
		{"denied", trace + "-" + span + "-0", true, true, false},
		{"deferred", trace + "-" + span, true, false, false},
		{"with a parent", trace + "-" + span + "-1-05e3ac9a4f6e3b90", true, true, true},
		{"upper case", strings.ToUpper(trace) + "-" + span, true, false, false},
		{"state alone", "0", false, false, false},
		{"a state that is none", trace + "-" + span + "-x", false, false, false},
		{"a parent that is none", trace + "-" + span + "-1-05e3", false, false, false},
		{"more than a parent", trace + "-" + span + "-1-05e3ac9a4f6e3b90-1", false, false, false},
		{"span id of zeros", trace + "-0000000000000000", false, false, false},
		{"trace id of zeros", strings.Repeat("0", 32) + "-" + span, false, false, false},
		{"trace id of 24 digits", trace[:24] + "-" + span, false, false, false},
		{"empty", "", false, false, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			p, ok := FromB3(test.value)
			require.Equal(t, test.ok, ok)
			if !ok {
				require.Equal(t, Parent{}, p)
				return
			}
			require.Equal(t, trace, hex.EncodeToString(p.TraceID[:]))
			require.Equal(t, span, hex.EncodeToString(p.SpanID[:]))
			require.Equal(t, []bool{test.decided, test.sampled}, []bool{!p.Undecided, p.Flags&Sampled != 0})
		})
	}
}

func TestB3WithAShortTraceIDIsTheRightHalfOfALongOne(t *testing.T) {
	p, ok := FromB3(trace[16:] + "-" + span + "-1")
	require.True(t, ok)
	require.Equal(t, strings.Repeat("0", 16)+trace[16:], hex.EncodeToString(p.TraceID[:]))
}

func TestTraceparentGoesBeforeB3(t *testing.T) {
	const other = "00000000000000000000000000000001-0000000000000002-1"
	p, ok := FromHeaders("00-"+trace+"-"+span+"-03", "a=1", other)
	require.True(t, ok)
	require.Equal(t, span, hex.EncodeToString(p.SpanID[:]))
	require.EqualValues(t, Sampled|Random, p.Flags)
	p, ok = FromHeaders("nonsense", "a=1", other)
	require.True(t, ok)
	require.EqualValues(t, 2, p.SpanID[7])
	require.Empty(t, p.TraceState, "it belongs to traceparent")
	_, ok = FromHeaders("", "a=1", "")
	require.False(t, ok)
}

// These values were computed with another implementation. They must never change: collectors of different
// versions derive the two ends of one call.
func TestDerivedIDsAreFixed(t *testing.T) {
	for _, test := range []struct {
		client             string
		sequence, streamID uint32
		want               string
	}{
		{"10.0.0.1:40000", 1, 0, "ca4be299451ad7528e6623388f585137 9b9937ee97faef21 daa5bcbab8999c8f"},
		{"[::ffff:10.0.0.1]:40000", 1, 0, "ca4be299451ad7528e6623388f585137 9b9937ee97faef21 daa5bcbab8999c8f"},
		{"[2001:db8::1]:65535", 0xffffffff, 7, "fd988da37b2322d1d092bb63b1e637af c298eb97876eecc2 c74d1fe45ac0fa35"},
		{"[2001:db8::1%eth0]:65535", 0xffffffff, 7, "fd988da37b2322d1d092bb63b1e637af c298eb97876eecc2 c74d1fe45ac0fa35"},
		{"0.0.0.0:0", 0, 0, "28aae06c8b0d79ba11e9db19f4ef78c2 9109c83f7d996d87 146aabe889036014"},
	} {
		traceID, client, server := Derive(netip.MustParseAddrPort(test.client), test.sequence, test.streamID)
		require.Equal(t, test.want, fmt.Sprintf("%x %x %x", traceID, client, server), test.client)
	}
}

func TestNoDerivedIDIsZeroOrTwiceTheSame(t *testing.T) {
	traceID, client, server := cut([32]byte{})
	require.NotZero(t, traceID)
	require.NotZero(t, client)
	require.NotZero(t, server)
	require.NotEqual(t, client, server)
	require.NotPanics(t, func() { Derive(netip.AddrPort{}, 0, 0) })
}

func FuzzTraceparent(f *testing.F) {
	f.Add("00-"+trace+"-"+span+"-01", "a=1")
	f.Add("cc-"+trace+"-"+span+"-01-x", "")
	f.Fuzz(func(t *testing.T, parent, state string) {
		p, ok := FromTraceparent(parent, state)
		if !ok {
			require.Equal(t, Parent{}, p)
			return
		}
		require.NotZero(t, p.TraceID)
		require.NotZero(t, p.SpanID)
		require.Equal(t, parent[3:52], fmt.Sprintf("%x-%x", p.TraceID, p.SpanID))
		require.Contains(t, []string{state, ""}, p.TraceState)
	})
}

func FuzzB3(f *testing.F) {
	f.Add(trace + "-" + span + "-1-05e3ac9a4f6e3b90")
	f.Add(trace[16:] + "-" + span)
	f.Fuzz(func(t *testing.T, b3 string) {
		p, ok := FromB3(b3)
		if !ok {
			require.Equal(t, Parent{}, p)
			return
		}
		require.NotZero(t, p.TraceID)
		require.True(t, strings.HasSuffix(fmt.Sprintf("%x", p.TraceID), strings.ToLower(b3[:16])) || len(b3) > 32)
		require.False(t, p.Flags != 0 && p.Undecided)
	})
}

func BenchmarkDerive(b *testing.B) {
	client := netip.MustParseAddrPort("10.0.0.1:40000")
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		Derive(client, uint32(i), 0)
	}
}

func BenchmarkTraceparent(b *testing.B) {
	value := "00-" + trace + "-" + span + "-01"
	b.ReportAllocs()
	for b.Loop() {
		FromTraceparent(value, "congo=t61rcWkgMzE")
	}
}
