package ledger_test

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"virtualservicesinc.com/comps/ledger"
	"virtualservicesinc.com/comps/ledger/audit"
	"virtualservicesinc.com/comps/ledger/memstate"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/ledgerpb"
)

func TestMain(m *testing.M) {
	flag.Parse()
	// A usual run takes seconds; RRTS_LONG=1 goes through millions of events.
	if checks := flag.Lookup("rapid.checks"); checks.Value.String() == checks.DefValue {
		checks.Value.Set("1000")
		if os.Getenv("RRTS_LONG") != "" {
			checks.Value.Set("50000")
		}
	}
	os.Exit(m.Run())
}

// few draws one of a few values, the first ones more often.
func few[T any](t *rapid.T, name string, values ...T) T {
	n := rapid.IntRange(0, 2*len(values)-1).Draw(t, name)
	if n >= len(values) {
		n = (n - len(values)) / 2
	}
	return values[n]
}

// one draws true once in n.
func one(t *rapid.T, n int, name string) bool { return rapid.IntRange(0, n-1).Draw(t, name) == n/2 }

func id(n uint64) u128.Int { return u128.From64(n) }

var (
	half  = u128.Int{Hi: 1 << 63}
	most  = u128.Int{Hi: ^uint64(0), Lo: ^uint64(0) - 20}
	large = []u128.Int{id(0), id(10), id(1), id(3), id(25), id(7), u128.Max, half, most}
)

func drawAccount(t *rapid.T, linked, imported bool, clock uint64) ledgerpb.Account {
	a := ledgerpb.Account{
		Id:     id(rapid.Uint64Range(1, 9).Draw(t, "id")),
		Ledger: 1,
		Code:   1,
		Flags:  few(t, "flags", uint32(0), 8, 2, 4),
	}
	if imported {
		a.Flags |= 16
		a.Timestamp = drawPast(t, clock)
	}
	if linked {
		a.Flags |= 1
	}
	if one(t, 8, "odd") {
		switch rapid.IntRange(0, 12).Draw(t, "oddity") {
		case 0:
			a.Id = u128.Int{}
		case 1:
			a.Id = u128.Max
		case 2:
			a.Flags |= 64
		case 3:
			a.Flags |= 6
		case 4:
			a.DebitsPending = id(1)
		case 5:
			a.DebitsPosted = id(1)
		case 6:
			a.CreditsPending, a.CreditsPosted = id(1), id(2)
		case 7:
			a.Ledger, a.Code = 0, few(t, "code", uint32(0), 1)
		case 8:
			a.Flags |= 32
		case 9:
			a.UserData128, a.UserData64, a.UserData32 = few(t, "ud", id(0), id(1)), few(t, "ud", uint64(0), 1), few(t, "ud", uint32(0), 1)
		case 10:
			a.Code = few(t, "code", uint32(0), 65536, 3)
		case 11:
			a.Timestamp, a.CreditsPosted = clock, few(t, "cp", id(0), id(1))
		case 12:
			a.Ledger = 2
		}
	}
	return a
}

// drawPending draws the id of a pending transfer, mostly one that is not resolved.
func (w *world) drawPending() u128.Int {
	for range 6 {
		n := rapid.Uint64Range(1, w.lastID).Draw(w.t, "pending")
		if p, ok := w.naive.transfers[fmt.Sprint(n)]; ok && p.status == "pending" {
			return id(n)
		}
	}
	return id(rapid.Uint64Range(1, w.lastID).Draw(w.t, "pending"))
}

// drawPast draws a timestamp for an imported event: mostly just before the clock.
func drawPast(t *rapid.T, clock uint64) uint64 {
	return few(t, "past", clock+uint64(rapid.IntRange(0, 8).Draw(t, "ahead"))-2, clock-1, clock, clock+1, 0, clock/2, 1<<63, clock+100)
}

