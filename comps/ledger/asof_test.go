package ledger_test

import (
	"testing"

	"virtualservicesinc.com/comps/ledger"
	"virtualservicesinc.com/comps/ledger/memstate"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/ledgerpb"
)

// at returns the account as it was just after timestamp ts, by a walk over all
// events from its creation on.
func (n *naive) at(account u128.Int, ts uint64) (ledgerpb.Account, bool) {
	a, ok := n.accounts[account.String()]
	if !ok || ts != 0 && a.in.Timestamp > ts {
		return ledgerpb.Account{}, false
	}
	now := a.in
	for _, e := range n.events {
		if ts == 0 || e.at <= ts {
			n.after(e, &now)
		}
	}
	return now, true
}

// after makes of an account what event e left of it, if it is one of the event's.
func (n *naive) after(e naiveEvent, a *ledgerpb.Account) bool {
	b, closed := e.cr, e.crClosed
	switch a.Id {
	case e.transfer.DebitAccountId:
		b, closed = e.dr, e.drClosed
	case e.transfer.CreditAccountId:
	default:
		return false
	}
	a.DebitsPending, a.DebitsPosted, a.CreditsPending, a.CreditsPosted = parse(b[0]), parse(b[1]), parse(b[2]), parse(b[3])
	if a.Flags &^= 32; closed {
		a.Flags |= 32
	}
	return true
}

// moments compares accounts as of a moment, and statements.
func (w *world) moments(q ledgerpb.QueryFilter) {
	at := w.drawBound()
	ids := []u128.Int{id(2), id(77), id(1), id(1), {}, id(5), id(8)}
	var want []ledgerpb.Account
	for _, i := range ids {
		if a, ok := w.naive.at(i, at); ok {
			want = append(want, a)
		}
	}
	w.equal("accounts as of a moment", want, ledger.LookupAccountsAt(w.state, ids, at, nil))

	f := ledgerpb.StatementFilter{AccountId: few(w.t, "account", id(1), id(2), id(3), id(0), id(99)), TimestampMin: q.TimestampMin, TimestampMax: q.TimestampMax, Limit: q.Limit}
	got := ledger.GetStatement(w.state, &f)
	closing, ok := w.naive.at(f.AccountId, f.TimestampMax)
	if !ok || !validRange(q) {
		if got != nil {
			w.t.Fatalf("statement %v of nothing: %v", f, got)
		}
		return
	}
	var s ledgerpb.Statement
	for _, e := range w.naive.events {
		now := closing
		if e.at < f.TimestampMin || f.TimestampMax != 0 && e.at > f.TimestampMax || !w.naive.after(e, &now) {
			continue
		}
		if len(s.Lines) == int(f.Limit) {
			s.More = true
			break
		}
		closing = now
		s.Lines = append(s.Lines, ledgerpb.StatementLine{Timestamp: e.at, Type: eventType(e.kind), Transfer: &e.transfer, Balance: &ledgerpb.AccountBalance{
			DebitsPending: now.DebitsPending, DebitsPosted: now.DebitsPosted, CreditsPending: now.CreditsPending, CreditsPosted: now.CreditsPosted, Timestamp: e.at}})
	}
	opening := closing
	if len(s.Lines) > 0 {
		opening, _ = w.naive.at(f.AccountId, s.Lines[0].Timestamp-1)
	}
	s.Opening, s.Closing = &opening, &closing
	w.equal("statement", s, *got)
}

func eventType(name string) ledgerpb.ChangeEventType {
	for k := ledgerpb.ChangeEventTypeSinglePhase; ; k++ {
		if k.String() == name {
			return k
		}
	}
}

// TestLook: what the ledger tells of itself in the middle of a batch.
func TestLook(t *testing.T) {
	state := memstate.New()
	l := newLedger(t, state)
	twoAccounts(t, l, 0)
	l.CreateTransfers(10, []ledgerpb.Transfer{
		{Id: id(1), DebitAccountId: id(1), CreditAccountId: id(2), Amount: id(5), Ledger: 1, Code: 1},
		{Id: id(2), DebitAccountId: id(1), CreditAccountId: id(2), Amount: id(6), Ledger: 1, Code: 1, Flags: 2},
		{Id: id(3), DebitAccountId: id(1), CreditAccountId: id(9), Amount: id(6), Ledger: 1, Code: 1},
	}, nil)
	l.CreateTransfers(20, []ledgerpb.Transfer{{Id: id(4), PendingId: id(2), Flags: 4, Amount: u128.Max}}, nil)
	check := func(when string) {
		t.Helper()
		if a := l.Account(id(1)); a == nil || a.DebitsPosted != id(11) || l.Account(id(9)) != nil {
			t.Errorf("%s: account 1 is %v", when, a)
		}
		for n, want := range map[uint64]struct {
			amount uint64
			status ledger.PendingStatus
		}{1: {5, ledger.StatusNone}, 2: {6, ledger.StatusPosted}, 4: {6, ledger.StatusNone}} {
			var x ledgerpb.Transfer
			if status, ok := l.Transfer(id(n), &x); !ok || status != want.status || x.Id != id(n) || x.Amount != id(want.amount) {
				t.Errorf("%s: transfer %d is %v, %v, %v", when, n, x, status, ok)
			}
		}
		for _, n := range []uint64{3, 7} { // refused, never heard of
			if _, ok := l.Transfer(id(n), new(ledgerpb.Transfer)); ok {
				t.Errorf("%s: there is a transfer %d", when, n)
			}
		}
	}
	check("before Reset")
	state.Apply(l.Changes())
	l.Reset()
	check("after Reset")
	l = newLedger(t, state)
	check("after a restart")
}
