package audit_test

import (
	"bytes"
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