func (w *world) drawTransfer(linked, imported bool) ledgerpb.Transfer {
	t, clock := w.t, w.clock
	w.lastID++
	x := ledgerpb.Transfer{
		Id:              id(w.lastID),
		DebitAccountId:  id(rapid.Uint64Range(1, 5).Draw(t, "debit")),
		CreditAccountId: id(rapid.Uint64Range(1, 5).Draw(t, "credit")),
		Amount:          few(t, "amount", large[1:]...),
		Ledger:          1,
		Code:            1,
	}
	if x.CreditAccountId == x.DebitAccountId {
		x.CreditAccountId = id(6)
	}
	if one(t, 4, "again") {
		if old, ok := w.naive.transfers[fmt.Sprint(rapid.Uint64Range(1, w.lastID).Draw(t, "id"))]; ok && rapid.Bool().Draw(t, "same") {
			x = old.Transfer
			if x.Flags&256 == 0 {
				x.Timestamp = 0
			}
			switch rapid.IntRange(0, 12).Draw(t, "different") {
			case 1:
				x.Flags ^= 2
			case 2:
				x.PendingId = id(3)
			case 3:
				x.Timeout++
			case 4:
				x.DebitAccountId = few(t, "debit", id(0), id(1))
			case 5:
				x.CreditAccountId = few(t, "credit", id(0), id(1))
			case 6:
				x.Amount = few(t, "amount", large...)
			case 7:
				x.UserData128 = few(t, "ud", id(0), id(1))
			case 8:
				x.UserData64 = few(t, "ud", uint64(0), 1)
			case 9:
				x.UserData32 = few(t, "ud", uint32(0), 1)
			case 10:
				x.Ledger = few(t, "ledger", uint32(0), 2)
			case 11:
				x.Code = few(t, "code", uint32(0), 2)
			}
			return x
		}
		x.Id = id(rapid.Uint64Range(1, w.lastID).Draw(t, "id"))
	}
	switch rapid.IntRange(0, 9).Draw(t, "kind") {
	case 0, 1, 2:
		x.Flags = 2
		x.Timeout = few(t, "timeout", uint32(0), 1, 2, 3)
		if one(t, 4, "closing") {
			x.Amount = u128.Int{}
			x.Flags |= few(t, "closes", uint32(64), 128, 192)
		}
	case 3, 4, 5, 6:
		x.Flags = few(t, "resolve", uint32(4), 8)
		x.PendingId = w.drawPending()
		x.Amount = few(t, "amount", large...)
		if x.Flags == 4 {
			x.Amount = few(t, "amount", u128.Max, id(0), id(1), id(3), id(10), id(25), half)
		}
		if one(t, 3, "user data") {
			x.UserData128, x.UserData64, x.UserData32 = id(9), 8, 7
		}
		if !one(t, 4, "spelled out") {
			x.DebitAccountId, x.CreditAccountId = u128.Int{}, u128.Int{}
			x.Ledger, x.Code = 0, 0
		} else if p, ok := w.naive.transfers[x.PendingId.String()]; ok {
			x.DebitAccountId, x.CreditAccountId, x.Ledger, x.Code = p.DebitAccountId, p.CreditAccountId, p.Ledger, p.Code
			switch rapid.IntRange(0, 8).Draw(t, "wrong") {
			case 1:
				x.DebitAccountId = id(9)
			case 2:
				x.CreditAccountId = id(9)
			case 3:
				x.Ledger = 2
			case 4:
				x.Code = 2
			}
		}
	}
	if x.Flags&12 == 0 && one(t, 6, "balancing") {
		x.Flags |= few(t, "balance", uint32(16), 32, 48)
	}
	if imported {
		x.Flags |= 256
		x.Timestamp = drawPast(t, clock)
		if n := len(w.naive.events); w.imports && n > 0 && !one(t, 3, "past") {
			// Right behind the newest event, on either side of the accounts' own times.
			x.Timestamp = w.naive.events[n-1].at + uint64(rapid.IntRange(0, 3).Draw(t, "behind"))
		} else if w.imports && n == 0 {
			x.Timestamp = clock/2 + uint64(rapid.IntRange(0, 20).Draw(t, "behind"))
		}
	}
	if linked {
		x.Flags |= 1
	}
	if one(t, 10, "odd") {
		switch rapid.IntRange(0, 11).Draw(t, "oddity") {
		case 0:
			x.Id = few(t, "bad id", u128.Int{}, u128.Max)
		case 1:
			x.Flags |= few(t, "flag", uint32(512), 12, 2, 64, 16)
		case 2:
			x.DebitAccountId = few(t, "bad debit", u128.Int{}, u128.Max, id(99))
		case 3:
			x.CreditAccountId = few(t, "bad credit", u128.Int{}, u128.Max, id(99))
		case 4:
			x.PendingId = few(t, "bad pending", id(1), u128.Max, x.Id, u128.Int{}, id(999))
		case 5:
			x.Timeout = few(t, "bad timeout", uint32(1), 1<<32-1)
		case 6:
			x.Ledger = few(t, "bad ledger", uint32(0), 3)
		case 7:
			x.Code = few(t, "bad code", uint32(0), 65536)
		case 8:
			x.Timestamp = clock
		case 9:
			x.UserData128 = id(1)
		case 10:
			x.UserData64 = 1
		case 11:
			x.UserData32 = 1
		}
	}
	return x
}

