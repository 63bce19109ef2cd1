package recent_test

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"virtualservicesinc.com/comps/ledger/recent"
	"virtualservicesinc.com/rrts/message/u128"
)

// A window never claims to be certain and is wrong, and it is certain of new ids
// that ascend.
func TestWindow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		used := map[u128.Int]int{}
		order := func(yield func(u128.Int, int) bool) {
			keys := make([]u128.Int, 0, len(used))
			for id := range used {
				keys = append(keys, id)
			}
			slices.SortFunc(keys, func(a, b u128.Int) int { return b.Cmp(a) })
			for _, id := range keys {
				if !yield(id, used[id]) {
					return
				}
			}
		}
		for range rapid.IntRange(0, 20).Draw(t, "before") {
			used[u128.From64(rapid.Uint64Range(0, 300).Draw(t, "id"))] = len(used)
		}
		var w recent.Window[int]
		w.Load(order, 8)
		next := uint64(300)
		for range rapid.IntRange(1, 150).Draw(t, "steps") {
			id := u128.From64(rapid.Uint64Range(0, next).Draw(t, "id"))
			ascending := rapid.IntRange(0, 3).Draw(t, "ascending") > 0
			if ascending {
				next++
				id = u128.From64(next)
			}
			v, found, certain := w.Find(id)
			want, is := used[id]
			if certain && (found != is || v != want) || found && !certain {
				t.Fatalf("%v: got %d %v, certain %v; want %d %v", id, v, found, certain, want, is)
			}
			if ascending && !is && !certain {
				t.Fatalf("%v is above all others and nothing is certain", id)
			}
			if !is {
				mark := w.Mark()
				w.Add(id, len(used))
				if rapid.IntRange(0, 3).Draw(t, "undo") == 0 {
					w.Undo(mark)
				} else {
					used[id] = len(used)
				}
			}
			if rapid.IntRange(0, 2).Draw(t, "trim") == 0 {
				w.Trim()
			}
		}
	})
}
