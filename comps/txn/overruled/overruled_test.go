package overruled

import (
	"encoding/json"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"go.etcd.io/raft/v3/raftpb"

	"virtualservicesinc.com/comps/ledger/exec"
	"virtualservicesinc.com/comps/txn/entry"
	"virtualservicesinc.com/comps/txn/machine"
	"virtualservicesinc.com/comps/txn/raftlog"
	"virtualservicesinc.com/comps/txn/store/memstore"
	"virtualservicesinc.com/rrts/journal"
	"virtualservicesinc.com/rrts/journal/keyring"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/ledgerpb"
	"virtualservicesinc.com/rrts/schema/txnpb"
	"virtualservicesinc.com/rrts/sim/disk"
)

func TestFork(t *testing.T) {
	terms := func(pairs ...uint64) (all []txnpb.LogTerm) {
		for i := 0; i < len(pairs); i += 2 {
			all = append(all, txnpb.LogTerm{Term: pairs[i], FirstIndex: pairs[i+1]})
		}
		return all
	}
	own := []raftlog.Term{{Term: 1, First: 1}, {Term: 2, First: 5}, {Term: 4, First: 9}} // up to 12
	for name, c := range map[string]struct {
		first uint64
		other *txnpb.Force
		after uint64
		whole bool
	}{
		"this one goes on where the other ends":     {1, &txnpb.Force{LastIndex: 10, Terms: terms(1, 1, 2, 5, 4, 9)}, 10, true},
		"the other goes on where this one ends":     {1, &txnpb.Force{LastIndex: 20, Terms: terms(1, 1, 2, 5, 4, 9, 5, 14)}, 12, true},
		"they part in the middle":                   {1, &txnpb.Force{LastIndex: 11, Terms: terms(1, 1, 2, 5, 3, 8)}, 7, true},
		"they part at once":                         {1, &txnpb.Force{LastIndex: 3, Terms: terms(2, 1)}, 0, true},
		"the other holds nothing":                   {1, &txnpb.Force{}, 0, true},
		"the other was cut, before they part":       {1, &txnpb.Force{LastIndex: 11, Terms: terms(2, 6, 3, 8)}, 7, true},
		"the other was cut, behind that":            {1, &txnpb.Force{LastIndex: 11, Terms: terms(3, 9)}, 0, false},
		"the other begins behind the end of this":   {1, &txnpb.Force{LastIndex: 30, Terms: terms(4, 13)}, 12, false},
		"this one was cut, before they part":        {4, &txnpb.Force{LastIndex: 10, Terms: terms(1, 1, 2, 5, 4, 9)}, 10, true},
		"this one was cut right behind the other":   {4, &txnpb.Force{LastIndex: 3, Terms: terms(1, 1)}, 3, true},
		"this one was cut far behind the other":     {9, &txnpb.Force{LastIndex: 3, Terms: terms(1, 1)}, 8, false},
		"this one was cut, and they had parted":     {9, &txnpb.Force{LastIndex: 11, Terms: terms(1, 1, 3, 5)}, 8, false},
		"they part behind a term that both know of": {1, &txnpb.Force{LastIndex: 9, Terms: terms(1, 1, 2, 5, 3, 9)}, 8, true},
	} {
		shown := slices.DeleteFunc(slices.Clone(own), func(term raftlog.Term) bool { return term.First < c.first })
		if len(shown) == 0 || shown[0].First > c.first {
			n := slices.IndexFunc(own, func(term raftlog.Term) bool { return term.First > c.first })
			shown = slices.Insert(shown, 0, raftlog.Term{Term: own[n-1].Term, First: c.first})
		}
		if after, whole := fork(shown, c.first, 12, c.other); after != c.after || whole != c.whole {
			t.Errorf("%s: after entry %d (%v), want %d (%v)", name, after, whole, c.after, c.whole)
		}
	}
}

// TestWrite: what only this replica has comes out, with what it answered, as transactions
// that can be submitted again.
func TestWrite(t *testing.T) {
	keys, err := keyring.New(rand.NewChaCha8([32]byte{1}))
	if err != nil {
		t.Fatal(err)
	}
	d := disk.New(disk.Config{RNG: rand.New(rand.NewPCG(1, 1))})
	log, err := raftlog.Open(raftlog.Config{Journal: journal.Config{FS: d, Dir: "log", Keys: keys, SegmentBytes: journal.MinSegmentBytes, Rand: rand.NewChaCha8([32]byte{2})}})
	if err != nil {
		t.Fatal(err)
	}
	rows := memstore.New()
	m, err := machine.Open(rows, machine.Config{}, &raftpb.ConfState{Voters: []uint64{1, 2}})
	if err != nil {
		t.Fatal(err)
	}
	add := func(index, term, committed uint64, apply bool, tx txnpb.Transaction) {
		t.Helper()
		e := txnpb.Entry{ApplyVersion: entry.BaseVersion, Proposed: 1 << 30, Submissions: []txnpb.Submission{
			{Transaction: message.Marshal(&tx), Principal: 7, Role: uint32(message.RoleOperator)}}}
		data := message.Marshal(&e)
		if err := log.Append([]*raftpb.Message{{Term: &term, Vote: new(uint64(1)), Commit: new(committed),
			Entries: []*raftpb.Entry{{Index: &index, Term: &term, Type: raftpb.EntryNormal.Enum(), Data: data}}}}); err != nil {
			t.Fatal(err)
		}
		if apply {
			if _, err := m.Apply(index, term, data, nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	id := func(lo uint64) u128.Int { return u128.Int{Hi: 1 << 16, Lo: lo} }
	pay := func(lo, amount uint64) txnpb.Transaction {
		return txnpb.Transaction{Id: id(lo), Memo: "of " + id(lo).String(), Transfers: []ledgerpb.Transfer{
			{Id: id(100 + lo), DebitAccountId: u128.From64(1), CreditAccountId: u128.From64(2), Amount: u128.From64(amount), Ledger: 7, Code: 1}}}
	}
	add(1, 1, 0, true, txnpb.Transaction{Id: id(1), Accounts: []ledgerpb.Account{{Id: u128.From64(1), Ledger: 7, Code: 1}, {Id: u128.From64(2), Ledger: 7, Code: 1}}})
	add(2, 1, 1, true, pay(2, 5))
	add(3, 1, 2, true, pay(3, 6))
	refused := pay(4, 1)
	refused.Transfers[0].CreditAccountId = u128.From64(9)
	add(4, 2, 3, false, refused)
	add(5, 2, 4, false, pay(5, 7))
	var out strings.Builder
	sum, err := Write(&out, log, rows, 1, &txnpb.Force{LastIndex: 2, Terms: []txnpb.LogTerm{{Term: 1, FirstIndex: 1}}})
	if err != nil {
		t.Fatal(err)
	}
	if want := "3 transactions are overruled, 1 of which this SFU had committed (CSN 3 to 3)"; sum.String() != want {
		t.Errorf("%v, want %s", sum, want)
	}
	var states []string
	for line := range strings.Lines(out.String()) {
		var r Row
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatal(err)
		}
		tx, err := exec.ParseTransaction(r.Transaction)
		if err != nil || tx.Id != id(r.Entry) || tx.Memo != "of "+tx.Id.String() || r.User != 7 {
			t.Fatalf("%s: %v", line, err)
		}
		states = append(states, r.State)
	}
	if want := []string{"committed", "aborted", "unknown"}; !slices.Equal(states, want) {
		t.Errorf("%q, want %q", states, want)
	}
}
