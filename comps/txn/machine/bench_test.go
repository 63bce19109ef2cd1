package machine

import (
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"virtualservicesinc.com/comps/txn/entry"
	"virtualservicesinc.com/comps/txn/store"
	"virtualservicesinc.com/comps/txn/store/memstore"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/ledgerpb"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// traffic makes entries of simple transfers between a thousand accounts, for a machine that
// applies them.
type traffic struct {
	t       testing.TB
	m       *Machine
	perTx   int // transfers in a transaction
	now     uint64
	next    uint64
	index   uint64
	results []entry.Result
}

const trafficTransfers = 1000 // in an entry

// newTraffic opens the accounts, which belong to the user that pays.
func newTraffic(t testing.TB, s store.State, perTx int) *traffic {
	m, err := Open(s, Config{}, testMembers)
	if err != nil {
		t.Fatal(err)
	}
	f := &traffic{t: t, m: m, perTx: perTx, now: uint64(1_790_000_000 * time.Second)}
	user := txnpb.Transaction{Id: idAt(1<<41, f.now/uint64(time.Millisecond)), Users: []txnpb.UserChange{
		{LoginHash: loginOf("ann"), PublicName: "ann", Verifier: "$argon2id$ann", Role: uint32(message.RoleClient)}}}
	tx := txnpb.Transaction{Id: idAt(1<<40, f.now/uint64(time.Millisecond))}
	for i := range uint64(1000) {
		tx.Accounts = append(tx.Accounts, ledgerpb.Account{Id: u128.From64(i + 1), Ledger: 1, Code: 1})
		tx.Access = append(tx.Access, txnpb.AccessChange{AccountId: u128.From64(i + 1), User: 1, Rights: allRights})
	}
	f.apply(message.Marshal(&txnpb.Entry{ApplyVersion: entry.ApplyVersion, Proposed: f.now, Submissions: []txnpb.Submission{
		{Transaction: message.Marshal(&user), Role: uint32(message.RoleOperator)}, {Transaction: message.Marshal(&tx), Role: uint32(message.RoleOperator)}}}))
	return f
}

// entry makes the next entry.
func (f *traffic) entry() []byte {
	f.now += uint64(time.Millisecond)
	millis := f.now / uint64(time.Millisecond)
	e := txnpb.Entry{ApplyVersion: entry.ApplyVersion, Proposed: f.now}
	for range trafficTransfers / f.perTx {
		f.next++
		tx := txnpb.Transaction{Id: idAt(f.next, millis)}
		for range f.perTx {
			f.next++
			tx.Transfers = append(tx.Transfers, ledgerpb.Transfer{Id: idAt(f.next, millis),
				DebitAccountId: u128.From64(1 + f.next%1000), CreditAccountId: u128.From64(1 + (f.next+7)%1000),
				Amount: u128.From64(10), Ledger: 1, Code: 1})
		}
		e.Submissions = append(e.Submissions, txnpb.Submission{Transaction: message.Marshal(&tx), Principal: 1, Role: uint32(message.RoleClient)})
	}
	return message.Marshal(&e)
}

func (f *traffic) apply(data []byte) {
	f.index++
	var err error
	if f.results, err = f.m.Apply(f.index, 1, data, f.results[:0]); err != nil {
		f.t.Fatal(err)
	}
	for i := range f.results {
		if o := &f.results[i].Outcome; o.State != txnpb.StateCommitted || len(o.Results.Exceptions) > 0 {
			f.t.Fatalf("transaction %d: %+v", i, o)
		}
	}
}

// TestApplyAllocations: the apply loop takes no memory for a transaction, and little for an
// entry: that of its answers, which whoever asked gets, and what the store grows by.
func TestApplyAllocations(t *testing.T) {
	db, err := store.Open(store.Config{Dir: "store", FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	f := newTraffic(t, db, 1)
	for range 80 { // until the caches have their sizes
		f.apply(f.entry())
	}
	entries := make([][]byte, 21)
	for i := range entries {
		entries[i] = f.entry()
	}
	next := 0
	n := testing.AllocsPerRun(len(entries)-1, func() {
		f.apply(entries[next])
		next++
	})
	if n > trafficTransfers/10 {
		t.Errorf("%v allocations in an entry of %d transactions", n, trafficTransfers)
	}
}

// BenchmarkApply applies entries of a thousand transfers, each a transaction of its
// own or all of them one, to a state in memory.
func BenchmarkApply(b *testing.B) {
	for _, c := range []struct {
		name  string
		perTx int
	}{{"single", 1}, {"batched", trafficTransfers}} {
		b.Run(c.name, func(b *testing.B) {
			f := newTraffic(b, memstore.New(), c.perTx)
			b.ReportAllocs()
			for b.Loop() {
				b.StopTimer()
				data := f.entry()
				b.StartTimer()
				f.apply(data)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/trafficTransfers, "ns/transfer")
		})
	}
}
