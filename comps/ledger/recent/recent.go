// Package recent remembers the greatest of the ids that are in use, so that most
// new ids need no look into the store.
//
// Every id in use that is at or above a window's floor is in the window. So an id
// at or above the floor that is not in it is new for certain. Ids that begin with
// the time, as they should, are above the floor unless their clock lags by more
// than the window holds; for all others somebody must look.
//
//	var w recent.Window[Row]
//	w.Load(all, max)                            // of the ids in use, from the greatest down
//	if v, found, certain := w.Find(id); !certain { … look into the store … }
//	w.Add(id, v)
//	w.Trim()                                    // now and then
//
// A Window is not safe for use by several goroutines at once, except that Finds
// may run beside each other.
package recent

import (
	"iter"
	"slices"

	"virtualservicesinc.com/rrts/message/u128"
)

// Window maps recent ids to values.
type Window[V any] struct {
	max                int
	young, old         map[u128.Int]V
	youngKeys, oldKeys []u128.Int // their keys, in the order they came
	floor              u128.Int
	top                u128.Int // no id in use is greater
}

// Load begins the window anew with ids in use, which come from the greatest down.
// It takes max of them, and keeps between one and two times as many later.
func (w *Window[V]) Load(all iter.Seq2[u128.Int, V], max int) {
	*w = Window[V]{max: max, young: make(map[u128.Int]V), old: make(map[u128.Int]V)}
	for id, v := range all {
		if len(w.youngKeys) == max {
			return // floor is the last one that was taken
		}
		w.Add(id, v)
		w.floor = id
	}
	w.floor = u128.Int{} // these were all
}

// Find returns the value of an id. When certain is false the window does not know
// whether the id is in use.
func (w *Window[V]) Find(id u128.Int) (v V, found, certain bool) {
	if w.top.Less(id) {
		return v, false, true
	}
	if v, found = w.young[id]; found {
		return v, true, true
	}
	v, found = w.old[id]
	return v, found, found || !id.Less(w.floor)
}

// Add adds an id that was not in use.
func (w *Window[V]) Add(id u128.Int, v V) {
	w.young[id] = v
	w.youngKeys = append(w.youngKeys, id)
	if w.top.Less(id) {
		w.top = id
	}
}

// Mark returns a mark for Undo.
func (w *Window[V]) Mark() int { return len(w.youngKeys) }

// Undo takes back all that was added since the mark. There may have been no Trim
// in between.
func (w *Window[V]) Undo(mark int) {
	for _, id := range w.youngKeys[mark:] {
		delete(w.young, id)
	}
	w.youngKeys = w.youngKeys[:mark]
}

// Trim forgets most of the older half once the younger half is full. The greatest
// of the forgotten ids decides how far the floor must rise, so a few ids that are
// far above the rest are kept instead.
func (w *Window[V]) Trim() {
	if len(w.youngKeys) < w.max {
		return
	}
	if floor := w.quantile(); w.floor.Less(floor) {
		w.floor = floor
	}
	for _, id := range w.oldKeys {
		if !id.Less(w.floor) {
			w.young[id] = w.old[id]
			w.youngKeys = append(w.youngKeys, id)
		}
	}
	clear(w.old)
	w.young, w.old = w.old, w.young
	w.youngKeys, w.oldKeys = w.oldKeys[:0], w.youngKeys
}

// quantile returns an id that is greater than most of the old ones.
func (w *Window[V]) quantile() u128.Int {
	const samples = 64
	var some [samples]u128.Int
	n := 0
	for i := 0; i < len(w.oldKeys) && n < samples; i += len(w.oldKeys)/samples + 1 {
		some[n] = w.oldKeys[i]
		n++
	}
	if n == 0 {
		return u128.Int{}
	}
	slices.SortFunc(some[:n], u128.Int.Cmp)
	return some[n-1-n/16]
}
