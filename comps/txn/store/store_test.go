package store_test

import (
	"bytes"
	"encoding/binary"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"virtualservicesinc.com/comps/ledger"
	"virtualservicesinc.com/comps/ledger/audit"
	"virtualservicesinc.com/comps/ledger/memstate"
	"virtualservicesinc.com/comps/txn/store"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/ledgerpb"
)

func TestMain(m *testing.M) {
	flag.Parse()
	// A usual run takes seconds; RRTS_LONG=1 some minutes.
	if checks := flag.Lookup("rapid.checks"); checks.Value.String() == checks.DefValue {
		checks.Value.Set("250")
		if os.Getenv("RRTS_LONG") != "" {
			checks.Value.Set("20000")
		}
	}
	os.Exit(m.Run())
}

// model is what the store should hold: the ledger's rows in memory, as they were
// after every Commit since the last Flush.
type model struct {
	t     *rapid.T
	fs    *vfs.MemFS
	db    *store.DB
	led   *ledger.Ledger
	state *memstate.State // as of now
	past  []moment        // by applied index; past[i].applied ascends
	clock uint64
	last  uint64 // applied
	ids   uint64
}

type moment struct {
	applied uint64
	clock   uint64
	state   *memstate.State
}

func (m *model) config() store.Config {
	return store.WithSettleEvents(store.Config{Dir: "db", FS: m.fs}, rapid.SampledFrom([]int{1, 8, 60, 400}).Draw(m.t, "settle"))
}

func (m *model) open() {
	var err error
	if m.db, err = store.Open(m.config()); err != nil {
		m.t.Fatal(err)
	}
	m.relead()
}

// relead makes the ledger anew over what the store holds.
func (m *model) relead() {
	var err error
	if m.led, err = ledger.New(m.db, ledger.Config{}); err != nil {
		m.t.Fatal(err)
	}
}

func (m *model) pick(n uint64) u128.Int { return u128.From64(rapid.Uint64Range(1, n).Draw(m.t, "id")) }

// entry applies and commits one log entry of random requests.
func (m *model) entry() {
	for range rapid.IntRange(1, 3).Draw(m.t, "requests") {
		switch rapid.IntRange(0, 7).Draw(m.t, "request") {
		case 0:
			in := make([]ledgerpb.Account, rapid.IntRange(1, 4).Draw(m.t, "accounts"))
			for i := range in {
				in[i] = ledgerpb.Account{Id: m.pick(20), Ledger: 1, Code: 1 + uint32(i%2), UserData64: uint64(i % 3), Flags: 8}
			}
			m.led.CreateAccounts(m.clock+1, in, nil)
			m.clock += uint64(len(in))
		case 1:
			m.clock += 1_000_000_000
			m.clock += uint64(m.led.Expire(m.clock+1, 100))
		default:
			in := make([]ledgerpb.Transfer, rapid.IntRange(1, 100).Draw(m.t, "transfers"))
			for i := range in {
				in[i] = m.transfer()
			}
			m.led.CreateTransfers(m.clock+1, in, nil)
			m.clock += uint64(len(in))
		}
	}
	m.commit()
}

func (m *model) transfer() ledgerpb.Transfer {
	r := rapid.Uint64().Draw(m.t, "transfer")
	m.ids++
	x := ledgerpb.Transfer{Id: u128.Int{Hi: m.ids, Lo: r}, DebitAccountId: u128.From64(1 + r%9), CreditAccountId: u128.From64(10 + r>>8%9),
		Amount: u128.From64(r >> 16 % 100), Ledger: 1, Code: 1 + uint32(r>>24%3), UserData128: u128.From64(r >> 32 % 3), UserData32: uint32(r >> 36 % 2)}
	switch r >> 40 % 4 {
	case 0:
		x.Flags, x.Timeout = 2, uint32(r>>44%4)
	case 1:
		if n := len(m.state.AllEvents()); n > 0 {
			e := &m.state.AllEvents()[r>>44%uint64(n)]
			x = ledgerpb.Transfer{Id: x.Id, PendingId: e.Transfer.Id, Flags: 4 << (r >> 43 % 2), Amount: u128.Max}
		}
	}
	return x
}

func (m *model) commit() {
	m.last++
	b := &store.Batch{Applied: m.last, Changes: m.led.Changes(), Stamp: m.clock}
	b.Metas = []store.MetaRow{{Key: "clock", Value: binary.BigEndian.AppendUint64(nil, m.clock)}}
	m.state.Apply(m.led.Changes())
	m.db.Commit(b)
	m.led.Reset()
	m.past = append(m.past, moment{m.last, m.clock, m.state.Clone()})
}

