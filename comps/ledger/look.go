package ledger

import (
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/ledgerpb"
)

// Account returns the account with the given id as it is now, nil when there is
// none. It may only be read, and until the next call of any method.
func (l *Ledger) Account(id u128.Int) *ledgerpb.Account {
	a, _ := l.accounts.get(l.state, id)
	return a
}

// Transfer sets t to the transfer with the given id, if there is one, and returns
// what became of it if it is a pending one, else StatusNone.
func (l *Ledger) Transfer(id u128.Int, t *ledgerpb.Transfer) (status PendingStatus, found bool) {
	ts, known := l.findID(id)
	if !known || ts == failedID {
		return StatusNone, false
	}
	if p := l.pendings.get(l.state, ts); p != nil {
		*t = p.Transfer
		return p.status, true
	}
	if e := l.newEvent(ts); e != nil {
		*t = e.Transfer
	} else if !l.state.Transfer(ts, t) {
		panic(&ReadError{Op: "a transfer", Err: errNoTransfer})
	}
	return StatusNone, true
}
