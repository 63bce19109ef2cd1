package store_test

import (
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"virtualservicesinc.com/comps/ledger"
	"virtualservicesinc.com/comps/ledger/audit"
	"virtualservicesinc.com/comps/txn/store"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/ledgerpb"
)

// Readers beside the apply thread see whole Commits: in every view debits equal
// credits, the events add up to the balances, and nothing ever goes back.
func TestViewsBesideCommits(t *testing.T) {
	const accounts, entries, readers = 50, 1500, 3
	db, err := store.Open(store.WithSettleEvents(store.Config{Dir: "db", FS: vfs.NewMem()}, 100))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	l, err := ledger.New(db, ledger.Config{})
	if err != nil {
		t.Fatal(err)
	}
	in := make([]ledgerpb.Account, accounts)
	for i := range in {
		in[i] = ledgerpb.Account{Id: u128.From64(uint64(i + 1)), Ledger: 1, Code: 1}
	}
	l.CreateAccounts(1, in, nil)
	db.Commit(&store.Batch{Applied: 1, Changes: l.Changes()})
	l.Reset()

	var done atomic.Bool
	var wg sync.WaitGroup
	for r := range readers {
		wg.Go(func() {
			seen := uint64(0)
			for n := 0; n < 5 || !done.Load(); n++ {
				v, err := db.View()
				if err != nil {
					t.Error(err)
					return
				}
				if r == 0 {
					if report := audit.Run(v); !report.OK() || report.Transfers < seen {
						t.Errorf("audit after %d transfers: %+v", seen, report)
					} else {
						seen = report.Transfers
					}
				} else {
					var debits, credits uint64
					for _, a := range ledger.QueryAccounts(v, &ledgerpb.QueryFilter{Limit: accounts, Ledger: uint32(r - 1)}, nil) {
						debits, credits = debits+a.DebitsPosted.Lo, credits+a.CreditsPosted.Lo
					}
					if debits != credits || debits < seen {
						t.Errorf("debits %d, credits %d, after %d before", debits, credits, seen)
					}
					seen = debits
				}
				if err := v.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Go(func() { // and one that makes it durable, and hands the state on
		for !done.Load() {
			if err := db.Flush(); err != nil {
				t.Error(err)
			}
			flushed := db.Flushed()
			snap, err := db.Snapshot()
			if err != nil {
				t.Error(err)
				return
			}
			if applied := snap.Applied(); applied < flushed {
				t.Errorf("snapshot of %d behind flushed %d", applied, flushed)
			}
			for _, err := range snap.Rows() {
				if err != nil {
					t.Error(err)
				}
			}
			if err := snap.Close(); err != nil {
				t.Error(err)
			}
		}
	})
	clock := uint64(1000)
	for n := range uint64(entries) {
		x := make([]ledgerpb.Transfer, 1+n%40)
		for i := range x {
			r := (clock + uint64(i)) * 0x9e3779b97f4a7c15 >> 20
			x[i] = ledgerpb.Transfer{Id: u128.Int{Hi: clock, Lo: uint64(i)}, DebitAccountId: u128.From64(1 + r%accounts),
				CreditAccountId: u128.From64(1 + (r+1)%accounts), Amount: u128.From64(1 + r%10), Ledger: 1, Code: 1}
		}
		l.CreateTransfers(clock, x, nil)
		clock += uint64(len(x))
		db.Commit(&store.Batch{Applied: 2 + n, Changes: l.Changes()})
		l.Reset()
	}
	done.Store(true)
	wg.Wait()
}
