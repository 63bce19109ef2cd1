package ledger_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"virtualservicesinc.com/comps/ledger"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/ledgerpb"
)

// queries compares every kind of query with a walk over the model.
func (w *world) queries() {
	t := w.t
	f := ledgerpb.QueryFilter{
		UserData128: few(t, "ud128", id(0), id(9), id(1)), UserData64: few(t, "ud64", uint64(0), 8), UserData32: few(t, "ud32", uint32(0), 7),
		Ledger: few(t, "ledger", uint32(0), 1, 2), Code: few(t, "code", uint32(0), 1, 2),
		TimestampMin: w.drawBound(), TimestampMax: w.drawBound(),
		Limit: few(t, "limit", uint32(1000), 3, 1, 0), Flags: few(t, "flags", uint32(0), 1, 2),
	}
	valid := validRange(f) && f.Flags < 2
	between := func(ts uint64) bool { return ts >= f.TimestampMin && (f.TimestampMax == 0 || ts <= f.TimestampMax) }

	var accounts []ledgerpb.Account
	for _, a := range w.naive.accounts {
		if r := a.row(); valid && between(r.Timestamp) && (f.UserData128.IsZero() || f.UserData128 == r.UserData128) &&
			(f.UserData64 == 0 || f.UserData64 == r.UserData64) && (f.UserData32 == 0 || f.UserData32 == r.UserData32) &&
			(f.Ledger == 0 || f.Ledger == r.Ledger) && (f.Code == 0 || f.Code == r.Code) {
			accounts = append(accounts, r)
		}
	}
	accounts = page(accounts, func(a ledgerpb.Account) uint64 { return a.Timestamp }, f.Limit, f.Flags == 1)
	w.equal("query_accounts", accounts, ledger.QueryAccounts(w.state, &f, nil))

	var transfers []ledgerpb.Transfer
	for _, x := range w.naive.transfers {
		if valid && between(x.Timestamp) && (f.UserData128.IsZero() || f.UserData128 == x.UserData128) &&
			(f.UserData64 == 0 || f.UserData64 == x.UserData64) && (f.UserData32 == 0 || f.UserData32 == x.UserData32) &&
			(f.Ledger == 0 || f.Ledger == x.Ledger) && (f.Code == 0 || f.Code == x.Code) {
			transfers = append(transfers, x.Transfer)
		}
	}
	transfers = page(transfers, transferTime, f.Limit, f.Flags == 1)
	w.equal("query_transfers", transfers, ledger.QueryTransfers(w.state, &f, nil))

	w.accountQueries(f)
	w.moments(f)

	var events []ledgerpb.ChangeEvent
	c := ledgerpb.ChangeEventsFilter{TimestampMin: f.TimestampMin, TimestampMax: f.TimestampMax, Limit: f.Limit}
	f.Flags = 0 // change events have no flags
	for _, e := range w.naive.events {
		if validRange(f) && between(e.at) {
			events = append(events, w.naive.changeEvent(e))
		}
	}
	events = page(events, func(e ledgerpb.ChangeEvent) uint64 { return e.Timestamp }, f.Limit, false)
	w.equal("get_change_events", events, ledger.GetChangeEvents(w.state, &c, nil))

	ids := []u128.Int{id(3), id(77), id(1), id(1), {}, id(500)}
	var found []ledgerpb.Account
	var moved []ledgerpb.Transfer
	for _, i := range ids {
		if a, ok := w.naive.accounts[i.String()]; ok {
			found = append(found, a.row())
		}
		if x, ok := w.naive.transfers[i.String()]; ok {
			moved = append(moved, x.Transfer)
		}
	}
	w.equal("lookup_accounts", found, ledger.LookupAccounts(w.state, ids, nil))
	w.equal("lookup_transfers", moved, ledger.LookupTransfers(w.state, ids, nil))
}

func (w *world) accountQueries(q ledgerpb.QueryFilter) {
	f := ledgerpb.AccountFilter{
		AccountId:   few(w.t, "account", id(1), id(2), id(3), id(0), u128.Max, id(99)),
		UserData128: q.UserData128, UserData64: q.UserData64, UserData32: q.UserData32, Code: q.Code,
		TimestampMin: q.TimestampMin, TimestampMax: q.TimestampMax, Limit: q.Limit,
		Flags: few(w.t, "sides", uint32(3), 1, 2, 7, 5, 0, 4, 8|3),
	}
	valid := validRange(q) && f.Flags < 8 && f.Flags&3 != 0
	var transfers []ledgerpb.Transfer
	var balances []ledgerpb.AccountBalance
	for _, e := range w.naive.events {
		x := e.transfer
		if !valid || e.kind == "two_phase_expired" ||
			!(f.Flags&1 != 0 && x.DebitAccountId == f.AccountId || f.Flags&2 != 0 && x.CreditAccountId == f.AccountId) ||
			e.at < f.TimestampMin || f.TimestampMax != 0 && e.at > f.TimestampMax ||
			!f.UserData128.IsZero() && f.UserData128 != x.UserData128 || f.UserData64 != 0 && f.UserData64 != x.UserData64 ||
			f.UserData32 != 0 && f.UserData32 != x.UserData32 || f.Code != 0 && f.Code != x.Code {
			continue
		}
		transfers = append(transfers, x)
		if w.naive.accounts[f.AccountId.String()].in.Flags&8 != 0 {
			b := e.cr
			if x.DebitAccountId == f.AccountId {
				b = e.dr
			}
			balances = append(balances, ledgerpb.AccountBalance{Timestamp: e.at,
				DebitsPending: parse(b[0]), DebitsPosted: parse(b[1]), CreditsPending: parse(b[2]), CreditsPosted: parse(b[3])})
		}
	}
	reversed := f.Flags&4 != 0
	w.equal("get_account_transfers", page(transfers, transferTime, f.Limit, reversed), ledger.GetAccountTransfers(w.state, &f, nil))
	w.equal("get_account_balances", page(balances, func(b ledgerpb.AccountBalance) uint64 { return b.Timestamp }, f.Limit, reversed),
		ledger.GetAccountBalances(w.state, &f, nil))
}

