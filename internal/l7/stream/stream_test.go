package stream

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ebpfnet/ebpfnetreceiver/internal/l7/buffer"
)

const origin = ^uint32(0) - 500 // goes round soon

func TestShuffledSegmentsComeOutInOrder(t *testing.T) {
	for seed := range uint64(500) {
		random := rand.New(rand.NewPCG(seed, 3))
		pool := buffer.New(1 << 20)
		text := make([]byte, 1000)
		for i := range text {
			text[i] = byte(random.IntN(256))
		}
		var segments []Segment
		for at := 0; at < len(text); {
			n := min(1+random.IntN(100), len(text)-at)
			segments = append(segments, Segment{Sequence: origin + uint32(at), Length: uint32(n), Data: text[at : at+n], Start: true})
			if random.IntN(3) > 0 { // else the next one repeats some of it
				at += n
			}
		}
		for i := range len(segments) - 1 {
			if random.IntN(3) == 0 {
				segments[i], segments[i+1] = segments[i+1], segments[i]
			}
		}
		var s Stream
		s.Begin(origin)
		var out []byte
		take := func(seg Segment) {
			require.False(t, seg.Lost)
			require.Equal(t, origin+uint32(len(out)), seg.Sequence)
			out = append(out, seg.Data...)
			s.Advance(&seg)
		}
		for _, seg := range segments {
			switch s.Arrange(&seg) {
			case InOrder:
				take(seg)
			case Ahead:
				require.True(t, s.Hold(seg, pool, 1<<20))
			}
			for s.Contiguous() {
				seg, lent, ok := s.Take(pool)
				if ok {
					take(seg)
				}
				pool.Put(lent)
			}
		}
		require.Equal(t, text, out, "seed %d", seed)
		require.Zero(t, s.Held())
		require.Zero(t, s.HeldBytes())
		require.Zero(t, pool.Held())
	}
}

func TestAHoleIsToldBeforeWhatFollowsIt(t *testing.T) {
	pool := buffer.New(1 << 20)
	var s Stream
	s.Begin(10)
	require.True(t, s.Hold(Segment{Sequence: 15, Length: 2, Data: []byte("ab"), TimeNs: 7}, pool, 100))
	require.False(t, s.Contiguous())
	hole, _, ok := s.Take(pool)
	require.True(t, ok)
	require.Equal(t, Segment{Sequence: 10, Length: 5, TimeNs: 7, Lost: true}, hole)
	s.Advance(&hole)
	seg, lent, ok := s.Take(pool)
	require.True(t, ok)
	require.Equal(t, "ab", string(seg.Data))
	pool.Put(lent)
	require.Zero(t, pool.Held())
}

func TestWhatIsHeldIsBounded(t *testing.T) {
	pool := buffer.New(1 << 20)
	var s Stream
	s.Begin(0)
	data := make([]byte, 100)
	kept := 0
	for i := range uint32(100) {
		if s.Hold(Segment{Sequence: 1 + i*100, Length: 100, Data: data}, pool, 1000) {
			kept++
		}
	}
	require.LessOrEqual(t, s.Held(), MaxHeld)
	require.LessOrEqual(t, s.HeldBytes(), 1000+128)
	require.Positive(t, kept)
	length := uint32(0)
	for s.Held() > 0 {
		seg, lent, _ := s.Take(pool)
		length += seg.Length
		s.Advance(&seg)
		pool.Put(lent)
	}
	require.EqualValues(t, 1+100*100, length, "lengths are kept where bytes are not")
	require.Zero(t, pool.Held())
}

func TestAStreamThatWentRoundUnseenGoesOn(t *testing.T) {
	var s Stream
	s.Begin(1 << 30)
	seg := Segment{Sequence: 100, Length: 10}
	require.Equal(t, Ahead, s.Arrange(&seg), "not a duplicate of what was long ago")
}
