package audit_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"virtualservicesinc.com/comps/txn/audit"
	"virtualservicesinc.com/comps/txn/entry"
	"virtualservicesinc.com/comps/txn/machine"
	"virtualservicesinc.com/comps/txn/store"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/ledgerpb"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

const tableAccounts = 3 // of package store

func open(t *testing.T) *store.DB {
	t.Helper()
	s, err := store.Open(store.Config{Dir: "db", FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// pay applies one entry with two accounts and one with a payment between them.
func pay(t *testing.T, s *store.DB, amount uint64) {
	t.Helper()
	m, err := machine.Open(s, machine.Config{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i, tx := range []txnpb.Transaction{
		{Id: u128.Int{Hi: 1 << 16, Lo: 1}, Accounts: []ledgerpb.Account{{Id: u128.From64(1), Ledger: 7, Code: 1}, {Id: u128.From64(2), Ledger: 7, Code: 1}}},
		{Id: u128.Int{Hi: 1 << 16, Lo: 2}, Transfers: []ledgerpb.Transfer{
			{Id: u128.From64(9), DebitAccountId: u128.From64(1), CreditAccountId: u128.From64(2), Amount: u128.From64(amount), Ledger: 7, Code: 1}}},
	} {
		e := txnpb.Entry{ApplyVersion: entry.ApplyVersion, Proposed: 1 << 30, Submissions: []txnpb.Submission{
			{Transaction: message.Marshal(&tx), Principal: 1, Role: uint32(message.RoleOperator)}}}
		out, err := m.Apply(uint64(i+1), 1, message.Marshal(&e), nil)
		if err != nil || out[0].Outcome.State != txnpb.StateCommitted {
			t.Fatalf("%+v, %v", out, err)
		}
	}
}

// copyRows makes another store of the same rows, which change may change.
func copyRows(t *testing.T, from *store.DB, change func(*store.Row)) *store.DB {
	t.Helper()
	to := open(t)
	snap, err := from.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer snap.Close()
	r, err := to.Restore()
	if err != nil {
		t.Fatal(err)
	}
	for row, err := range snap.Rows() {
		if err != nil {
			t.Fatal(err)
		}
		row.Value = bytes.Clone(row.Value)
		change(&row)
		if err := r.Add([]store.Row{row}); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Switch(); err != nil {
		t.Fatal(err)
	}
	return to
}

func run(t *testing.T, s *store.DB) *audit.Report {
	t.Helper()
	r, err := audit.Run(s)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestRun(t *testing.T) {
	s := open(t)
	empty := run(t, s)
	pay(t, s, 100)
	r := run(t, s)
	if !r.OK() || r.CSN != 2 || r.Transactions != 2 || r.Ledger.Accounts != 2 || r.Ledger.Transfers != 1 ||
		len(r.Ledger.Ledgers) != 1 || r.Ledger.Ledgers[0].DebitsPosted != u128.From64(100) || r.Ledger.Ledgers[0].Ledger != 7 {
		t.Fatalf("%+v %+v", r, r.Ledger)
	}
	if r.Digest == empty.Digest {
		t.Error("an empty store has the digest of a full one")
	}

	// The same rows, wherever they are; where the state stands in a log is no matter.
	same := copyRows(t, s, func(*store.Row) {})
	same.Commit(&store.Batch{Applied: 9, Metas: []store.MetaRow{{Key: "other", Value: []byte("x")}}})
	if got := run(t, same); got.Digest != r.Digest || got.CSN != r.CSN || !got.OK() {
		t.Errorf("a copy: %+v, want the digest of %+v", got, r)
	}
	other := open(t)
	pay(t, other, 101)
	if got := run(t, other); got.Digest == r.Digest || !got.OK() {
		t.Errorf("another payment has the same digest, or is no sound ledger: %+v", got)
	}

	// A balance that no transfer made.
	forged := copyRows(t, s, func(row *store.Row) {
		if row.Key[2] == tableAccounts && row.Key[len(row.Key)-1] == 1 {
			row.Value[3]++ // the debits, behind the lengths of five numbers
		}
	})
	const want = "account 1: its row has debits 0 pending 101 posted"
	if got := run(t, forged); got.OK() || !strings.Contains(strings.Join(got.Ledger.Findings, "\n"), want) {
		t.Errorf("findings %q, none says %q", got.Ledger.Findings, want)
	}
}

// TestOutbox: an effect that no transaction owes, one that is missing, and one that its
// queue does not count are found.
func TestOutbox(t *testing.T) {
	s := open(t)
	pay(t, s, 100)
	m, err := machine.Open(s, machine.Config{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	effect := txnpb.Effect{Service: "sql", Target: "shop", Operation: "order"}
	for i, tx := range []txnpb.Transaction{
		{Id: u128.Int{Hi: 1 << 16, Lo: 3}, Effects: []txnpb.Effect{effect, effect}},
		{Id: u128.Int{Hi: 1 << 16, Lo: 4}, Effects: []txnpb.Effect{effect}},
	} {
		e := txnpb.Entry{ApplyVersion: entry.ApplyVersion, Proposed: 1 << 30, Submissions: []txnpb.Submission{
			{Transaction: message.Marshal(&tx), Principal: 1, Role: uint32(message.RoleOperator)}}}
		out, err := m.Apply(uint64(i+3), 1, message.Marshal(&e), nil)
		if err != nil || out[0].Outcome.State != txnpb.StateCommitted {
			t.Fatalf("%+v, %v", out, err)
		}
	}
	if r := run(t, s); !r.OK() || r.CSN != 4 {
		t.Fatalf("%+v: %q", r, r.Findings())
	}
	// The row of an effect has its kind behind the table, and its sequence at the end.
	const tableOutbox = 18 // of package store
	of := func(row *store.Row, sequence byte) bool {
		return row.Key[2] == tableOutbox && row.Key[3] == 'e' && row.Key[len(row.Key)-1] == sequence
	}
	change := func(row *store.Row, f func(*txnpb.OwedEffect)) {
		var e txnpb.OwedEffect
		if err := e.Parse(row.Value); err != nil {
			t.Fatal(err)
		}
		f(&e)
		row.Value = message.Marshal(&e)
	}
	for _, test := range []struct {
		name   string
		forge  func(*store.Row)
		wanted []string
	}{
		{"a transaction that is another's", func(row *store.Row) {
			if of(row, 3) {
				change(row, func(e *txnpb.OwedEffect) { e.TransactionId = u128.Int{Hi: 1 << 16, Lo: 2} })
			}
		}, []string{"the effect sql/shop:3 is owed by transaction " + u128.Int{Hi: 1 << 16, Lo: 2}.String() + " at CSN 4, which is committed at CSN 2"}},
		{"a transaction that is not there yet", func(row *store.Row) {
			if of(row, 3) {
				change(row, func(e *txnpb.OwedEffect) { e.TransactionId, e.Csn = u128.Int{Hi: 1 << 16, Lo: 9}, 9 })
			}
		}, []string{"the effect sql/shop:3 is owed since CSN 9, the state ends at CSN 4",
			"the transaction at CSN 4 owes 0 effects, 0 of them in quarantine, and its completion says 1 of 1 and 0", "the transaction at CSN 9 owes 1 effects, and has no completion"}},
		{"an effect that went to another transaction", func(row *store.Row) {
			if of(row, 2) {
				change(row, func(e *txnpb.OwedEffect) { e.TransactionId, e.Csn = u128.Int{Hi: 1 << 16, Lo: 4}, 4 })
			}
		}, []string{"the transaction at CSN 3 owes 1 effects, 0 of them in quarantine, and its completion says 2 of 2 and 0",
			"the transaction at CSN 4 owes 2 effects, 0 of them in quarantine, and its completion says 1 of 1 and 0"}},
		{"a quarantine that nobody counts", func(row *store.Row) {
			if of(row, 1) {
				change(row, func(e *txnpb.OwedEffect) { e.State = txnpb.EffectStateQuarantined })
			}
		}, []string{"the queue sql/shop has 3 effects, 1 of them in quarantine, and says 3 and 0",
			"the transaction at CSN 3 owes 2 effects, 1 of them in quarantine, and its completion says 2 of 2 and 0"}},
	} {
		r := run(t, copyRows(t, s, test.forge))
		if r.OK() || !slices.Equal(r.Findings(), test.wanted) {
			t.Errorf("%s: %q, want %q", test.name, r.Findings(), test.wanted)
		}
	}
}
