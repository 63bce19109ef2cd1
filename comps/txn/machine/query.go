package machine

import (
	"errors"
	"fmt"
	"slices"

	"virtualservicesinc.com/comps/ledger"
	"virtualservicesinc.com/comps/txn/store"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/ledgerpb"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// ErrDenied is returned for a query about what the user may not see.
var ErrDenied = errors.New("machine: denied")

// Everything is the user of those who may see everything: operators, auditors and
// the cluster's own Components.
const Everything = 0

// Query answers a query from one consistent state for a client, by its number, or
// for Everything. A client sees the accounts that it owns or may read, with their
// transfers, and its own transactions; what else it asks for is as if it were not
// there, or ErrDenied. A view that cannot be read panics with a *ledger.ReadError.
func Query(v store.View, q *txnpb.Query, user uint64) (*txnpb.QueryAnswer, error) {
	csn, err := CSN(v)
	if err != nil {
		return nil, err
	}
	a := &txnpb.QueryAnswer{Csn: csn, Stale: q.Stale}
	r := reader{v, user}
	switch {
	case q.LookupAccounts != nil:
		ids, err := r.visible(q.LookupAccounts.Ids)
		a.Accounts = ledger.LookupAccounts(v, ids, nil)
		return a, err
	case q.LookupTransfers != nil:
		a.Transfers, err = r.transfers(q.LookupTransfers.Ids)
	case q.GetAccountTransfers != nil:
		if err = r.check(q.GetAccountTransfers.AccountId); err == nil {
			a.Transfers = ledger.GetAccountTransfers(v, q.GetAccountTransfers, nil)
		}
	case q.GetAccountBalances != nil:
		if err = r.check(q.GetAccountBalances.AccountId); err == nil {
			a.Balances = ledger.GetAccountBalances(v, q.GetAccountBalances, nil)
		}
	case q.GetBalances != nil:
		a.Accounts, a.AsOf, err = r.balances(q.GetBalances)
	case q.GetStatement != nil:
		if err = r.check(q.GetStatement.AccountId); err == nil {
			a.Statement, a.Notes, err = r.statement(q.GetStatement)
		}
	case q.ListTransactions != nil:
		a.Transactions, a.NextId, err = r.transactions(q.ListTransactions)
	case q.GetAccess != nil:
		a.Access, err = r.access(q.GetAccess.Ids)
	case q.ListEffects != nil && user == Everything:
		a.Outbox, err = Outbox(v, q.ListEffects)
	case q.ListUsers != nil && user == Everything:
		a.Users, a.NextUser, err = r.users(q.ListUsers)
	case user != Everything:
		err = fmt.Errorf("%w: only operators and auditors see all accounts, effects and users; ask for your own by their ids", ErrDenied)
	case q.QueryAccounts != nil:
		a.Accounts = ledger.QueryAccounts(v, q.QueryAccounts, nil)
	case q.QueryTransfers != nil:
		a.Transfers = ledger.QueryTransfers(v, q.QueryTransfers, nil)
	case q.GetChangeEvents != nil:
		a.Events = ledger.GetChangeEvents(v, q.GetChangeEvents, nil)
	}
	return a, err
}

// reader reads a view for one user.
type reader struct {
	store.View
	user uint64
}

// may reports whether the user has one of these rights on an account.
func (r reader) may(account u128.Int, rights uint32) (bool, error) {
	if r.user == Everything {
		return true, nil
	}
	a, err := readAccess(r, account)
	return rightsOf(a, r.user)&rights != 0, err
}

// check returns ErrDenied when the user may not see an account. Whether there is
// one it does not tell.
func (r reader) check(account u128.Int) error {
	ok, err := r.may(account, rightRead)
	if err == nil && !ok {
		err = fmt.Errorf("%w: the user may not see account %v: its owner or an operator can grant it", ErrDenied, account)
	}
	return err
}

// visible returns those of the accounts that the user may see.
func (r reader) visible(ids []u128.Int) (out []u128.Int, err error) {
	if r.user == Everything {
		return ids, nil
	}
	for _, id := range ids {
		ok, err := r.may(id, rightRead)
		if err != nil {
			return nil, err
		}
		if ok {
			out = append(out, id)
		}
	}
	return out, nil
}

// transfers looks transfers up; the user sees those of the accounts that it sees.
func (r reader) transfers(ids []u128.Int) (out []ledgerpb.Transfer, err error) {
	out = ledger.LookupTransfers(r, ids, nil)
	if r.user == Everything {
		return out, nil
	}
	seen := out[:0]
	for i := range out {
		ok, err := r.may(out[i].DebitAccountId, rightRead)
		if err == nil && !ok {
			ok, err = r.may(out[i].CreditAccountId, rightRead)
		}
		if err != nil {
			return nil, err
		}
		if ok {
			seen = append(seen, out[i])
		}
	}
	return seen, nil
}

// balances returns accounts as of a moment, and that moment, 0 for now.
func (r reader) balances(f *ledgerpb.BalancesFilter) (out []ledgerpb.Account, at uint64, err error) {
	at = f.Timestamp
	switch {
	case f.Csn != 0 && f.Timestamp != 0:
		return nil, 0, fmt.Errorf("%w: a timestamp and a CSN: give one of them", ErrInvalid)
	case f.Timestamp > ledger.MaxTimestamp:
		return nil, 0, fmt.Errorf("%w: timestamp %d, the greatest is %d", ErrInvalid, f.Timestamp, uint64(ledger.MaxTimestamp))
	case f.Csn != 0:
		s, ok := r.Span(f.Csn)
		if !ok {
			return nil, 0, fmt.Errorf("%w: no transaction with the CSN %d is known", ErrInvalid, f.Csn)
		}
		at = s.Last
	}
	ids, err := r.visible(f.AccountIds)
	if err != nil {
		return nil, 0, err
	}
	return ledger.LookupAccountsAt(r, ids, at, nil), at, nil
}

// ErrInvalid is returned for a query that has no answer.
var ErrInvalid = errors.New("machine: invalid query")

// statement returns a statement whose lines name their transactions, and what these
// say of themselves.
func (r reader) statement(f *ledgerpb.StatementFilter) (*ledgerpb.Statement, []txnpb.Note, error) {
	s := ledger.GetStatement(r, f)
	if s == nil {
		return nil, nil, nil
	}
	var notes []txnpb.Note
	for i := range s.Lines {
		l := &s.Lines[i]
		if l.Type == ledgerpb.ChangeEventTypeTwoPhaseExpired || l.Transfer.Flags&importedTransfer != 0 {
			continue
		}
		l.Csn, _ = r.Committed(l.Timestamp)
		if i > 0 && s.Lines[i-1].Csn == l.Csn {
			continue
		}
		n, err := readNote(r, l.Csn)
		if err != nil {
			return nil, nil, err
		}
		if n != nil {
			notes = append(notes, *n)
		}
	}
	return s, notes, nil
}

// readNote returns what a transaction says of itself, nil for nothing.
func readNote(v store.View, csn uint64) (*txnpb.Note, error) {
	raw, ok := v.Note(csn)
	if !ok {
		return nil, nil
	}
	n := &txnpb.Note{}
	if err := n.Parse(raw); err != nil {
		return nil, fmt.Errorf("machine: the note of CSN %d: %w", csn, err)
	}
	return n, nil
}

// maxScanned bounds how many transactions one question looks at, for some that may
// belong to one user in thousands: it answers within a tenth of a second or so.
const maxScanned = 100_000

// transactions lists the transactions whose outcomes are kept, and returns the id
// from which the list goes on.
func (r reader) transactions(f *txnpb.TransactionsFilter) (out []txnpb.TransactionRow, next u128.Int, err error) {
	limit, upTo, principal := min(int(f.Limit), ledger.MaxResults), f.IdMax, f.Principal
	if upTo.IsZero() {
		upTo = u128.Max
	}
	if r.user != Everything {
		if principal != 0 && principal != r.user {
			return nil, next, fmt.Errorf("%w: the transactions of another user", ErrDenied)
		}
		principal = r.user
	}
	if limit == 0 {
		return nil, next, fmt.Errorf("%w: limit is 0, it must be at least 1", ErrInvalid)
	}
	scanned := 0
	r.Txns(f.IdMin, upTo, f.Reversed, func(id u128.Int, raw []byte) bool {
		if len(out) == limit || scanned == maxScanned {
			next = id
			return false
		}
		scanned++
		var row txnpb.StoredOutcome
		if err = row.Parse(slices.Clone(raw)); err != nil {
			err = fmt.Errorf("machine: row of transaction %v: %w", id, err)
			return false
		}
		if principal != 0 && row.Principal != principal {
			return true
		}
		if err = complete(r, id, row.Outcome); err != nil {
			return false
		}
		out = append(out, txnpb.TransactionRow{Outcome: row.Outcome, Principal: row.Principal, Committed: row.Committed})
		return true
	})
	return out, next, err
}

// users lists users as others see them, and returns the number from which the list goes
// on. Numbers are given one after the other.
func (r reader) users(f *txnpb.UsersFilter) (out []txnpb.UserRow, next uint64, err error) {
	limit := min(int(f.Limit), ledger.MaxResults)
	if limit == 0 {
		return nil, 0, fmt.Errorf("%w: limit is 0, it must be at least 1", ErrInvalid)
	}
	meta, err := Reached(r)
	if err != nil {
		return nil, 0, err
	}
	for n := max(f.NumberMin, 1); n <= meta.LastUser; n++ {
		raw, ok := r.User(n)
		if !ok {
			continue
		}
		if len(out) == limit {
			return out, n, nil
		}
		var u txnpb.User
		if err := u.Parse(raw); err != nil {
			return nil, 0, fmt.Errorf("machine: user %d: %w", n, err)
		}
		out = append(out, txnpb.UserRow{Number: u.Number, PublicName: u.PublicName, Role: u.Role, Disabled: u.Disabled, Created: u.Created})
	}
	return out, 0, nil
}

// access returns the rights on accounts: all of them to the owner, and to others
// their own.
func (r reader) access(ids []u128.Int) (out []txnpb.AccountAccess, err error) {
	for _, id := range ids {
		a, err := readAccess(r, id)
		if err != nil {
			return nil, err
		}
		if own := rightsOf(a, r.user); r.user != Everything && own&rightOwner == 0 {
			if own == 0 {
				continue
			}
			a = &txnpb.Access{Grants: []txnpb.Grant{{User: r.user, Rights: own}}}
		}
		if a != nil {
			out = append(out, txnpb.AccountAccess{AccountId: id, Access: a})
		}
	}
	return out, nil
}

// Status returns the row of a transaction with what it says of itself, nil when
// nothing stands under the id: what it says is final.
func Status(v store.View, id u128.Int) (row *txnpb.StoredOutcome, err error) {
	v.Txns(id, id, false, func(_ u128.Int, raw []byte) bool {
		row = &txnpb.StoredOutcome{}
		if err = row.Parse(slices.Clone(raw)); err != nil {
			err = fmt.Errorf("machine: row of transaction %v: %w", id, err)
			return false
		}
		err = complete(v, id, row.Outcome)
		return false
	})
	return row, err
}

// complete adds to a stored outcome what answers have beside it.
func complete(v store.View, id u128.Int, o *txnpb.Outcome) (err error) {
	o.Id = id
	if o.Note, err = readNote(v, o.Csn); err != nil || o.Effects == 0 {
		return err
	}
	o.Completion, err = Completion(v, o)
	return err
}
