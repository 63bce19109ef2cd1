package machine

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"virtualservicesinc.com/comps/txn/store"
	"virtualservicesinc.com/rrts/message/txid"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/ledgerpb"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// onDisk is a machine on a store that can be queried.
type onDisk struct {
	*Machine
	t       *testing.T
	db      *store.DB
	version uint32 // that entries name
}

func newOnDisk(t *testing.T) *onDisk {
	t.Helper()
	db, err := store.Open(store.Config{Dir: "db", FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	m, err := Open(db, Config{Window: testWindow, Ledger: smallLedger}, testMembers)
	if err != nil {
		t.Fatal(err)
	}
	return &onDisk{m, t, db, 3}
}

// apply applies one entry of submissions in the words of the transcripts.
func (d *onDisk) apply(ms, expire uint64, submissions ...string) {
	d.t.Helper()
	e := txnpb.Entry{ApplyVersion: d.version, Proposed: ms * 1_000_000, Expire: uint32(expire)}
	for _, s := range submissions {
		e.Submissions = append(e.Submissions, words{d.t, strings.Fields(s)}.submission())
	}
	index, _ := d.Applied()
	out, err := d.Apply(index+1, 1, e.AppendTo(nil), nil)
	if err != nil {
		d.t.Fatal(err)
	}
	for i := range out {
		if s := out[i].Outcome.State; s != txnpb.StateCommitted && s != txnpb.StateAborted {
			d.t.Fatalf("%v", &out[i].Outcome)
		}
	}
}

func (d *onDisk) query(q *txnpb.Query, user uint64) (*txnpb.QueryAnswer, error) {
	d.t.Helper()
	v, err := d.db.View()
	if err != nil {
		d.t.Fatal(err)
	}
	defer v.Close()
	return Query(v, q, user)
}

func ids(n ...uint64) (out []u128.Int) {
	for _, n := range n {
		out = append(out, u128.From64(n))
	}
	return out
}

func scene(t *testing.T) *onDisk {
	d := newOnDisk(t)
	d.apply(1000, 0, "1 at=1000 users=(new:ann,new:bob,new:cid)",
		"2 at=1000 accounts=(1,2,3,4) access=(2:1:owner,3:2:owner,3:1:read,2:3:debit) memo=open",
		"3 at=1000 transfers=(31:9>2:5)", // aborted
		"4 at=1000 by=1 client transfers=(41:2>3:10,42:2>3:5:pending1) memo=rent labels=(invoice=17)")
	d.apply(9000, 10) // 42 expires
	d.apply(9001, 0, "5 at=1000 derive transfers=(0:3>4:1)", "6 at=1000 by=2 client transfers=(61:3>4:2) memo=milk")
	return d
}

// TestStatement: lines know their transactions, and notes come with them.
func TestStatement(t *testing.T) {
	d := scene(t)
	a, err := d.query(&txnpb.Query{GetStatement: &ledgerpb.StatementFilter{AccountId: u128.From64(3), Limit: 10}}, Everything)
	if err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	s := a.Statement
	fmt.Fprintf(&got, "opening %v/%v\n", s.Opening.DebitsPosted, s.Opening.CreditsPosted)
	for _, l := range s.Lines {
		fmt.Fprintf(&got, "%v of %v csn %d: %v/%v+%v\n", l.Type, l.Transfer.Amount, l.Csn, l.Balance.DebitsPosted, l.Balance.CreditsPosted, l.Balance.CreditsPending)
	}
	fmt.Fprintf(&got, "closing %v/%v\n", s.Closing.DebitsPosted, s.Closing.CreditsPosted)
	for _, n := range a.Notes {
		fmt.Fprintf(&got, "note %d of %d: %s %v\n", n.Csn, n.TransactionId.Lo, n.Memo, len(n.Metadata))
	}
	const want = `opening 0/0
single_phase of 10 csn 3: 0/10+0
two_phase_pending of 5 csn 3: 0/10+5
two_phase_expired of 5 csn 0: 0/10+0
single_phase of 1 csn 4: 1/10+0
single_phase of 2 csn 5: 3/10+0
closing 3/10
note 3 of 4: rent 1
note 5 of 6: milk 0
`
	if got.String() != want {
		t.Errorf("got\n%swant\n%s", got.String(), want)
	}
	if id := txid.Transfer(idAt(5, 1000), 0); s.Lines[3].Transfer.Id != id {
		t.Errorf("the transfer without an id has %v, want %v", s.Lines[3].Transfer.Id, id)
	}
	if a, err := d.query(&txnpb.Query{GetStatement: &ledgerpb.StatementFilter{AccountId: u128.From64(77), Limit: 1}}, Everything); err != nil || a.Statement != nil {
		t.Errorf("the statement of no account: %v, %v", a.Statement, err)
	}
}

// TestBalancesAsOf: a CSN names the moment right after its transaction.
func TestBalancesAsOf(t *testing.T) {
	d := scene(t)
	for _, c := range []struct {
		f    ledgerpb.BalancesFilter
		want string // credits posted and pending of account 3
	}{
		{ledgerpb.BalancesFilter{Csn: 2}, "0+0"},
		{ledgerpb.BalancesFilter{Csn: 3}, "10+5"},
		{ledgerpb.BalancesFilter{Csn: 4}, "10+0"},
		{ledgerpb.BalancesFilter{Timestamp: 8_999_999_999}, "10+5"},
		{ledgerpb.BalancesFilter{}, "10+0"},
		{ledgerpb.BalancesFilter{Timestamp: 1}, "none"},
		{ledgerpb.BalancesFilter{Csn: 1}, "none"},
		{ledgerpb.BalancesFilter{Csn: 6}, "machine: invalid query: no transaction with the CSN 6 is known"},
		{ledgerpb.BalancesFilter{Csn: 1, Timestamp: 1}, "machine: invalid query: a timestamp and a CSN: give one of them"},
		{ledgerpb.BalancesFilter{Timestamp: 1 << 63}, "machine: invalid query: timestamp 9223372036854775808, the greatest is 9223372036854775807"},
	} {
		c.f.AccountIds = ids(3)
		a, err := d.query(&txnpb.Query{GetBalances: &c.f}, Everything)
		got := "none"
		if err != nil {
			got = err.Error()
		} else if len(a.Accounts) == 1 {
			got = fmt.Sprintf("%v+%v", a.Accounts[0].CreditsPosted, a.Accounts[0].CreditsPending)
		}
		if got != c.want {
			t.Errorf("%v: %s, want %s", &c.f, got, c.want)
		}
	}
}

// TestClientsSeeTheirOwn: user 1 owns account 2 and may read 3, user 2 owns 3, user 3
// may debit 2 and not see it.
func TestClientsSeeTheirOwn(t *testing.T) {
	d := scene(t)
	both := uint32(ledgerpb.AccountFilterFlagsDebits | ledgerpb.AccountFilterFlagsCredits)
	count := func(q txnpb.Query) func(user uint64) string {
		return func(user uint64) string {
			a, err := d.query(&q, user)
			switch {
			case errors.Is(err, ErrDenied):
				return "denied"
			case err != nil:
				return err.Error()
			}
			n := len(a.Accounts) + len(a.Transfers) + len(a.Balances) + len(a.Events) + len(a.Transactions) + len(a.Access) + len(a.Users)
			if a.Statement != nil {
				n += len(a.Statement.Lines)
			}
			return fmt.Sprint(n)
		}
	}
	of := func(account uint64) *ledgerpb.AccountFilter {
		return &ledgerpb.AccountFilter{AccountId: u128.From64(account), Limit: 10, Flags: both}
	}
	for _, c := range []struct {
		name string
		ask  func(user uint64) string
		want [4]string // for everything, users 1, 2 and 3
	}{
		{"accounts", count(txnpb.Query{LookupAccounts: &ledgerpb.Lookup{Ids: ids(1, 2, 3, 4, 9)}}), [4]string{"4", "2", "1", "0"}},
		{"transfers", count(txnpb.Query{LookupTransfers: &ledgerpb.Lookup{Ids: ids(41, 61, 99)}}), [4]string{"2", "2", "2", "0"}},
		{"transfers of 2", count(txnpb.Query{GetAccountTransfers: of(2)}), [4]string{"2", "2", "denied", "denied"}},
		{"transfers of none", count(txnpb.Query{GetAccountTransfers: of(9)}), [4]string{"0", "denied", "denied", "denied"}},
		{"balances of 3", count(txnpb.Query{GetAccountBalances: of(3)}), [4]string{"0", "0", "0", "denied"}},
		{"accounts as of", count(txnpb.Query{GetBalances: &ledgerpb.BalancesFilter{AccountIds: ids(1, 2, 3, 4), Csn: 3}}), [4]string{"4", "2", "1", "0"}},
		{"statement of 3", count(txnpb.Query{GetStatement: &ledgerpb.StatementFilter{AccountId: u128.From64(3), Limit: 10}}), [4]string{"5", "5", "5", "denied"}},
		{"all accounts", count(txnpb.Query{QueryAccounts: &ledgerpb.QueryFilter{Limit: 10}}), [4]string{"4", "denied", "denied", "denied"}},
		{"all transfers", count(txnpb.Query{QueryTransfers: &ledgerpb.QueryFilter{Limit: 10}}), [4]string{"4", "denied", "denied", "denied"}},
		{"events", count(txnpb.Query{GetChangeEvents: &ledgerpb.ChangeEventsFilter{Limit: 10}}), [4]string{"5", "denied", "denied", "denied"}},
		{"transactions", count(txnpb.Query{ListTransactions: &txnpb.TransactionsFilter{Limit: 10}}), [4]string{"6", "1", "1", "0"}},
		{"user 1's", count(txnpb.Query{ListTransactions: &txnpb.TransactionsFilter{Limit: 10, Principal: 1}}), [4]string{"1", "1", "denied", "denied"}},
		{"rights", count(txnpb.Query{GetAccess: &ledgerpb.Lookup{Ids: ids(1, 2, 3)}}), [4]string{"2", "2", "1", "1"}},
		{"users", count(txnpb.Query{ListUsers: &txnpb.UsersFilter{Limit: 10}}), [4]string{"3", "denied", "denied", "denied"}},
	} {
		for user, want := range c.want {
			if got := c.ask(uint64(user)); got != want {
				t.Errorf("%s for user %d: %s, want %s", c.name, user, got, want)
			}
		}
	}
	a, err := d.query(&txnpb.Query{GetAccess: &ledgerpb.Lookup{Ids: ids(3)}}, 1)
	if err != nil || a.Access[0].Access.Owner != 0 || len(a.Access[0].Access.Grants) != 1 || a.Access[0].Access.Grants[0].Rights != rightRead {
		t.Errorf("user 1 hears of account 3: %v, %v", a.Access, err)
	}
}

// TestListUsers: in pages, and without what is secret of a user.
func TestListUsers(t *testing.T) {
	d := scene(t)
	d.apply(9002, 0, "7 at=1000 users=(2:disable)")
	got := ""
	for from, pages := uint64(0), 0; ; pages++ {
		a, err := d.query(&txnpb.Query{ListUsers: &txnpb.UsersFilter{NumberMin: from, Limit: 2}}, Everything)
		if err != nil || pages > 1 {
			t.Fatal(err, pages)
		}
		for _, u := range a.Users {
			got += fmt.Sprintf("%d %s role %d disabled %v\n", u.Number, u.PublicName, u.Role, u.Disabled)
		}
		if from = a.NextUser; from == 0 {
			break
		}
	}
	if want := "1 ann role 1 disabled false\n2 bob role 1 disabled true\n3 cid role 1 disabled false\n"; got != want {
		t.Errorf("%s, want\n%s", got, want)
	}
	if _, err := d.query(&txnpb.Query{ListUsers: &txnpb.UsersFilter{}}, Everything); !errors.Is(err, ErrInvalid) {
		t.Errorf("without a limit: %v", err)
	}
}

// TestListTransactions: in pages, in either direction, with notes.
func TestListTransactions(t *testing.T) {
	d := scene(t)
	for _, reversed := range []bool{false, true} {
		f := txnpb.TransactionsFilter{Limit: 2, Reversed: reversed}
		got, pages := "", 0
		for {
			a, err := d.query(&txnpb.Query{ListTransactions: &f}, Everything)
			if err != nil {
				t.Fatal(err)
			}
			for _, row := range a.Transactions {
				memo := ""
				if row.Outcome.Note != nil {
					memo = row.Outcome.Note.Memo
				}
				got += fmt.Sprintf("%d %v %d by %d %s\n", row.Outcome.Id.Lo, row.Outcome.State, row.Outcome.Csn, row.Principal, memo)
			}
			pages++
			if a.NextId.IsZero() {
				break
			}
			if reversed {
				f.IdMax = a.NextId
			} else {
				f.IdMin = a.NextId
			}
		}
		lines := strings.SplitAfter("1 committed 1 by 0 \n2 committed 2 by 0 open\n3 aborted 0 by 0 \n4 committed 3 by 1 rent\n5 committed 4 by 0 \n6 committed 5 by 2 milk\n", "\n")
		want := ""
		for _, l := range lines {
			if reversed {
				want = l + want
			} else {
				want += l
			}
		}
		if got != want || pages != 3 {
			t.Errorf("reversed %v, in %d pages:\n%swant\n%s", reversed, pages, got, want)
		}
	}
	v, err := d.db.View()
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	if row, err := Status(v, idAt(4, 1000)); err != nil || row == nil || row.Outcome.Id != idAt(4, 1000) || row.Outcome.Csn != 3 || row.Outcome.Note.Memo != "rent" {
		t.Errorf("the status of 4: %v, %v", row, err)
	}
	if row, err := Status(v, idAt(7, 1000)); err != nil || row != nil {
		t.Errorf("the status of none: %v, %v", row, err)
	}
}
