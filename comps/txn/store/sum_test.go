package store_test

import (
	"errors"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"virtualservicesinc.com/comps/ledger"
	"virtualservicesinc.com/comps/txn/store"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/ledgerpb"
)

// scrub looks through all of a store.
func scrub(t interface {
	Helper()
	Fatal(...any)
}, db *store.DB) error {
	t.Helper()
	s, err := db.Scrub()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for done := false; !done; {
		before := s.Bytes()
		if done, err = s.Step(1000); !done && s.Bytes() == before {
			t.Fatal("a step reads nothing")
		}
	}
	return err
}

// someState commits some of everything.
func someState(t testing.TB, db *store.DB) {
	l, err := ledger.New(db, ledger.Config{})
	if err != nil {
		t.Fatal(err)
	}
	clock := uint64(time.Hour)
	commit := func(b store.Batch) {
		b.Applied, b.Changes, b.Stamp = db.Applied()+1, l.Changes(), clock
		db.Commit(&b)
		l.Reset()
	}
	l.CreateAccounts(clock, []ledgerpb.Account{{Id: account(0), Ledger: 1, Code: 1}, {Id: account(1), Ledger: 1, Code: 1}}, nil)
	commit(store.Batch{})
	for n := range uint64(200) {
		clock += uint64(10 * time.Minute)
		flags := uint32(0)
		if n%3 == 0 {
			flags = uint32(ledgerpb.TransferFlagsPending)
		}
		l.Expire(clock, 100)
		l.CreateTransfers(clock+100, []ledgerpb.Transfer{{Id: u128.From64(n + 1), DebitAccountId: account(0), CreditAccountId: account(1),
			Amount: u128.From64(1), Ledger: 1, Code: 1, Flags: flags, Timeout: flags}}, nil)
		id := uuid(time.Unix(0, int64(clock)), n)
		commit(store.Batch{
			Txns:     []store.Txn{{ID: id, Until: clock + uint64(3*time.Hour), Row: []byte("row")}},
			Users:    []store.User{{Number: n%3 + 1, LoginHash: []byte{byte(n % 3)}, PublicName: string('a' + rune(n%3)), Row: []byte{byte(n)}}, {Number: n%3 + 1, LoginHash: []byte{byte(n % 3)}, PublicName: string('a' + rune(n%3)), Row: []byte{byte(n), 1}}},
			Access:   []store.Access{{Account: account(n % 2), Row: make([]byte, n%4)}, {Account: account(n % 2), Row: make([]byte, n%3)}},
			Outbox:   []store.OutboxRow{{Key: []byte{'e', byte(n % 5)}, Row: make([]byte, n%4)}, {Key: []byte{'q', byte(n % 3)}, Row: []byte{byte(n)}}},
			FirstCSN: n + 1, Spans: []store.Span{{First: clock + 100, Last: clock + 100}}, Notes: []store.Note{{CSN: n + 1, Row: []byte("note")}},
		})
	}
}

// TestScrub: the sum that is kept is that of the rows, at any time and after a crash, and
// tells a row that has changed by itself.
func TestScrub(t *testing.T) {
	fs := vfs.NewCrashableMem()
	cfg := store.WithSettleEvents(store.Config{Dir: "store", FS: fs}, 20)
	db, err := store.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	someState(t, db)
	if err := scrub(t, db); err != nil {
		t.Fatal("a sound store: ", err)
	}
	db.Settled()
	if err := db.Flush(); err != nil {
		t.Fatal(err)
	}
	reopen := func() {
		t.Helper()
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		if db, err = store.Open(cfg); err != nil {
			t.Fatal(err)
		}
	}
	reopen()
	if err := scrub(t, db); err != nil {
		t.Fatal("opened again: ", err)
	}
	if err := db.ForgetSums(); err != nil {
		t.Fatal(err)
	}
	reopen() // as newer software does it with an old store
	if err := scrub(t, db); err != nil {
		t.Fatal("without sums: ", err)
	}
	older := func() {
		db.Commit(&store.Batch{Applied: db.Applied() + 1, Notes: []store.Note{{CSN: 5000, Row: []byte("of older software")}}})
	}
	if err := db.WithoutSums(older); err != nil {
		t.Fatal(err)
	}
	reopen()
	if err := scrub(t, db); err != nil {
		t.Fatal("after older software: ", err)
	}
	reopen()
	if err := scrub(t, db); err != nil {
		t.Fatal("once more: ", err)
	}
	if err := db.Rot(account(1)); err != nil {
		t.Fatal(err)
	}
	if err := scrub(t, db); !errors.Is(err, store.ErrRotten) || !errors.Is(err, store.ErrCorrupt) {
		t.Fatalf("a rotten row: %v", err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}