// crash forgets what was not synced, and finds which moment is left.
func (m *model) crash() {
	flushed := m.db.Flushed()
	left := m.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: rapid.IntRange(0, 100).Draw(m.t, "unsynced"), RNG: rand.New(rand.NewPCG(rapid.Uint64().Draw(m.t, "crash"), 0))})
	if err := m.db.Close(); err != nil {
		m.t.Fatal(err)
	}
	m.fs = left
	m.open()
	applied := m.db.Applied()
	if applied < flushed {
		m.t.Fatalf("after the crash applied is %d, %d had been flushed", applied, flushed)
	}
	for i, p := range m.past {
		if p.applied == applied {
			m.past = m.past[:i+1]
			m.state, m.clock, m.last = p.state.Clone(), p.clock, applied
			m.compare()
			return
		}
	}
	m.t.Fatalf("after the crash applied is %d, never committed", applied)
}

// reopen closes the store with or without a flush.
func (m *model) reopen() {
	if rapid.Bool().Draw(m.t, "flush") {
		if err := m.db.Flush(); err != nil {
			m.t.Fatal(err)
		}
		if m.db.Flushed() != m.last {
			m.t.Fatalf("flushed %d of %d", m.db.Flushed(), m.last)
		}
	}
	m.crash()
}

// compare asks a view and the model the same questions.
func (m *model) compare() {
	if err := scrub(m.t, m.db); err != nil {
		m.t.Fatal(err)
	}
	v, err := m.db.View()
	if err != nil {
		m.t.Fatal(err)
	}
	defer v.Close()
	m.same(v, m.state)
	if r := audit.Run(v); !r.OK() {
		m.t.Fatalf("audit: %v", r.Findings)
	}
	if got := v.Meta("clock"); m.last > 0 && binary.BigEndian.Uint64(got) != m.clock {
		m.t.Fatalf("meta row %x, want %d", got, m.clock)
	}
	for i := range uint64(25) {
		var got, want ledgerpb.Account
		if id := u128.From64(i); m.db.Account(id, &got) != m.state.Account(id, &want) || got != want {
			m.t.Fatalf("account %d: got %v, want %v", i, got, want)
		}
	}
	if m.db.LastEvent() != m.state.LastEvent() || m.db.LastAccount() != m.state.LastAccount() {
		m.t.Fatalf("last event %d and account %d, want %d and %d", m.db.LastEvent(), m.db.LastAccount(), m.state.LastEvent(), m.state.LastAccount())
	}
	type known struct {
		ID u128.Int
		At uint64
	}
	var got, want []known
	m.db.TransferIDs(func(id u128.Int, ts uint64) bool { got = append(got, known{id, ts}); return true })
	m.state.TransferIDs(func(id u128.Int, ts uint64) bool { want = append(want, known{id, ts}); return true })
	m.equal("transfer ids", want, got)
	var due, dueWant []uint64
	m.db.Expiring(func(e, ts uint64) bool { due = append(due, e, ts); return true })
	m.state.Expiring(func(e, ts uint64) bool { dueWant = append(dueWant, e, ts); return true })
	m.equal("expiries", dueWant, due)
	for _, e := range m.state.AllEvents() {
		if got, want := m.db.Pending(e.Timestamp), m.state.Pending(e.Timestamp); got != want {
			m.t.Fatalf("pending %d: got %d, want %d", e.Timestamp, got, want)
		}
	}
}

func (m *model) equal(what string, want, got any) {
	m.t.Helper()
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		m.t.Fatalf("%s: %s", what, diff)
	}
}

// same compares the answers to some random queries.
func (m *model) same(got, want ledger.History) {
	for range 3 {
		m.sameOnce(got, want)
	}
}

