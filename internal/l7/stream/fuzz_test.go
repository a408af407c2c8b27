package stream

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ebpfnet/ebpfnetreceiver/internal/l7/buffer"
)

// FuzzStream lets the input be the pieces of a text, in any order, twice, overlapping, cut, and now and then
// the decision not to wait any longer. What comes out is the text, in order, without the holes that nobody told of.
func FuzzStream(f *testing.F) {
	f.Add([]byte{0, 10, 10, 10, 10, 5, 30, 20, 20, 10, 255, 255, 5, 10}, uint32(origin), false)
	f.Add([]byte{100, 10, 0, 90, 90, 30, 130, 255, 255, 1, 250, 10}, uint32(5), true)
	f.Fuzz(func(t *testing.T, ops []byte, first uint32, begun bool) {
		const length, limit = 256, 300
		if len(ops) > 400 {
			return
		}
		pool := buffer.New(1 << 10)
		var s Stream
		next := first // of what is to come
		started := begun
		if begun {
			s.Begin(first)
		}
		take := func(seg *Segment) {
			if started {
				require.Equal(t, next, seg.Sequence)
			}
			require.LessOrEqual(t, len(seg.Data), int(seg.Length))
			for i, c := range seg.Data {
				require.Equal(t, byte(seg.Sequence+uint32(i)-first), c)
			}
			require.False(t, seg.Lost && len(seg.Data) > 0)
			s.Advance(seg)
			next, started = seg.Sequence+seg.Length, true
		}
		drain := func(force bool) {
			for s.Held() > 0 && (force || s.Contiguous()) {
				seg, lent, ok := s.Take(pool)
				if ok {
					require.NotZero(t, seg.Length)
					take(&seg)
				}
				pool.Put(lent)
			}
		}
		for ; len(ops) >= 2; ops = ops[2:] {
			at, n := int(ops[0]), int(ops[1])
			if at == 255 {
				drain(true)
				continue
			}
			n = min(n, length-at)
			if n == 0 {
				continue
			}
			data := make([]byte, n*(1+int(ops[1]&1))/2) // cut
			for i := range data {
				data[i] = byte(at + i)
			}
			seg := Segment{Sequence: first + uint32(at), Length: uint32(n), Data: data, Start: true}
			switch s.Arrange(&seg) {
			case InOrder:
				take(&seg)
			case Ahead:
				s.Hold(seg, pool, limit)
			}
			require.LessOrEqual(t, s.Held(), MaxHeld)
			require.LessOrEqual(t, s.HeldBytes(), 2*limit)
			drain(false)
		}
		drain(true)
		require.Zero(t, s.HeldBytes())
		s.Reset(pool)
		require.Zero(t, pool.Held())
	})
}
