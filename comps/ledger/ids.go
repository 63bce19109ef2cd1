package ledger

import "virtualservicesinc.com/rrts/message/u128"

// ids knows the transfer ids that are in use: those since the last Reset, and a
// window of the largest ones.
//
// Every known id at or above floor is in the window, so a new id at or above floor
// that is not in it is new for certain, and State need not be asked. Ids that
// begin with the time, as they should, are always above the floor unless their
// clock lags by more than the window holds. Other ids cost a read each.
type ids struct {
	known map[u128.Int]uint64 // id → timestamp of the transfer, or failedID
	spare map[u128.Int]uint64 // empty, the next known
	floor u128.Int
	keys  []u128.Int
}

// failedID stands for the timestamp of an id whose transfer was refused.
const failedID = 0

// load fills the window with up to max ids from state.
func (w *ids) load(state State, max int) {
	w.known, w.spare = make(map[u128.Int]uint64), make(map[u128.Int]uint64)
	state.TransferIDs(func(id u128.Int, ts uint64) bool {
		if len(w.known) == max {
			return false // floor is the last one that was taken
		}
		w.known[id], w.floor = ts, id
		return true
	})
	if len(w.known) < max {
		w.floor = u128.Int{} // these were all
	}
}

// find returns the timestamp that belongs to id.
func (w *ids) find(state State, id u128.Int) (ts uint64, known bool) {
	if ts, known = w.known[id]; known || !id.Less(w.floor) {
		return ts, known
	}
	return state.TransferID(id)
}

// trim forgets the smallest ids when there are twice as many as should be kept:
// once in that many transfers, so that its cost is small for each.
func (w *ids) trim(max int) {
	if len(w.known) < 2*max {
		return
	}
	w.keys = w.keys[:0]
	for id := range w.known {
		w.keys = append(w.keys, id) // in any order: select sorts out
	}
	drop := len(w.keys) - max
	floor := selectNth(w.keys, drop)
	if w.floor.Less(floor) {
		w.floor = floor
	}
	for _, id := range w.keys[drop:] {
		w.spare[id] = w.known[id]
	}
	clear(w.known)
	w.known, w.spare = w.spare, w.known
}

// selectNth orders keys so that the n'th is in its place, with none greater before
// it and none less behind it, and returns it. Keys are distinct.
func selectNth(keys []u128.Int, n int) u128.Int {
	lo, hi := 0, len(keys)-1
	for lo < hi {
		pivot := keys[lo+(hi-lo)/2]
		i, j := lo, hi
		for i <= j {
			for keys[i].Less(pivot) {
				i++
			}
			for pivot.Less(keys[j]) {
				j--
			}
			if i <= j {
				keys[i], keys[j] = keys[j], keys[i]
				i++
				j--
			}
		}
		switch {
		case n <= j:
			hi = j
		case n >= i:
			lo = i
		default:
			return keys[n]
		}
	}
	return keys[n]
}