func (m *model) sameOnce(got, want ledger.History) {
	few := func(n uint64) u128.Int { return u128.From64(rapid.Uint64Range(0, n).Draw(m.t, "filter")) }
	bound := func() uint64 {
		if n := len(m.state.AllEvents()); n > 0 && rapid.Bool().Draw(m.t, "bound") {
			return m.state.AllEvents()[rapid.IntRange(0, n-1).Draw(m.t, "at")].Timestamp
		}
		return 0
	}
	q := ledgerpb.QueryFilter{UserData128: few(2), UserData64: few(1).Lo, UserData32: uint32(few(1).Lo), Ledger: uint32(few(1).Lo), Code: uint32(few(3).Lo),
		TimestampMin: bound(), TimestampMax: bound(), Limit: uint32(rapid.SampledFrom([]int{1, 5, 1000}).Draw(m.t, "limit")), Flags: uint32(few(1).Lo)}
	m.equal("query_accounts", ledger.QueryAccounts(want, &q, nil), ledger.QueryAccounts(got, &q, nil))
	m.equal("query_transfers", ledger.QueryTransfers(want, &q, nil), ledger.QueryTransfers(got, &q, nil))
	f := ledgerpb.AccountFilter{AccountId: few(20), UserData128: q.UserData128, UserData32: q.UserData32, Code: q.Code,
		TimestampMin: q.TimestampMin, TimestampMax: q.TimestampMax, Limit: q.Limit, Flags: uint32(few(7).Lo)}
	m.equal("get_account_transfers", ledger.GetAccountTransfers(want, &f, nil), ledger.GetAccountTransfers(got, &f, nil))
	m.equal("get_account_balances", ledger.GetAccountBalances(want, &f, nil), ledger.GetAccountBalances(got, &f, nil))
	c := ledgerpb.ChangeEventsFilter{TimestampMin: q.TimestampMin, TimestampMax: q.TimestampMax, Limit: q.Limit}
	m.equal("get_change_events", ledger.GetChangeEvents(want, &c, nil), ledger.GetChangeEvents(got, &c, nil))
	ids := []u128.Int{few(20), few(20), few(20)}
	m.equal("lookup_accounts", ledger.LookupAccounts(want, ids, nil), ledger.LookupAccounts(got, ids, nil))
	m.equal("accounts as of a moment", ledger.LookupAccountsAt(want, ids, q.TimestampMax, nil), ledger.LookupAccountsAt(got, ids, q.TimestampMax, nil))
	s := ledgerpb.StatementFilter{AccountId: f.AccountId, TimestampMin: q.TimestampMin, TimestampMax: q.TimestampMax, Limit: q.Limit}
	m.equal("statement", ledger.GetStatement(want, &s), ledger.GetStatement(got, &s))
	if n := len(m.state.AllEvents()); n > 0 {
		ids = append(ids, m.state.AllEvents()[n-1].Transfer.Id, m.state.AllEvents()[n/2].Transfer.Id)
	}
	m.equal("lookup_transfers", ledger.LookupTransfers(want, ids, nil), ledger.LookupTransfers(got, ids, nil))
}

// TestAgainstMemory runs random entries, queries, crashes and state transfers
// against the rows in memory.
func TestAgainstMemory(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &model{t: t, fs: vfs.NewCrashableMem(), state: memstate.New()}
		m.past = []moment{{state: memstate.New()}}
		m.open()
		defer func() { m.db.Close() }()
		type held struct {
			view  store.View
			state *memstate.State
		}
		var views []held
		drop := func() {
			for _, h := range views {
				m.same(h.view, h.state)
				if err := h.view.Close(); err != nil {
					t.Fatal(err)
				}
			}
			views = nil
		}
		for range rapid.IntRange(1, 25).Draw(t, "steps") {
			switch rapid.IntRange(0, 11).Draw(t, "step") {
			case 0:
				drop()
				m.crash()
			case 1:
				drop()
				m.reopen()
			case 2, 3:
				m.compare()
			case 4:
				v, err := m.db.View()
				if err != nil {
					t.Fatal(err)
				}
				views = append(views, held{v, m.state.Clone()})
				m.entry() // the view must not see it, nor what queries build for it
				m.compare()
			case 5:
				drop()
				m.transferState()
			case 6:
				if err := m.db.Flush(); err != nil {
					t.Fatal(err)
				}
			default:
				m.entry()
			}
		}
		drop()
		m.compare()
	})
}

// transferState hands the state to another store, which goes on with it.
func (m *model) transferState() {
	snap, err := m.db.Snapshot()
	if err != nil {
		m.t.Fatal(err)
	}
	other := &model{t: m.t, fs: vfs.NewCrashableMem(), state: memstate.New()}
	other.open()
	for range rapid.IntRange(0, 3).Draw(m.t, "other life") {
		other.entry()
	}
	r, err := other.db.Restore()
	if err != nil {
		m.t.Fatal(err)
	}
	if rapid.Bool().Draw(m.t, "again") { // a first attempt is given up
		if err := r.Add([]store.Row{{Key: []byte{0, 1, 2, 'x'}, Value: []byte("gone")}}); err != nil {
			m.t.Fatal(err)
		}
		if r, err = other.db.Restore(); err != nil {
			m.t.Fatal(err)
		}
	}
	for row, err := range snap.Rows() {
		if err != nil {
			m.t.Fatal(err)
		}
		if err := r.Add([]store.Row{row}); err != nil {
			m.t.Fatal(err)
		}
	}
	if snap.Applied() != m.last {
		m.t.Fatalf("snapshot of %d, want %d", snap.Applied(), m.last)
	}
	if err := snap.Close(); err != nil {
		m.t.Fatal(err)
	}
	if err := r.Switch(); err != nil {
		m.t.Fatal(err)
	}
	if err := m.db.Close(); err != nil {
		m.t.Fatal(err)
	}
	m.db, m.fs = other.db, other.fs
	m.past = []moment{{m.last, m.clock, m.state.Clone()}}
	m.relead()
	m.compare()
	if rapid.Bool().Draw(m.t, "crash after the switch") {
		m.crash()
	}
}