func validRange(f ledgerpb.QueryFilter) bool {
	return f.Limit > 0 && f.TimestampMin < 1<<63 && f.TimestampMax < 1<<63 && (f.TimestampMax == 0 || f.TimestampMin <= f.TimestampMax)
}

func transferTime(x ledgerpb.Transfer) uint64 { return x.Timestamp }

func parse(s string) u128.Int {
	v, err := u128.Parse(s)
	if err != nil {
		panic(err)
	}
	return v
}

// drawBound draws a bound of a timestamp range, mostly that of an event.
func (w *world) drawBound() uint64 {
	if n := len(w.naive.events); n > 0 && rapid.Bool().Draw(w.t, "bound") {
		return w.naive.events[rapid.IntRange(0, n-1).Draw(w.t, "of event")].at + uint64(rapid.IntRange(0, 1).Draw(w.t, "plus"))
	}
	return few(w.t, "bound", uint64(0), 0, 0, 1<<63, 1<<63-1, 7)
}

// page sorts rows by time and cuts them to the limit.
func page[T any](rows []T, time func(T) uint64, limit uint32, reversed bool) []T {
	slices.SortFunc(rows, func(a, b T) int {
		if (time(a) < time(b)) != reversed {
			return -1
		}
		return 1
	})
	return rows[:min(len(rows), int(limit))]
}

func (w *world) equal(what string, want, got any) {
	w.t.Helper()
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		w.t.Fatalf("%s: %s", what, diff)
	}
}

func (n *naive) changeEvent(e naiveEvent) ledgerpb.ChangeEvent {
	x := e.transfer
	dr, cr := n.accounts[x.DebitAccountId.String()].in, n.accounts[x.CreditAccountId.String()].in
	flags := func(a ledgerpb.Account, closed bool) uint32 {
		if a.Flags &^= 32; closed {
			a.Flags |= 32
		}
		return a.Flags
	}
	kinds := []string{"single_phase", "two_phase_pending", "two_phase_posted", "two_phase_voided", "two_phase_expired"}
	return ledgerpb.ChangeEvent{
		TransferId: x.Id, TransferAmount: x.Amount, TransferPendingId: x.PendingId, TransferUserData128: x.UserData128,
		TransferUserData64: x.UserData64, TransferUserData32: x.UserData32, TransferTimeout: x.Timeout, TransferCode: x.Code,
		TransferFlags: x.Flags, Ledger: x.Ledger, Type: ledgerpb.ChangeEventType(slices.Index(kinds, e.kind)),
		DebitAccountId: dr.Id, DebitAccountDebitsPending: parse(e.dr[0]), DebitAccountDebitsPosted: parse(e.dr[1]),
		DebitAccountCreditsPending: parse(e.dr[2]), DebitAccountCreditsPosted: parse(e.dr[3]),
		DebitAccountUserData128: dr.UserData128, DebitAccountUserData64: dr.UserData64, DebitAccountUserData32: dr.UserData32,
		DebitAccountCode: dr.Code, DebitAccountFlags: flags(dr, e.drClosed), DebitAccountTimestamp: dr.Timestamp,
		CreditAccountId: cr.Id, CreditAccountDebitsPending: parse(e.cr[0]), CreditAccountDebitsPosted: parse(e.cr[1]),
		CreditAccountCreditsPending: parse(e.cr[2]), CreditAccountCreditsPosted: parse(e.cr[3]),
		CreditAccountUserData128: cr.UserData128, CreditAccountUserData64: cr.UserData64, CreditAccountUserData32: cr.UserData32,
		CreditAccountCode: cr.Code, CreditAccountFlags: flags(cr, e.crClosed), CreditAccountTimestamp: cr.Timestamp,
		Timestamp: e.at, TransferTimestamp: x.Timestamp,
	}
}

// TestAnswersAreBounded holds that no limit asks for more than MaxResults.
func TestAnswersAreBounded(t *testing.T) {
	h := endless{}
	got := ledger.GetChangeEvents(h, &ledgerpb.ChangeEventsFilter{Limit: 1<<32 - 1}, nil)
	if len(got) != ledger.MaxResults {
		t.Errorf("%d events, want %d", len(got), ledger.MaxResults)
	}
}

// endless is a History with an event at every timestamp.
type endless struct{ ledger.History }

func (endless) Account(u128.Int, *ledgerpb.Account) bool { return true }
func (endless) Event(ts uint64, e *ledger.Event) bool    { e.Timestamp = ts; return true }
func (h endless) Scan(ledger.Set, ledger.Field, u128.Int, bool) ledger.Times {
	return h
}
func (endless) Seek(bound uint64) (uint64, bool) { return bound, true }
func (endless) Close()                           {}