// world is the ledger and the naive model side by side.
type world struct {
	t       *rapid.T
	state   *memstate.State
	ledger  *ledger.Ledger
	naive   *naive
	clock   uint64
	events  int
	lastID  uint64
	imports bool           // a ledger that is moved here from elsewhere: half of its transfers are imported
	seen    map[string]int // statuses
}

func (w *world) open() {
	var err error
	if w.ledger, err = ledger.New(w.state, ledger.Config{}); err != nil {
		w.t.Fatal(err)
	}
	ledger.ShrinkCaches(w.ledger, 4)
}

// same fails unless the results agree with the model's.
func (w *world) same(what string, got []ledger.Result, name func(uint32) string, status []string, at []uint64) {
	for i, r := range got {
		if name(r.Status) != status[i] || r.Timestamp != at[i] {
			w.t.Fatalf("%s: event %d: got %s at %d, want %s at %d", what, i, name(r.Status), r.Timestamp, status[i], at[i])
		}
	}
	if len(got) != len(status) {
		w.t.Fatalf("%s: %d results for %d events", what, len(got), len(status))
	}
	w.events += len(got)
	for _, s := range status {
		w.seen[s]++
	}
}

func accountStatus(s uint32) string  { return ledgerpb.CreateAccountStatus(s).String() }
func transferStatus(s uint32) string { return ledgerpb.CreateTransferStatus(s).String() }

func (w *world) accounts() {
	n := rapid.IntRange(1, 6).Draw(w.t, "accounts")
	importing := one(w.t, 4, "importing")
	in := make([]ledgerpb.Account, n)
	for i := range in {
		in[i] = drawAccount(w.t, one(w.t, 4, "linked") && (i < n-1 || one(w.t, 6, "open")), importing != one(w.t, 40, "mixed"), w.clock)
	}
	status, at := w.naive.createAccounts(w.clock+1, in)
	got := w.ledger.CreateAccounts(w.clock+1, in, nil)
	w.clock += uint64(n)
	w.same(fmt.Sprintf("accounts %v", in), got, accountStatus, status, at)
}

func (w *world) transfers() {
	n := rapid.IntRange(1, 8).Draw(w.t, "transfers")
	importing := one(w.t, 12, "importing") || w.imports && rapid.Bool().Draw(w.t, "importing too")
	in := make([]ledgerpb.Transfer, n)
	for i := range in {
		in[i] = w.drawTransfer(one(w.t, 4, "linked") && (i < n-1 || one(w.t, 6, "open")), importing != one(w.t, 60, "mixed"))
	}
	status, at := w.naive.createTransfers(w.clock+1, in)
	got := w.ledger.CreateTransfers(w.clock+1, in, nil)
	w.clock += uint64(n)
	w.same(fmt.Sprintf("transfers %v", in), got, transferStatus, status, at)
}

// begin creates the accounts that the transfers want.
func (w *world) begin() {
	in := make([]ledgerpb.Account, 6)
	for i := range in {
		in[i] = ledgerpb.Account{Id: id(uint64(i + 1)), Ledger: 1, Code: 1, Flags: few(w.t, "flags", uint32(0), 8, 2, 4, 8|2, 8|4)}
		if one(w.t, 30, "closed") {
			in[i].Flags |= 32
		}
		if w.imports && w.clock > 10 {
			in[i].Flags |= 16
			in[i].Timestamp = w.clock/2 + 3*uint64(i) // transfers can be imported behind it, and between
		}
	}
	if one(w.t, 4, "other ledger") {
		in[5].Ledger = 2
	}
	status, at := w.naive.createAccounts(w.clock+1, in)
	got := w.ledger.CreateAccounts(w.clock+1, in, nil)
	w.clock += 6
	w.same("accounts", got, accountStatus, status, at)
}

