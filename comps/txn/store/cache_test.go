package store_test

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"virtualservicesinc.com/comps/ledger"
	"virtualservicesinc.com/comps/txn/store"
	"virtualservicesinc.com/rrts/schema/ledgerpb"
)

// TestCacheWhileRowsGather: what is read is kept also while as much gathers in memory as
// ever does. Pebble takes that out of the room of its cache, down to nothing.
func TestCacheWhileRowsGather(t *testing.T) {
	const accounts, read = 400_000, 100_000 // more than gathers, behind those that are read
	db, err := store.Open(store.Config{Dir: "db", FS: vfs.NewMem(), CacheBytes: 16 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	l, err := ledger.New(db, ledger.Config{})
	if err != nil {
		t.Fatal(err)
	}
	in := make([]ledgerpb.Account, ledger.MaxEvents)
	made := uint64(0)
	for index := uint64(1); made < accounts; index++ {
		for i := range in {
			in[i] = ledgerpb.Account{Id: account(made + uint64(i)), Ledger: 1, Code: 1}
		}
		l.CreateAccounts(made+1, in, nil)
		made += uint64(len(in))
		db.Commit(&store.Batch{Applied: index, Changes: l.Changes(), Stamp: made})
		l.Reset()
		if made >= read && made-uint64(len(in)) < read { // what is read is in files, whatever the disk's pace
			if err := db.Flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	look := func() (hits, misses int64) {
		before := db.Metrics()
		var a ledgerpb.Account
		for n := uint64(0); n < read; n += 1000 {
			if !db.Account(account(n), &a) {
				t.Fatalf("no account %v", account(n))
			}
		}
		after := db.Metrics()
		return after.CacheHits - before.CacheHits, after.CacheMisses - before.CacheMisses
	}
	var hits, misses int64
	for range 20 { // a compaction may just have replaced the files
		if hits, misses = look(); hits > 0 && misses == 0 {
			return
		}
	}
	t.Errorf("again and again: %d blocks were there and %d were not: %+v", hits, misses, db.Metrics())
}
