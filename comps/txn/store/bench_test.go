package store_test

import (
	"crypto/rand"
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"virtualservicesinc.com/comps/ledger"
	"virtualservicesinc.com/comps/txn/store"
	"virtualservicesinc.com/comps/txn/store/sealfs"
	"virtualservicesinc.com/rrts/journal/keyring"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/ledgerpb"
)

// BenchmarkApply applies and commits entries of simple transfers, with what a
// transaction layer adds to each: a row per transaction and one of its own.
func BenchmarkApply(b *testing.B) {
	for _, c := range []struct{ accounts, perTx, txs int }{
		{10_000, 8192, 1}, // large batches
		{10_000, 1, 64},   // many clients, a payment each
		{1_000_000, 1024, 4},
		{4_000_000, 1024, 4}, // more than memory holds
	} {
		b.Run(fmt.Sprintf("accounts=%d/transfers=%d/txs=%d", c.accounts, c.perTx, c.txs), func(b *testing.B) {
			benchmarkApply(b, uint64(c.accounts), c.perTx, c.txs)
		})
	}
}

func benchmarkApply(b *testing.B, accounts uint64, perTx, txs int) {
	keys, err := keyring.New(rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	db, err := store.Open(store.Config{Dir: b.TempDir(), FS: sealfs.New(vfs.Default, keys, rand.Reader)})
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	l, err := ledger.New(db, ledger.Config{})
	if err != nil {
		b.Fatal(err)
	}
	clock, index := uint64(1), uint64(0)
	commit := func(rows []store.Txn) {
		index++
		db.Commit(&store.Batch{Applied: index, Changes: l.Changes(), Stamp: clock, Txns: rows,
			Metas: []store.MetaRow{{Key: "txn", Value: make([]byte, 120)}}})
		l.Reset()
	}
	for made := uint64(0); made < accounts; {
		in := make([]ledgerpb.Account, min(accounts-made, ledger.MaxEvents))
		for i := range in {
			in[i] = ledgerpb.Account{Id: account(made + uint64(i)), Ledger: 1, Code: 1}
		}
		l.CreateAccounts(clock, in, nil)
		made, clock = made+uint64(len(in)), clock+uint64(len(in))
		commit(nil)
	}
	rows := make([]store.Txn, txs)
	batch := make([]ledgerpb.Transfer, perTx)
	var results []ledger.Result
	b.ReportAllocs()
	b.ResetTimer()
	begin, written := processTime(b), db.Metrics().DiskBytes
	for n := 0; n < b.N; n += perTx * txs {
		for t := range rows {
			for i := range batch {
				r := (clock + uint64(i)) * 0x9e3779b97f4a7c15
				debit := r % accounts
				batch[i] = ledgerpb.Transfer{
					Id: u128.Int{Hi: clock + uint64(i), Lo: r}, DebitAccountId: account(debit), CreditAccountId: account((debit + 1 + r>>40%(accounts-1)) % accounts),
					Amount: u128.From64(1 + r%1000), Ledger: 1, Code: 1,
				}
			}
			results = l.CreateTransfers(clock, batch, results[:0])
			if results[0].Status != 0 {
				b.Fatal(results[0])
			}
			clock += uint64(perTx)
			rows[t] = store.Txn{ID: u128.Int{Hi: clock << 16, Lo: clock}, Until: clock, Row: make([]byte, 50)}
		}
		commit(rows)
	}
	db.Settled()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/(processTime(b)-begin).Seconds(), "transfers/s/core")
	b.Logf("after %d: %+v", b.N, db.Metrics())
	if err := db.Flush(); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(db.Metrics().DiskBytes-written)/float64(b.N), "disk-B/op")
}

// account returns an account's id, of the length that real ones have.
func account(n uint64) u128.Int {
	return u128.Int{Hi: 0x0192_0000_0000_7000 + n<<20, Lo: n * 0x9e3779b97f4a7c15}
}

// processTime is the time that the process has spent on all processors.
func processTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
