package ledger

import (
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/ledgerpb"
)

// MaxResults is the greatest number of rows in one answer; a greater limit asks
// for this many.
const MaxResults = 8192

// History is what queries read: the rows as of one moment. Methods panic with a
// *ReadError when they cannot answer.
type History interface {
	// Account sets a to the account with the given id, if there is one.
	Account(id u128.Int, a *ledgerpb.Account) bool
	// AccountBorn sets a to the account that was created at timestamp ts.
	AccountBorn(ts uint64, a *ledgerpb.Account) bool
	// TransferID returns the timestamp of the transfer with the given id, or 0
	// with known = true when the id is that of a remembered failure.
	TransferID(id u128.Int) (ts uint64, known bool)
	// Event sets e to the event of timestamp ts, if there is one.
	Event(ts uint64, e *Event) bool
	// Scan returns an iterator over the timestamps of the rows of a set whose
	// field has the given value, falling ones if reversed. The caller closes it.
	Scan(set Set, field Field, value u128.Int, reversed bool) Times
}

// Times iterates over timestamps in one direction.
type Times interface {
	// Seek returns the first timestamp at or beyond bound in the iterator's
	// direction; ok is false when there is none. Bounds never turn back.
	Seek(bound uint64) (ts uint64, ok bool)
	Close()
}

// Set is a set of rows with a timestamp each. Append-only: the store's indexes hold
// the numbers.
type Set uint8

const (
	Accounts  Set = iota
	Transfers     // the events that created a transfer
	Events        // all events; only by AnyField
	Expiries      // the events that expired a pending transfer; only by its accounts
)

// Field is what rows are selected by. Append-only: the store's indexes hold the
// numbers.
type Field uint8

const (
	AnyField      Field = 0 // all rows of the set; the value is 0
	DebitAccount  Field = 1 // transfers only
	CreditAccount Field = 2 // transfers only
	UserData128   Field = 3
	UserData64    Field = 4
	UserData32    Field = 5
	LedgerField   Field = 6
	CodeField     Field = 7
)

// LookupAccounts appends the accounts with the given ids, as far as there are any.
func LookupAccounts(h History, ids []u128.Int, out []ledgerpb.Account) []ledgerpb.Account {
	var a ledgerpb.Account
	for _, id := range ids {
		if h.Account(id, &a) {
			out = append(out, a)
		}
	}
	return out
}

// LookupTransfers appends the transfers with the given ids, as far as there are any.
func LookupTransfers(h History, ids []u128.Int, out []ledgerpb.Transfer) []ledgerpb.Transfer {
	var e Event
	for _, id := range ids {
		if ts, known := h.TransferID(id); known && ts != failedID {
			mustEvent(h, ts, &e)
			out = append(out, e.Transfer)
		}
	}
	return out
}

// GetAccountTransfers appends the transfers of one account that f selects; none
// when f is not valid.
func GetAccountTransfers(h History, f *ledgerpb.AccountFilter, out []ledgerpb.Transfer) []ledgerpb.Transfer {
	eachOfAccount(h, f, func(e *Event) { out = append(out, e.Transfer) })
	return out
}

// GetAccountBalances appends the balances of one account just after each of the
// transfers that f selects; none when f is not valid, or the account has no
// history flag.
func GetAccountBalances(h History, f *ledgerpb.AccountFilter, out []ledgerpb.AccountBalance) []ledgerpb.AccountBalance {
	var a ledgerpb.Account
	if !h.Account(f.AccountId, &a) || a.Flags&accountHistory == 0 {
		return out
	}
	eachOfAccount(h, f, func(e *Event) { out = append(out, *e.sideOf(f.AccountId).Balance(e.Timestamp)) })
	return out
}

// QueryAccounts appends the accounts that f selects; none when f is not valid.
func QueryAccounts(h History, f *ledgerpb.QueryFilter, out []ledgerpb.Account) []ledgerpb.Account {
	var a ledgerpb.Account
	eachOfQuery(h, Accounts, f, func(ts uint64) {
		if !h.AccountBorn(ts, &a) {
			panic(&ReadError{Op: "an account", Err: errNoAccount})
		}
		out = append(out, a)
	})
	return out
}

// QueryTransfers appends the transfers that f selects; none when f is not valid.
func QueryTransfers(h History, f *ledgerpb.QueryFilter, out []ledgerpb.Transfer) []ledgerpb.Transfer {
	var e Event
	eachOfQuery(h, Transfers, f, func(ts uint64) {
		mustEvent(h, ts, &e)
		out = append(out, e.Transfer)
	})
	return out
}

// GetChangeEvents appends the events that f selects, oldest first; none when f is
// not valid.
func GetChangeEvents(h History, f *ledgerpb.ChangeEventsFilter, out []ledgerpb.ChangeEvent) []ledgerpb.ChangeEvent {
	window, ok := newWindow(f.TimestampMin, f.TimestampMax, f.Limit, false)
	if !ok {
		return out
	}
	times := h.Scan(Events, AnyField, u128.Int{}, false)
	defer times.Close()
	var e Event
	window.each(times, func(ts uint64) {
		mustEvent(h, ts, &e)
		out = append(out, changeEvent(h, &e))
	})
	return out
}

