package ledger

import (
	"slices"

	"virtualservicesinc.com/rrts/message/u128"
)

// ids knows the transfer ids that are in use: those since the last Reset, and a
// window of the recent ones.
//
// Every known id at or above floor is in the window, so a new id at or above floor
// that is not in it is new for certain, and State need not be asked. Ids that
// begin with the time, as they should, are mostly above top, and above floor
// unless their clock lags by more than the window holds. Other ids cost a read.
type ids struct {
	young, old         map[u128.Int]uint64 // id → timestamp of the transfer, or failedID
	youngKeys, oldKeys []u128.Int          // their keys, in the order they came
	floor              u128.Int
	top                u128.Int // no known id is greater
}

// failedID stands for the timestamp of an id whose transfer was refused.
const failedID = 0

// load fills the window with up to max ids from state.
func (w *ids) load(state State, max int) {
	*w = ids{young: make(map[u128.Int]uint64), old: make(map[u128.Int]uint64)}
	state.TransferIDs(func(id u128.Int, ts uint64) bool {
		if len(w.youngKeys) == max {
			return false // floor is the last one that was taken
		}
		w.add(id, ts)
		w.floor = id
		return true
	})
	if len(w.youngKeys) < max {
		w.floor = u128.Int{} // these were all
	}
}

// find returns the timestamp that belongs to id.
func (w *ids) find(state State, id u128.Int) (ts uint64, known bool) {
	if w.top.Less(id) {
		return 0, false
	}
	if ts, known = w.young[id]; known {
		return ts, true
	}
	if ts, known = w.old[id]; known || !id.Less(w.floor) {
		return ts, known
	}
	return state.TransferID(id)
}

// add adds an id that is not known yet.
func (w *ids) add(id u128.Int, ts uint64) {
	w.young[id] = ts
	w.youngKeys = append(w.youngKeys, id)
	if w.top.Less(id) {
		w.top = id
	}
}

// removeFrom takes back all ids that were added after the first n young ones.
func (w *ids) removeFrom(n int) {
	for _, id := range w.youngKeys[n:] {
		delete(w.young, id)
	}
	w.youngKeys = w.youngKeys[:n]
}

// trim forgets most of the older half of the window once the younger half has max
// ids. The greatest of the forgotten ids decides how far floor must rise, so a
// few ids that are far above the rest are kept instead.
func (w *ids) trim(max int) {
	if len(w.youngKeys) < max {
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
func (w *ids) quantile() u128.Int {
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
