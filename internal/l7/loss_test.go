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
// admitted. It is asked hundreds of thousands of times, so that testify is only told what is wrong.
func notWrong(t *testing.T, truth, calls []Call, what func() string) {
	for i := range calls {
		if wrong := falsehoods(truth, calls[:i], &calls[i]); len(wrong) > 0 {
			require.Failf(t, "told wrongly", "%s of %s\n%s", strings.Join(wrong, ", "), brief(calls[i]), what())
		}
	}
}

// falsehoods are the parts of a call that are neither true nor absent.
func falsehoods(truth, before []Call, got *Call) (parts []string) {
	at := func(c Call) bool { return c.RequestSequence == got.RequestSequence }
	i := slices.IndexFunc(truth, at)
	if i < 0 {
		return []string{"a call that was never made"}
	}
	want := &truth[i]
	path, _, _ := strings.Cut(want.Target, "?")
	otherEnd := want.Error != got.Error // then it is the last byte, as nobody knows that more should have come
	for part, right := range map[string]bool{
		"once":           !slices.ContainsFunc(before, at),
		"method":         got.Method == want.Method,
		"start":          got.StartNs == want.StartNs,
		"target":         got.Target == want.Target || got.Target == path || got.Target == "",
		"status":         got.Status == want.Status || got.Status == 0,
		"request size":   got.RequestBody == want.RequestBody || got.RequestBody == -1,
		"response size":  got.ResponseBody == want.ResponseBody || got.ResponseBody == -1,
		"response start": got.ResponseStartNs == want.ResponseStartNs || got.ResponseStartNs == 0,
		"end":            got.EndNs == want.EndNs || got.EndNs == 0 || otherEnd,
		"error":          got.Error == want.Error || got.Error == "",
		"authority":      got.Authority == want.Authority || got.Authority == "",
		"complete": got.Capture != Complete ||
			(got.Status != 0 || got.Error != "") && got.Target == want.Target && got.EndNs != 0,
	} {
		if !right {
			parts = append(parts, part)
		}
	}
	return parts
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
						what := func() string { return fmt.Sprintf(format+" (%+v client %v)", append(args, origin, end.client)...) }
						calls, _ := end.see(t, all)
						notWrong(t, truth, calls, what)
						if found && open && origin.Sequences && (len(calls) == 0 || brief(calls[len(calls)-1]) != "GET /last 200 0/5") {
							require.Failf(t, "the last call is not found", "%v %s", briefs(calls), what())
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
