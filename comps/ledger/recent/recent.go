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

	"virtualservicesinc.com/comps/ledger/idmap"
	"virtualservicesinc.com/rrts/message/u128"
)

// Window maps recent ids to values.
type Window[V any] struct {
	max        int
	young, old idmap.Map[V]
	floor      u128.Int
	top        u128.Int // no id in use is greater
}

// Load begins the window anew with ids in use, which come from the greatest down.
// It takes max of them, and keeps between one and two times as many later.
func (w *Window[V]) Load(all iter.Seq2[u128.Int, V], max int) {
	*w = Window[V]{max: max}
	for id, v := range all {
		if w.young.Len() == max {
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
	p := w.young.Find(id)
	if p == nil {
		p = w.old.Find(id)
	}
	if p != nil {
		return *p, true, true
	}
	return v, false, !id.Less(w.floor)
}

// Add adds an id that was not in use.
func (w *Window[V]) Add(id u128.Int, v V) {
	w.young.Add(id, v)
	if w.top.Less(id) {
		w.top = id
	}
}

// Mark returns a mark for Undo.
func (w *Window[V]) Mark() int { return w.young.Len() }

// Undo takes back all that was added since the mark. There may have been no Trim
// in between.
func (w *Window[V]) Undo(mark int) { w.young.Cut(mark) }

// Trim forgets most of the older half once the younger half is full. The greatest
// of the forgotten ids decides how far the floor must rise, so a few ids that are
// far above the rest are kept instead.
func (w *Window[V]) Trim() {
	if w.young.Len() < w.max {
		return
	}
	if floor := w.quantile(); w.floor.Less(floor) {
		w.floor = floor
	}
	for _, e := range w.old.Entries() {
		if !e.ID.Less(w.floor) {
			w.young.Add(e.ID, e.Value)
		}
	}
	w.old.Clear()
	w.young, w.old = w.old, w.young
}

// quantile returns an id that is greater than most of the old ones.
func (w *Window[V]) quantile() u128.Int {
	const samples = 64
	var some [samples]u128.Int
	n := 0
	old := w.old.Entries()
	for i := 0; i < len(old) && n < samples; i += len(old)/samples + 1 {
		some[n] = old[i].ID
		n++
	}
	if n == 0 {
		return u128.Int{}
	}
	slices.SortFunc(some[:n], u128.Int.Cmp)
	return some[n-1-n/16]
}
