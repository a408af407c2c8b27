package l7

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// notWrong checks calls against what was really said: each value is right or absent, and what is absent is
// admitted.
func notWrong(t *testing.T, truth, calls []Call, what string) {
	t.Helper()
	seen := map[uint32]bool{}
	for _, got := range calls {
		require.False(t, seen[got.RequestSequence], what)
		seen[got.RequestSequence] = true
		i := slices.IndexFunc(truth, func(c Call) bool { return c.RequestSequence == got.RequestSequence })
		require.GreaterOrEqual(t, i, 0, what)
		want := truth[i]
		what := what + ": " + brief(got)
		require.Equal(t, want.Method, got.Method, what)
		require.Equal(t, want.StartNs, got.StartNs, what)
		path, _, _ := strings.Cut(want.Target, "?")
		require.Contains(t, []string{want.Target, path, ""}, got.Target, what)
		require.Contains(t, []int{want.Status, 0}, got.Status, what)
		require.Contains(t, []int64{want.RequestBody, -1}, got.RequestBody, what)
		require.Contains(t, []int64{want.ResponseBody, -1}, got.ResponseBody, what)
		require.Contains(t, []uint64{want.ResponseStartNs, 0}, got.ResponseStartNs, what)
		if want.Error == got.Error { // else it is the last byte, as nobody knows that more should have come
			require.Contains(t, []uint64{want.EndNs, 0}, got.EndNs, what)
		}
		require.Contains(t, []string{want.Error, ""}, got.Error, what)
		require.Contains(t, []string{want.Authority, ""}, got.Authority, what)
		if got.Capture == Complete {
			require.True(t, got.Status != 0 || got.Error != "", what)
			require.Equal(t, want.Target, got.Target, what)
			require.NotZero(t, got.EndNs, what)
		}
	}
}

// surrounded puts a conversation between plain requests, where it leaves the connection open.
func surrounded(c conversation) ([]turn, bool) {
	turns := slices.Concat([]turn{get, ok, get, ok}, c.turns)
	if c.tail > 0 {
		return turns[:len(turns)-c.tail], false
	}
	open := c.want[len(c.want)-1] == got
	if open {
		turns = append(turns, ">GET /last HTTP/1.1\r\n\r\n", ok, ">GET /last HTTP/1.1\r\n\r\n", ok, ">GET /last HTTP/1.1\r\n\r\n", ok)
	}
	return turns, open
}

func damaged(t *testing.T, conversations []conversation, found bool, damage func(all []record, try func([]record, string, ...any))) {
	for _, conversation := range conversations {
		t.Run(conversation.name, func(t *testing.T) {
			turns, open := surrounded(conversation)
			whole := records(turns)
			for _, end := range ends(whole) {
				truth, _ := end.see(t, whole)
				require.Subset(t, briefs(truth), conversation.want)
				for _, origin := range []Origin{end.origin, {}, {MidStream: true, Counted: true}} {
					end.origin = origin
					damage(whole, func(all []record, format string, args ...any) {
						what := fmt.Sprintf(format+" (%+v client %v)", append(args, origin, end.client)...)
						calls, _ := end.see(t, all)
						notWrong(t, truth, calls, what)
						if found && open && origin.Sequences {
							require.NotEmpty(t, calls, what)
							require.Equal(t, "GET /last 200 0/5", brief(calls[len(calls)-1]), what)
						}
					})
				}
			}
		})
	}
}

func TestALostRecordMakesNothingWrongAndTheNextMessageIsFound(t *testing.T) {
	damaged(t, sequential, true, func(all []record, try func([]record, string, ...any)) {
		for i := range len(all) - 4 {
			try(slices.Delete(slices.Clone(all), i, i+1), "without record %d", i)
		}
	})
}

func TestTwoLostRecordsMakeNothingWrong(t *testing.T) {
	damaged(t, slices.Concat(sequential, pipelined), false, func(all []record, try func([]record, string, ...any)) {
		for i := range all {
			for j := range len(all) - 1 {
				without := slices.Delete(slices.Clone(all), i, i+1)
				try(slices.Delete(without, j, j+1), "without record %d, then %d", i, j)
			}
		}
	})
}

func TestAHoleInsideAMessageMakesNothingWrongAndTheNextIsFound(t *testing.T) {
	damaged(t, sequential, true, func(all []record, try func([]record, string, ...any)) {
		for i := range len(all) - 4 {
			for at := 1; at < len(all[i].data); at++ {
				parts := split(all, i, at)
				parts[i+1].timeNs = parts[i].timeNs
				try(slices.Delete(slices.Clone(parts), i, i+1), "without the first %[2]d bytes of record %[1]d", i, at)
				try(slices.Delete(slices.Clone(parts), i+1, i+2), "without what follows byte %[2]d of record %[1]d", i, at)
			}
		}
	})
}

func TestARecordCutAtEveryCaptureLength(t *testing.T) {
	damaged(t, sequential, true, func(all []record, try func([]record, string, ...any)) {
		for i := range len(all) - 4 {
			for n := range len(all[i].data) {
				cut := slices.Clone(all)
				cut[i].captured = n
				try(cut, "record %d cut at %d", i, n)
			}
		}
	})
}

func TestAllRecordsCutAtEveryCaptureLength(t *testing.T) {
	damaged(t, slices.Concat(sequential, pipelined), false, func(all []record, try func([]record, string, ...any)) {
		for n := range 128 {
			cut := slices.Clone(all)
			for i := range cut {
				cut[i].captured = min(n, cut[i].captured)
			}
			try(cut, "all cut at %d", n)
		}
	})
}

func TestRandomDamageMakesNothingWrong(t *testing.T) {
	damaged(t, sequential, false, func(all []record, try func([]record, string, ...any)) {
		for seed := range uint64(seeds) {
			try(shake(all, seed, true), "seed %d", seed)
		}
	})
}

// Where a client pipelines for the first time in what was lost, nothing tells it from one that does not:
// pipelined records are lost whole here.
func TestRandomDamageOfPipelinedRequestsMakesNothingWrong(t *testing.T) {
	damaged(t, pipelined, false, func(all []record, try func([]record, string, ...any)) {
		for seed := range uint64(seeds) {
			try(shake(all, seed, false), "seed %d", seed)
		}
	})
}

const seeds = 100

// shake loses, cuts and repeats records, and parts of them.
func shake(all []record, seed uint64, parts bool) []record {
	random := rand.New(rand.NewPCG(seed, 1))
	var out []record
	for _, r := range all {
		switch random.IntN(8) {
		case 0: // lost
		case 1:
			r.captured = random.IntN(len(r.data) + 1)
			out = append(out, r)
		case 2:
			out = append(out, r, r)
		case 3:
			if at := random.IntN(len(r.data)); at > 0 && parts {
				halves := split([]record{r}, 0, at)
				halves[1].timeNs = r.timeNs
				out = append(out, halves[random.IntN(2)])
			}
		default:
			out = append(out, r)
		}
	}
	return out
}
