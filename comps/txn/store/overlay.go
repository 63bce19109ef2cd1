package store

import (
	"slices"

	"virtualservicesinc.com/comps/ledger/idmap"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/ledgerpb"
)

// overlay holds what events changed and the rows do not say yet: balances, and
// the ids of transfers. DB.mu guards it.
type overlay struct {
	accounts  idmap.Map[ledgerpb.Account]
	transfers idmap.Map[uint64] // id → timestamp
	// recovered says that it was found again in the history: some of it may be settled.
	recovered bool
	last      uint64  // timestamp of the newest event it holds
	views     []*view // that read it and must not see later changes
	held      int     // views that refer to it, open or not told any more
}

// reset empties the overlay and keeps its memory.
func (o *overlay) reset() {
	o.accounts.Clear()
	o.transfers.Clear()
	o.views, o.last = o.views[:0], 0
	o.recovered = false
}

// size is the number of rows that the overlay stands for.
func (o *overlay) size() int { return o.accounts.Len() + o.transfers.Len() }

// account sets a to the account as the overlay has it.
func (o *overlay) account(id u128.Int, a *ledgerpb.Account) bool {
	kept := o.accounts.Find(id)
	if kept == nil {
		return false
	}
	*a = *kept
	return true
}

// put takes over a changed account, and saves for the open views what it replaces.
func (o *overlay) put(a *ledgerpb.Account) {
	kept := o.accounts.Find(a.Id)
	for _, v := range o.views {
		if _, saved := v.saved[a.Id]; saved {
			continue
		}
		if kept != nil {
			before := *kept
			v.saved[a.Id] = &before
		} else {
			v.saved[a.Id] = nil
		}
	}
	if kept != nil {
		*kept = *a
	} else {
		o.accounts.Add(a.Id, *a)
	}
}

// transfer returns the timestamp of a transfer.
func (o *overlay) transfer(id u128.Int) (ts uint64, known bool) {
	if at := o.transfers.Find(id); at != nil {
		return *at, true
	}
	return 0, false
}

// forget takes a view out of those that are told of changes.
func (o *overlay) forget(v *view) {
	if i := slices.Index(o.views, v); i >= 0 {
		o.views = slices.Delete(o.views, i, i+1)
	}
}