// atomic runs some requests that are kept or undone together.
func (w *world) atomic() {
	keep := rapid.Bool().Draw(w.t, "keep")
	before := w.naive.clone()
	w.ledger.Begin()
	for range rapid.IntRange(1, 3).Draw(w.t, "requests") {
		if one(w.t, 4, "accounts") {
			w.accounts()
		} else {
			w.transfers()
		}
	}
	if keep {
		w.ledger.Commit()
	} else {
		w.ledger.Rollback()
		*w.naive = *before
	}
}

func (w *world) tick() {
	if w.clock > 1<<63-1_100_000_000 {
		return
	}
	if next := w.naive.nextExpiry(); next > w.clock+10 && rapid.Bool().Draw(w.t, "just before") {
		w.clock = next - uint64(rapid.IntRange(0, 6).Draw(w.t, "before"))
	} else {
		w.clock += few(w.t, "tick", uint64(1_000_000_000), 999_999_999, 3, 400_000_000)
	}
	if one(w.t, 3, "no pulse") {
		return
	}
	most := few(w.t, "most", 8192, 1, 2)
	want := w.naive.expire(w.clock+1, most)
	if got := w.ledger.Expire(w.clock+1, most); got != want {
		w.t.Fatalf("Expire(%d, %d) = %d, want %d", w.clock+1, most, got, want)
	}
	w.clock += uint64(want)
	w.events += want
}

// drain hands the changes to the state and compares all rows with the model's.
func (w *world) drain() {
	w.state.Apply(w.ledger.Changes())
	w.ledger.Reset()
	if one(w.t, 10, "reopen") {
		w.open()
	}
	w.compare()
	if one(w.t, 4, "queries") {
		w.queries()
		if r := audit.Run(w.state); !r.OK() {
			w.t.Fatalf("audit: %v", r.Findings)
		}
	}
}

func (w *world) compare() {
	accounts := 0
	w.state.Accounts(func(a *ledgerpb.Account) {
		accounts++
		if diff := cmp.Diff(w.naive.accounts[a.Id.String()].row(), *a); diff != "" {
			w.t.Fatalf("account %v: %s", a.Id, diff)
		}
	})
	if accounts != len(w.naive.accounts) {
		w.t.Fatalf("%d accounts, want %d", accounts, len(w.naive.accounts))
	}
	events := w.state.AllEvents()
	if len(events) != len(w.naive.events) {
		w.t.Fatalf("%d events, want %d", len(events), len(w.naive.events))
	}
	for i := range events {
		got, want := &events[i], w.naive.events[i]
		if got.Timestamp != want.at || got.Type.String() != want.kind ||
			got.Transfer.Id != want.transfer.Id || got.Transfer.Amount != want.transfer.Amount ||
			sideString(&got.Debit) != want.dr || sideString(&got.Credit) != want.cr ||
			(got.Debit.Flags&32 != 0) != want.drClosed || (got.Credit.Flags&32 != 0) != want.crClosed {
			w.t.Fatalf("event %d: got %+v, want %+v", i, *got, want)
		}
	}
	if got, want := w.ledger.NextExpiry(), w.naive.nextExpiry(); got != want {
		w.t.Fatalf("next expiry %d, want %d", got, want)
	}
}

// TestAgainstNaive runs random requests against Ledger and the naive model.
func TestAgainstNaive(t *testing.T) {
	total, seen := 0, map[string]int{}
	rapid.Check(t, func(t *rapid.T) {
		w := &world{t: t, state: memstate.New(), naive: newNaive(), seen: seen, clock: few(t, "start", uint64(0), 0, 0, 20, 1<<63-2_500_000_000)}
		if w.imports = one(t, 4, "imports"); w.imports {
			w.clock = few(t, "imports start", uint64(1_000_000), 40, 10_000_000_000)
		}
		w.open()
		w.begin()
		for range rapid.IntRange(1, 120).Draw(t, "steps") {
			switch rapid.IntRange(0, 11).Draw(t, "step") {
			case 0:
				w.accounts()
			case 1, 2:
				w.tick()
			case 3, 4:
				w.drain()
			case 5, 6:
				w.atomic()
			default:
				w.transfers()
			}
		}
		w.drain()
		total += w.events
	})
	t.Logf("%d events: %v", total, seen)
}
