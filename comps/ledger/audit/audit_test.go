package audit_test

import (
	"strings"
	"testing"

	"virtualservicesinc.com/comps/ledger"
	"virtualservicesinc.com/comps/ledger/audit"
	"virtualservicesinc.com/comps/ledger/memstate"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/ledgerpb"
)

func id(n uint64) u128.Int { return u128.From64(n) }

// history makes a few events of every kind.
func history(t *testing.T) *memstate.State {
	t.Helper()
	s := memstate.New()
	l, err := ledger.New(s, ledger.Config{})
	if err != nil {
		t.Fatal(err)
	}
	const pending, post, void = 2, 4, 8
	l.CreateAccounts(1, []ledgerpb.Account{{Id: id(1), Ledger: 1, Code: 1}, {Id: id(2), Ledger: 1, Code: 1, Flags: 2}, {Id: id(3), Ledger: 1, Code: 1}}, nil)
	res := l.CreateTransfers(11, []ledgerpb.Transfer{
		{Id: id(1), DebitAccountId: id(1), CreditAccountId: id(2), Amount: id(100), Ledger: 1, Code: 1},
		{Id: id(2), DebitAccountId: id(2), CreditAccountId: id(3), Amount: id(60), Ledger: 1, Code: 1, Flags: pending},
		{Id: id(3), DebitAccountId: id(2), CreditAccountId: id(3), Amount: id(10), Ledger: 1, Code: 1, Flags: pending},
		{Id: id(4), DebitAccountId: id(2), CreditAccountId: id(3), Amount: id(10), Ledger: 1, Code: 1, Flags: pending, Timeout: 1},
		{Id: id(5), PendingId: id(2), Amount: id(50), Flags: post},
		{Id: id(6), PendingId: id(3), Flags: void},
		{Id: id(7), DebitAccountId: id(2), CreditAccountId: id(3), Amount: id(1), Ledger: 1, Code: 1, Flags: pending},
	}, nil)
	for i, r := range res {
		if r.Status != 0 {
			t.Fatalf("transfer %d: %v", i, ledgerpb.CreateTransferStatus(r.Status))
		}
	}
	if n := l.Expire(2_000_000_000, 10); n != 1 {
		t.Fatalf("%d expired", n)
	}
	s.Apply(l.Changes())
	return s
}

// bent is a history in which something is wrong.
type bent struct {
	*memstate.State
	event   func(e *ledger.Event)
	account func(a *ledgerpb.Account)
	id      func(ts uint64) uint64
}

func (b bent) Event(ts uint64, e *ledger.Event) bool {
	ok := b.State.Event(ts, e)
	if b.event != nil {
		b.event(e)
	}
	return ok
}

func (b bent) AccountBorn(ts uint64, a *ledgerpb.Account) bool {
	ok := b.State.AccountBorn(ts, a)
	if b.account != nil {
		b.account(a)
	}
	return ok
}

func (b bent) TransferID(id u128.Int) (uint64, bool) {
	ts, ok := b.State.TransferID(id)
	if b.id != nil {
		ts = b.id(ts)
	}
	return ts, ok
}

func TestAudit(t *testing.T) {
	s := history(t)
	if r := audit.Run(s); !r.OK() || r.Accounts != 3 || r.Transfers != 7 || r.Expiries != 1 || r.Pending != 1 {
		t.Fatalf("a sound ledger: %+v", r)
	}
	at := func(ts uint64, f func(e *ledger.Event)) func(*ledger.Event) {
		return func(e *ledger.Event) {
			if e.Timestamp == ts {
				f(e)
			}
		}
	}
	for name, c := range map[string]struct {
		b    bent
		want string
	}{
		"amount":         {bent{event: at(11, func(e *ledger.Event) { e.Transfer.Amount = id(99) })}, "event 11: account 1 has"},
		"balance":        {bent{event: at(11, func(e *ledger.Event) { e.Credit.CreditsPosted = id(99) })}, "event 11: account 2 has"},
		"account":        {bent{event: at(11, func(e *ledger.Event) { e.Transfer.DebitAccountId = id(9) })}, "which are not two accounts"},
		"ledger":         {bent{event: at(11, func(e *ledger.Event) { e.Transfer.Ledger = 2 })}, "does not fit the ledgers"},
		"post":           {bent{event: at(15, func(e *ledger.Event) { e.PendingTimestamp = 11 })}, "resolves one at 11 that is not pending"},
		"post too much":  {bent{event: at(15, func(e *ledger.Event) { e.Transfer.Amount = id(61) })}, "resolves one at 12"},
		"void of post":   {bent{event: at(16, func(e *ledger.Event) { e.PendingTimestamp = 12 })}, "resolves one at 12 that is not pending"},
		"row":            {bent{account: func(a *ledgerpb.Account) { a.DebitsPosted = id(7) }}, "its row has debits 0 pending 7 posted"},
		"sums":           {bent{account: func(a *ledgerpb.Account) { a.CreditsPending = id(7) }}, "ledger 1: all debits are 1 pending and 150 posted, all credits 21 and 150"},
		"limit":          {bent{account: func(a *ledgerpb.Account) { a.Flags |= 2 }}, "account 1 is beyond its limit"},
		"no account row": {bent{account: func(a *ledgerpb.Account) { a.Timestamp++ }}, "the account created then is not there"},
		"index of ids":   {bent{id: func(ts uint64) uint64 { return ts + 1 }}, "the index of ids has transfer 1 at 12"},
	} {
		c.b.State = s
		r := audit.Run(c.b)
		if !strings.Contains(strings.Join(r.Findings, "\n"), c.want) {
			t.Errorf("%s: no finding has %q: %q", name, c.want, r.Findings)
		}
	}
}
