package l7

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// conversation2 is a conversation of which every record can be tampered with in turn.
func conversation2(t *testing.T, requests int) []*tapped {
	w := converse(t, requests, 4)
	var used []*tapped
	for _, end := range w.ends {
		if len(end.records) > 0 {
			end.see(t) // sorts
			used = append(used, end)
		}
	}
	return used
}

// truthful runs tampered records and says how many calls are told, and how many of them whole.
func truthful(t *testing.T, end *tapped, all []record) (told, whole int) {
	calls, _ := end.observer.see(t, all)
	seen := map[int]bool{}
	for _, call := range calls {
		if n := requireTruth(t, &call, call.Capture == Complete && call.Error == ""); n >= 0 {
			if seen[n] {
				require.Failf(t, "told twice", "%+v", call)
			}
			seen[n] = true
		}
		if call.Capture == Complete {
			whole++
		}
		told++
	}
	return told, whole
}

func TestHTTP2RecordsMayBeCutAnywhere(t *testing.T) {
	const requests = 12
	for _, end := range conversation2(t, requests) {
		t.Run(fmt.Sprintf("client %v", end.client), func(t *testing.T) {
			for i, r := range end.records {
				for at := 1; at < len(r.data); at += 1 + at/40 {
					told, whole := truthful(t, end, split(end.records, i, at))
					require.Equal(t, []int{requests, requests}, []int{told, whole}, "record %d at %d", i, at)
				}
			}
			small := slices.DeleteFunc(slices.Clone(end.records), func(r record) bool { return len(r.data) > 20000 })
			if len(small) == len(end.records) {
				told, whole := truthful(t, end, bytewise(end.records))
				require.Equal(t, []int{requests, requests}, []int{told, whole})
			}
		})
	}
}

func TestHTTP2WithAHoleNothingWrongIsTold(t *testing.T) {
	const requests = 24
	for _, end := range conversation2(t, requests) {
		t.Run(fmt.Sprintf("client %v", end.client), func(t *testing.T) {
			var told, whole, runs int
			count := func(all []record) {
				t.Helper()
				a, b := truthful(t, end, all)
				told, whole, runs = told+a, whole+b, runs+1
			}
			for i, r := range end.records {
				count(slices.Delete(slices.Clone(end.records), i, i+1))
				for _, at := range []int{1, 5, 9, 10, 20, 100, 4096} {
					if at < len(r.data) {
						cut := slices.Clone(end.records)
						cut[i].captured = at
						count(cut)
						count(slices.Delete(split(end.records, i, at), i, i+1))
						count(slices.Delete(split(end.records, i, at), i+1, i+2))
					}
				}
				if i+3 < len(end.records) {
					count(slices.Delete(slices.Clone(end.records), i, i+3))
				}
			}
			t.Logf("%d holes: %.1f of %d calls told, %.1f of them whole", runs, float64(told)/float64(runs), requests, float64(whole)/float64(runs))
		})
	}
}

func TestHTTP2JoinedInTheMiddleNothingWrongIsTold(t *testing.T) {
	const requests = 60
	for _, end := range conversation2(t, requests) {
		t.Run(fmt.Sprintf("client %v", end.client), func(t *testing.T) {
			most := 0
			for i := range end.records {
				joined := *end
				joined.origin = Origin{MidStream: true}
				calls, _ := joined.observer.see(t, end.records[i:])
				for _, call := range calls {
					requireTruth(t, &call, false)
				}
				if i == len(end.records)/2 {
					most = len(calls)
				}
			}
			t.Logf("joined in the middle: %d of %d calls told", most, requests)
			require.Greater(t, most, requests/4)
		})
	}
}

func TestHTTP2RecordsInAnyOrder(t *testing.T) {
	const requests = 40
	for _, end := range conversation2(t, requests) {
		for i := range len(end.records) - 1 {
			all := slices.Clone(end.records)
			all[i], all[i+1] = all[i+1], all[i]
			told, whole := truthful(t, end, all)
			require.Equal(t, []int{requests, requests}, []int{told, whole}, "records %d and %d swapped", i, i+1)
		}
	}
}
