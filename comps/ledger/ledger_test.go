package ledger_test

import (
	"testing"

	"virtualservicesinc.com/comps/ledger"
	"virtualservicesinc.com/comps/ledger/memstate"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/ledgerpb"
)

func newLedger(t testing.TB, state ledger.State) *ledger.Ledger {
	t.Helper()
	l, err := ledger.New(state, ledger.Config{})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func twoAccounts(t testing.TB, l *ledger.Ledger, flags uint32) {
	t.Helper()
	for i, r := range l.CreateAccounts(1, []ledgerpb.Account{
		{Id: id(1), Ledger: 1, Code: 1, Flags: flags},
		{Id: id(2), Ledger: 1, Code: 1},
	}, nil) {
		if r.Status != 0 {
			t.Fatalf("account %d: %s", i+1, accountStatus(r.Status))
		}
	}
}

func TestConfig(t *testing.T) {
	_, err := ledger.New(memstate.New(), ledger.Config{MaxCachedAccounts: 10, MaxCachedIDs: -1})
	const want = "ledger: MaxCachedAccounts is 10, must be at least 1000\nledger: MaxCachedIDs is -1, must be at least 1000"
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// A pending transfer that was undone leaves nothing behind under its timestamp.
func TestUndoneImportedPending(t *testing.T) {
	l := newLedger(t, memstate.New())
	in := []ledgerpb.Account{{Id: id(1), Ledger: 1, Code: 1, Flags: 16, Timestamp: 1}, {Id: id(2), Ledger: 1, Code: 1, Flags: 16, Timestamp: 2}}
	l.CreateAccounts(100, in, nil)
	x := ledgerpb.Transfer{Id: id(1), DebitAccountId: id(1), CreditAccountId: id(2), Amount: id(5), Ledger: 1, Code: 1, Flags: 256 | 2, Timestamp: 50}
	l.Begin()
	l.CreateTransfers(110, []ledgerpb.Transfer{x}, nil)
	l.Rollback()
	x.Flags = 256
	got := l.CreateTransfers(120, []ledgerpb.Transfer{x, {Id: id(9), Flags: 256, Timestamp: 51}}, nil)
	if got[0] != (ledger.Result{Timestamp: 50}) {
		t.Fatalf("second try: %v", got[0])
	}
	got = l.CreateTransfers(130, []ledgerpb.Transfer{{Id: id(3), PendingId: id(1), Flags: 4, Amount: u128.Max}}, nil)
	if s := transferStatus(got[0].Status); s != "pending_transfer_not_pending" {
		t.Errorf("post of a transfer that is not pending: %s", s)
	}
}

// The caller's contract on stamps is checked.
func TestStampsMustAdvance(t *testing.T) {
	for name, call := range map[string]func(l *ledger.Ledger){
		"same stamp again":  func(l *ledger.Ledger) { l.CreateAccounts(2, make([]ledgerpb.Account, 1), nil) },
		"beyond the last":   func(l *ledger.Ledger) { l.CreateAccounts(ledger.MaxTimestamp, make([]ledgerpb.Account, 2), nil) },
		"too many":          func(l *ledger.Ledger) { l.CreateTransfers(3, make([]ledgerpb.Transfer, ledger.MaxEvents+1), nil) },
		"expire in a scope": func(l *ledger.Ledger) { l.Begin(); l.Expire(3, 1) },
		"reset in a scope":  func(l *ledger.Ledger) { l.Begin(); l.Reset() },
	} {
		l := newLedger(t, memstate.New())
		twoAccounts(t, l, 0)
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			call(l)
		}()
	}
}

// damaged is a State whose index names a transfer that is not there.
type damaged struct{ *memstate.State }

func (damaged) TransferID(u128.Int) (uint64, bool) { return 77, true }
func (damaged) TransferIDs(f func(id u128.Int, ts uint64) bool) {
	_ = f(u128.Max, 77) && f(u128.From64(9), 77)
}
func (damaged) Transfer(ts uint64, t *ledgerpb.Transfer) bool { return false }

func TestDamagedState(t *testing.T) {
	l, err := ledger.New(damaged{memstate.New()}, ledger.Config{})
	if err != nil {
		t.Fatal(err)
	}
	ledger.ShrinkCaches(l, 1) // the window begins at the largest id
	defer func() {
		if _, ok := recover().(*ledger.ReadError); !ok {
			t.Error("want a ReadError")
		}
	}()
	l.CreateTransfers(1, []ledgerpb.Transfer{{Id: id(5)}}, nil)
}
