package store

import (
	"slices"

	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/ledgerpb"
)

// overlay holds what events changed and the rows do not say yet: balances, and
// the ids of transfers. DB.mu guards it.
type overlay struct {
	index    map[u128.Int]int // account id → accounts
	accounts []ledgerpb.Account
	ids      map[u128.Int]uint64 // transfer id → timestamp
	idList   []u128.Int
	// recovered says that it was found again in the history: some of it may be settled.
	recovered bool
	last      uint64  // timestamp of the newest event it holds
	views     []*view // that read it and must not see later changes
	held      int     // views that refer to it, open or not told any more
}

func newOverlay() *overlay {
	return &overlay{index: make(map[u128.Int]int), ids: make(map[u128.Int]uint64)}
}

// reset empties the overlay and keeps its memory.
func (o *overlay) reset() {
	clear(o.index)
	clear(o.ids)
	o.accounts, o.idList, o.views, o.last = o.accounts[:0], o.idList[:0], o.views[:0], 0
	o.recovered = false
}

// size is the number of rows that the overlay stands for.
func (o *overlay) size() int { return len(o.accounts) + len(o.idList) }

// account sets a to the account as the overlay has it.
func (o *overlay) account(id u128.Int, a *ledgerpb.Account) bool {
	i, ok := o.index[id]
	if ok {
		*a = o.accounts[i]
	}
	return ok
}

// put takes over a changed account, and saves for the open views what it replaces.
func (o *overlay) put(a *ledgerpb.Account) {
	i, known := o.index[a.Id]
	for _, v := range o.views {
		if _, saved := v.saved[a.Id]; saved {
			continue
		}
		if known {
			before := o.accounts[i]
			v.saved[a.Id] = &before
		} else {
			v.saved[a.Id] = nil
		}
	}
	if known {
		o.accounts[i] = *a
	} else {
		o.index[a.Id] = len(o.accounts)
		o.accounts = append(o.accounts, *a)
	}
}

// add takes over the id of a transfer.
func (o *overlay) add(id u128.Int, ts uint64) {
	o.ids[id] = ts
	o.idList = append(o.idList, id)
}

// forget takes a view out of those that are told of changes.
func (o *overlay) forget(v *view) {
	if i := slices.Index(o.views, v); i >= 0 {
		o.views = slices.Delete(o.views, i, i+1)
	}
}