func open(t testing.TB, fs vfs.FS) *store.DB {
	t.Helper()
	db, err := store.Open(store.Config{Dir: "db", FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

// Two stores that took the same Commits have the same snapshot, however they
// settled and whatever was asked of them.
func TestSnapshotsAreEqual(t *testing.T) {
	var first []string
	for _, settle := range []int{1, 7, 100000} {
		rnd := rand.New(rand.NewPCG(7, 7))
		db, err := store.Open(store.WithSettleEvents(store.Config{Dir: "db", FS: vfs.NewMem()}, settle))
		if err != nil {
			t.Fatal(err)
		}
		l, err := ledger.New(db, ledger.Config{})
		if err != nil {
			t.Fatal(err)
		}
		clock := uint64(1)
		for i := range uint64(50) {
			in := make([]ledgerpb.Transfer, 1+rnd.IntN(90))
			accounts := []ledgerpb.Account{{Id: u128.From64(1 + i), Ledger: 1, Code: 1}}
			for j := range in {
				in[j] = ledgerpb.Transfer{Id: u128.Int{Hi: rnd.Uint64()}, DebitAccountId: u128.From64(1 + rnd.Uint64N(i+1)),
					CreditAccountId: u128.From64(1 + rnd.Uint64N(i+1)), Amount: u128.From64(rnd.Uint64N(9)), Ledger: 1, Code: 1, Flags: 2 * uint32(j%2), Timeout: uint32(j % 2)}
			}
			l.CreateAccounts(clock, accounts, nil)
			l.CreateTransfers(clock+1, in, nil)
			clock += 500_000_000
			clock += uint64(l.Expire(clock, 100))
			db.Commit(&store.Batch{Applied: i + 1, Changes: l.Changes(), Stamp: clock})
			l.Reset()
			if settle == 7 && i%10 == 0 {
				v, _ := db.View()
				ledger.GetAccountTransfers(v, &ledgerpb.AccountFilter{AccountId: u128.From64(1), Limit: 10, Flags: 3}, nil)
				v.Close()
			}
		}
		snap, err := db.Snapshot()
		if err != nil {
			t.Fatal(err)
		}
		var rows []string
		for row, err := range snap.Rows() {
			if err != nil {
				t.Fatal(err)
			}
			rows = append(rows, fmt.Sprintf("%x = %x", row.Key, row.Value))
		}
		snap.Close()
		db.Close()
		if first == nil {
			first = rows
		} else if diff := cmp.Diff(first, rows); diff != "" {
			t.Errorf("settled every %d: %s", settle, diff)
		}
	}
	if len(first) < 1000 {
		t.Errorf("only %d rows", len(first))
	}
}

// uuid returns a transaction id that was made at a time.
func uuid(at time.Time, n uint64) u128.Int { return u128.Int{Hi: uint64(at.UnixMilli()) << 16, Lo: n} }

func TestTransactionsLiveTheirTime(t *testing.T) {
	fs := vfs.NewCrashableMem()
	db := open(t, fs)
	led, _ := ledger.New(db, ledger.Config{})
	start := time.Unix(1_700_000_000, 0)
	window := 48 * time.Hour
	index := uint64(0)
	put := func(id u128.Int, now time.Time) {
		index++
		until := now.Add(window)
		db.Commit(&store.Batch{Applied: index, Changes: led.Changes(), Stamp: uint64(now.UnixNano()),
			Txns: []store.Txn{{ID: id, Until: uint64(until.UnixNano()), Row: []byte("row")}}})
	}
	early, late := uuid(start, 1), uuid(start, 2)
	put(early, start)
	put(late, start.Add(40*time.Hour)) // made early, committed late: keeps its hour
	put(u128.Max, start.Add(40*time.Hour))
	for h := 41; h < 120; h++ {
		put(uuid(start.Add(time.Duration(h)*time.Hour), 3), start.Add(time.Duration(h)*time.Hour))
		row, ok := db.Txn(late)
		if must := h <= 88; must && (!ok || !bytes.Equal(row, []byte("row"))) {
			t.Fatalf("hour %d: the row is gone", h)
		} else if h > 90 && ok {
			t.Fatalf("hour %d: the row is still there", h)
		}
		if h == 60 || h == 89 {
			if err := db.Flush(); err != nil {
				t.Fatal(err)
			}
			db.Close()
			db = open(t, fs)
		}
	}
	if _, ok := db.Txn(early); ok {
		t.Error("the row of the same hour is still there")
	}
	if _, ok := db.Txn(u128.Max); ok {
		t.Error("the row of the last hour there is, is still there")
	}
}

func TestUsersAndMetas(t *testing.T) {
	fs := vfs.NewCrashableMem()
	db := open(t, fs)
	led, _ := ledger.New(db, ledger.Config{})
	hash := bytes.Repeat([]byte{7}, 32)
	db.Commit(&store.Batch{Applied: 1, Changes: led.Changes(),
		Users: []store.User{{Number: 3, LoginHash: hash, PublicName: "Ada", Row: []byte("row")}},
		Metas: []store.MetaRow{{Key: "k", Value: []byte("v")}}})
	if err := db.Flush(); err != nil {
		t.Fatal(err)
	}
	db.Close()
	db = open(t, fs)
	row, ok := db.User(3)
	byLogin, ok1 := db.UserByLogin(hash)
	byName, ok2 := db.UserByName("Ada")
	if !ok || !ok1 || !ok2 || string(row) != "row" || byLogin != 3 || byName != 3 || string(db.Meta("k")) != "v" {
		t.Errorf("got %q %v, %d %v, %d %v, %q", row, ok, byLogin, ok1, byName, ok2, db.Meta("k"))
	}
	if _, ok := db.User(4); ok || db.Meta("x") != nil {
		t.Error("found what is not there")
	}
}

func TestOpenTwice(t *testing.T) {
	fs := vfs.NewMem()
	open(t, fs)
	if db, err := store.Open(store.Config{Dir: "db", FS: fs}); err == nil {
		db.Close()
		t.Error("the store was opened twice at once")
	}
}

func TestConfig(t *testing.T) {
	_, err := store.Open(store.Config{CacheBytes: -1})
	const want = "store: Dir is missing\nstore: CacheBytes is -1, must not be negative"
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// Whatever was settled and whatever was not, a crash loses neither balances nor
// ids of what was flushed.
func TestOverlayIsFoundAgain(t *testing.T) {
	fs := vfs.NewCrashableMem()
	cfg := func(fs vfs.FS) store.Config { return store.WithSettleEvents(store.Config{Dir: "db", FS: fs}, 20) }
	db, err := store.Open(cfg(fs))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	l, _ := ledger.New(db, ledger.Config{})
	want := memstate.New()
	clock := uint64(1)
	for i := range uint64(30) {
		accounts := []ledgerpb.Account{{Id: u128.From64(100 + i), Ledger: 1, Code: 1}}
		if i == 0 {
			accounts = append(accounts, ledgerpb.Account{Id: u128.From64(1), Ledger: 1, Code: 1})
		}
		if i%2 == 1 {
			accounts = nil // events follow each other
		}
		l.CreateAccounts(clock, accounts, nil)
		clock += uint64(len(accounts))
		in := make([]ledgerpb.Transfer, 1+i%5)
		for j := range in {
			in[j] = ledgerpb.Transfer{Id: u128.From64(clock), DebitAccountId: u128.From64(1), CreditAccountId: u128.From64(100 + i*uint64(j)%(i+1)&^1), Amount: u128.From64(i + 1), Ledger: 1, Code: 1}
			clock++
		}
		l.CreateTransfers(clock-uint64(len(in)), in, nil)
		want.Apply(l.Changes())
		db.Commit(&store.Batch{Applied: i + 1, Changes: l.Changes()})
		l.Reset()
		db.Settled()
		if err := db.Flush(); err != nil {
			t.Fatal(err)
		}

		again, err := store.Open(cfg(fs.CrashClone(vfs.CrashCloneCfg{})))
		if err != nil {
			t.Fatal(err)
		}
		for id := range uint64(140) {
			var a, b ledgerpb.Account
			if again.Account(u128.From64(id), &a) != want.Account(u128.From64(id), &b) || a != b {
				t.Fatalf("after %d: account %d is %v, want %v", i, id, a, b)
			}
		}
		for id := range clock {
			ts, ok := again.TransferID(u128.From64(id))
			if ts2, ok2 := want.TransferID(u128.From64(id)); ts != ts2 || ok != ok2 {
				t.Fatalf("after %d: transfer %d is at %d, want %d", i, id, ts, ts2)
			}
		}
		if err := again.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
