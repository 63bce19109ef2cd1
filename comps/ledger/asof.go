package ledger

import (
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/ledgerpb"
)

// LookupAccountsAt appends the accounts with the given ids as they were just after
// everything up to timestamp at; 0 means now. Accounts that were created later are
// left out. It needs no history flag.
func LookupAccountsAt(h History, ids []u128.Int, at uint64, out []ledgerpb.Account) []ledgerpb.Account {
	if at == 0 {
		return LookupAccounts(h, ids, out)
	}
	var a ledgerpb.Account
	for _, id := range ids {
		if accountAt(h, id, at, &a) {
			out = append(out, a)
		}
	}
	return out
}

// accountAt sets a to the account with the given id as it was just after timestamp
// at, if there was one.
func accountAt(h History, id u128.Int, at uint64, a *ledgerpb.Account) bool {
	if !h.Account(id, a) || a.Timestamp > at {
		return false
	}
	var e Event
	if ts, ok := firstOf(h, id, at, true); ok {
		mustEvent(h, ts, &e)
		e.sideOf(id).restore(a)
		return true
	}
	a.DebitsPending, a.DebitsPosted, a.CreditsPending, a.CreditsPosted = u128.Int{}, u128.Int{}, u128.Int{}, u128.Int{}
	if ts, ok := firstOf(h, id, at, false); ok {
		// Nothing but its first event can have changed the flags that it began with.
		mustEvent(h, ts, &e)
		a.Flags = e.sideOf(id).Flags
		if e.closes(id) {
			a.Flags &^= accountClosed
		}
	}
	return true
}

// firstOf returns the timestamp of the account's event that is nearest to at: the
// last one up to it, or the first one from it on.
func firstOf(h History, id u128.Int, at uint64, before bool) (ts uint64, ok bool) {
	all := scanAccount(h, id, before)
	defer all.Close()
	return all.Seek(at)
}

// scanAccount iterates over all events of one account, expiries included.
func scanAccount(h History, id u128.Int, reversed bool) union {
	var all union
	for _, set := range []Set{Transfers, Expiries} {
		for _, side := range []Field{DebitAccount, CreditAccount} {
			all = append(all, h.Scan(set, side, id, reversed))
		}
	}
	return all
}

// sideOf returns what e records of one of its accounts.
func (e *Event) sideOf(id u128.Int) *Side {
	if e.Transfer.DebitAccountId == id {
		return &e.Debit
	}
	return &e.Credit
}

// closes reports whether e is a pending transfer that closed the account.
func (e *Event) closes(id u128.Int) bool {
	flag := transferClosingCredit
	if e.Transfer.DebitAccountId == id {
		flag = transferClosingDebit
	}
	return e.Type == ledgerpb.ChangeEventTypeTwoPhasePending && e.Transfer.Flags&flag != 0
}

// GetStatement returns the statement that f selects, nil when f is not valid or
// there is no such account at the end of the period. Its lines name no transaction:
// the ledger knows of none.
func GetStatement(h History, f *ledgerpb.StatementFilter) *ledgerpb.Statement {
	w, ok := newWindow(f.TimestampMin, f.TimestampMax, f.Limit, false)
	var s ledgerpb.Statement
	s.Opening, s.Closing = &ledgerpb.Account{}, &ledgerpb.Account{}
	if !ok || !accountAt(h, f.AccountId, w.max, s.Closing) {
		return nil
	}
	all := scanAccount(h, f.AccountId, false)
	defer all.Close()
	limit := w.limit
	w.limit++ // to see whether there is more
	var e Event
	w.each(all, func(ts uint64) {
		if len(s.Lines) == limit {
			s.More = true
			return
		}
		mustEvent(h, ts, &e)
		side := e.sideOf(f.AccountId)
		side.restore(s.Closing)
		s.Lines = append(s.Lines, ledgerpb.StatementLine{
			Timestamp: ts, Type: e.Type, Transfer: &ledgerpb.Transfer{}, Balance: side.Balance(ts),
		})
		*s.Lines[len(s.Lines)-1].Transfer = e.Transfer
	})
	if len(s.Lines) == 0 {
		*s.Opening = *s.Closing
	} else if !accountAt(h, f.AccountId, s.Lines[0].Timestamp-1, s.Opening) {
		panic(&ReadError{Op: "an account before its first transfer", Err: errNoAccount})
	}
	return &s
}

// Balance returns the balances of a side as those of timestamp ts.
func (s *Side) Balance(ts uint64) *ledgerpb.AccountBalance {
	return &ledgerpb.AccountBalance{
		DebitsPending: s.DebitsPending, DebitsPosted: s.DebitsPosted,
		CreditsPending: s.CreditsPending, CreditsPosted: s.CreditsPosted, Timestamp: ts,
	}
}