// eachOfAccount calls f for the transfers that the filter selects.
func eachOfAccount(h History, f *ledgerpb.AccountFilter, each func(e *Event)) {
	const debits, credits = uint32(ledgerpb.AccountFilterFlagsDebits), uint32(ledgerpb.AccountFilterFlagsCredits)
	const reversed = uint32(ledgerpb.AccountFilterFlagsReversed)
	w, ok := newWindow(f.TimestampMin, f.TimestampMax, f.Limit, f.Flags&reversed != 0)
	if !ok || f.AccountId.IsZero() || f.AccountId == u128.Max ||
		f.Flags&(debits|credits) == 0 || f.Flags&^(debits|credits|reversed) != 0 {
		return
	}
	var sides union
	if f.Flags&debits != 0 {
		sides = append(sides, h.Scan(Transfers, DebitAccount, f.AccountId, w.reversed))
	}
	if f.Flags&credits != 0 {
		sides = append(sides, h.Scan(Transfers, CreditAccount, f.AccountId, w.reversed))
	}
	all := intersection{sides}
	all = all.with(h, Transfers, UserData128, f.UserData128, w.reversed)
	all = all.with(h, Transfers, UserData64, u128.From64(f.UserData64), w.reversed)
	all = all.with(h, Transfers, UserData32, u128.From64(uint64(f.UserData32)), w.reversed)
	all = all.with(h, Transfers, CodeField, u128.From64(uint64(f.Code)), w.reversed)
	defer all.Close()
	var e Event
	w.each(all, func(ts uint64) {
		mustEvent(h, ts, &e)
		each(&e)
	})
}

// eachOfQuery calls f for the timestamps of the rows that the filter selects.
func eachOfQuery(h History, set Set, f *ledgerpb.QueryFilter, each func(ts uint64)) {
	const reversed = uint32(ledgerpb.QueryFilterFlagsReversed)
	w, ok := newWindow(f.TimestampMin, f.TimestampMax, f.Limit, f.Flags&reversed != 0)
	if !ok || f.Flags&^reversed != 0 {
		return
	}
	var all intersection
	all = all.with(h, set, UserData128, f.UserData128, w.reversed)
	all = all.with(h, set, UserData64, u128.From64(f.UserData64), w.reversed)
	all = all.with(h, set, UserData32, u128.From64(uint64(f.UserData32)), w.reversed)
	all = all.with(h, set, LedgerField, u128.From64(uint64(f.Ledger)), w.reversed)
	all = all.with(h, set, CodeField, u128.From64(uint64(f.Code)), w.reversed)
	if len(all) == 0 {
		all = intersection{h.Scan(set, AnyField, u128.Int{}, w.reversed)}
	}
	defer all.Close()
	w.each(all, each)
}

func mustEvent(h History, ts uint64, e *Event) {
	if !h.Event(ts, e) {
		panic(&ReadError{Op: "an event", Err: errNoTransfer})
	}
}

// changeEvent joins an event with what never changes of its accounts.
func changeEvent(h History, e *Event) ledgerpb.ChangeEvent {
	var dr, cr ledgerpb.Account
	t := &e.Transfer
	if !h.Account(t.DebitAccountId, &dr) || !h.Account(t.CreditAccountId, &cr) {
		panic(&ReadError{Op: "the account of a transfer", Err: errNoAccount})
	}
	return ledgerpb.ChangeEvent{
		TransferId:          t.Id,
		TransferAmount:      t.Amount,
		TransferPendingId:   t.PendingId,
		TransferUserData128: t.UserData128,
		TransferUserData64:  t.UserData64,
		TransferUserData32:  t.UserData32,
		TransferTimeout:     t.Timeout,
		TransferCode:        t.Code,
		TransferFlags:       t.Flags,
		Ledger:              t.Ledger,
		Type:                e.Type,

		DebitAccountId:             dr.Id,
		DebitAccountDebitsPending:  e.Debit.DebitsPending,
		DebitAccountDebitsPosted:   e.Debit.DebitsPosted,
		DebitAccountCreditsPending: e.Debit.CreditsPending,
		DebitAccountCreditsPosted:  e.Debit.CreditsPosted,
		DebitAccountUserData128:    dr.UserData128,
		DebitAccountUserData64:     dr.UserData64,
		DebitAccountUserData32:     dr.UserData32,
		DebitAccountCode:           dr.Code,
		DebitAccountFlags:          e.Debit.Flags,

		CreditAccountId:             cr.Id,
		CreditAccountDebitsPending:  e.Credit.DebitsPending,
		CreditAccountDebitsPosted:   e.Credit.DebitsPosted,
		CreditAccountCreditsPending: e.Credit.CreditsPending,
		CreditAccountCreditsPosted:  e.Credit.CreditsPosted,
		CreditAccountUserData128:    cr.UserData128,
		CreditAccountUserData64:     cr.UserData64,
		CreditAccountUserData32:     cr.UserData32,
		CreditAccountCode:           cr.Code,
		CreditAccountFlags:          e.Credit.Flags,

		Timestamp:              e.Timestamp,
		TransferTimestamp:      t.Timestamp,
		DebitAccountTimestamp:  dr.Timestamp,
		CreditAccountTimestamp: cr.Timestamp,
	}
}
