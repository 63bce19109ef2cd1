package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"virtualservicesinc.com/rrts/client"
	"virtualservicesinc.com/rrts/cmd/rrts/internal/arena"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/ledgerpb"
	"virtualservicesinc.com/rrts/schema/loginpb"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// follower reads a stream and holds on to what it was told.
type follower struct {
	name   string
	client func() (*client.Client, error)
	every  int // events after which it begins anew with another Client; 0: never
	filter *txnpb.EventsFilter

	mu    sync.Mutex
	told  []string
	csn   uint64
	moves int
	err   error
}

func (f *follower) run(ctx context.Context) {
	var at txnpb.Position
	for ctx.Err() == nil && f.err == nil {
		c, err := f.client()
		if err != nil {
			f.err = err
			return
		}
		at = f.follow(ctx, c, at)
		c.Close()
	}
}

// follow reads from a position on, and returns the one that it came to.
func (f *follower) follow(ctx context.Context, c *client.Client, at txnpb.Position) txnpb.Position {
	last := ""
	n := 0
	for e, err := range c.Events(at, f.filter).All(ctx) {
		if err != nil {
			if ctx.Err() == nil {
				f.err = err
			}
			return at
		}
		f.mu.Lock()
		if f.told = append(f.told, eventLine(e)); e.Csn > f.csn {
			f.csn = e.Csn
		}
		if now := c.Session().Gateway; now != last {
			f.moves++
			last = now
		}
		f.mu.Unlock()
		at = e.Position
		if n++; n == f.every {
			return at
		}
	}
	return at
}

func eventLine(e *client.Event) string {
	if a := e.Account; a != nil {
		return fmt.Sprintf("%d account %v", a.Timestamp, a.Id)
	}
	return changeLine(e.Timestamp, e.Type, e.Transfer, e.Debit, e.Credit)
}

func changeLine(ts uint64, kind ledgerpb.ChangeEventType, t *ledgerpb.Transfer, debit, credit *ledgerpb.AccountBalance) string {
	return fmt.Sprintf("%d %v %v of %v with code %d: %v>%v %v, after it %v/%v+%v and %v/%v+%v", ts, kind, t.Id, t.Timestamp, t.Code, t.DebitAccountId, t.CreditAccountId, t.Amount,
		debit.DebitsPosted, debit.CreditsPosted, debit.DebitsPending, credit.DebitsPosted, credit.CreditsPosted, credit.DebitsPending)
}

// ledgerHistory is the ledger's own: its accounts and change events, in the order of their
// timestamps.
func ledgerHistory(ctx context.Context, t *testing.T, op *client.Client) (lines []string) {
	t.Helper()
	a, err := op.Query(ctx, &txnpb.Query{QueryAccounts: &ledgerpb.QueryFilter{Limit: 8192}})
	if err != nil {
		t.Fatal(err)
	}
	for i := range a.Accounts {
		lines = append(lines, fmt.Sprintf("%d account %v", a.Accounts[i].Timestamp, a.Accounts[i].Id))
	}
	for from := uint64(0); ; {
		a, err := op.Query(ctx, &txnpb.Query{GetChangeEvents: &ledgerpb.ChangeEventsFilter{TimestampMin: from, Limit: 8192}})
		if err != nil {
			t.Fatal(err)
		}
		if len(a.Events) == 0 {
			return lines
		}
		for i := range a.Events {
			e := &a.Events[i]
			lines = append(lines, changeLine(e.Timestamp, e.Type,
				&ledgerpb.Transfer{Id: e.TransferId, Timestamp: e.TransferTimestamp, Code: e.TransferCode, DebitAccountId: e.DebitAccountId, CreditAccountId: e.CreditAccountId, Amount: e.TransferAmount},
				&ledgerpb.AccountBalance{DebitsPosted: e.DebitAccountDebitsPosted, CreditsPosted: e.DebitAccountCreditsPosted, DebitsPending: e.DebitAccountDebitsPending},
				&ledgerpb.AccountBalance{DebitsPosted: e.CreditAccountDebitsPosted, CreditsPosted: e.CreditAccountCreditsPosted, DebitsPending: e.CreditAccountDebitsPending}))
			from = e.Timestamp + 1
		}
	}
}

// TestEvents kills the leader, kills and stops gateways, and then restarts all of them in
// turn, under payments and holds that expire: nobody who pays sees an error, and the
// streams of a client, of an auditor, of one that begins anew all the time, and of one with
// a filter tell what the ledger's history says, each event once and in its order.
func TestEvents(t *testing.T) {
	a := newArena(t, 3, nil)
	ctx := run(t, a)
	user := newUser(ctx, t, a)
	kit := a.Kit()
	op, err := a.Operator(ctx, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := op.Register(ctx, &loginpb.RegisterRequest{LoginName: "auditor@books", Password: "a long password", PublicName: "Auditor",
		Role: uint32(message.RoleAuditor), TransactionId: op.NewID()}); err != nil {
		t.Fatal(err)
	}
	op.Close()
	again := func() (*client.Client, error) {
		return client.Open(ctx, client.Config{Gateways: kit.Gateways, RootCAs: kit.Pool(), ClusterID: [16]byte(kit.ID), Token: user.Token()})
	}
	followers := []*follower{
		{name: "client", client: again},
		{name: "auditor", client: func() (*client.Client, error) {
			return a.Login(ctx, arena.User{LoginName: "auditor@books", Password: "a long password"})
		}},
		{name: "one that begins anew", client: again, every: 50},
		{name: "one with a filter", client: again, filter: &txnpb.EventsFilter{AccountIds: []u128.Int{u128.From64(2)}, Code: 2, Kinds: uint32(txnpb.EventKindsTransfers)}},
	}
	listen, quit := context.WithCancel(ctx)
	defer quit()
	var listening sync.WaitGroup
	for _, f := range followers {
		listening.Go(func() { f.run(listen) })
	}

	var stop atomic.Bool
	var last, paid atomic.Uint64
	var paying sync.WaitGroup
	for range 3 {
		c, err := again()
		if err != nil {
			t.Fatal(err)
		}
		paying.Go(func() {
			defer c.Close()
			for n := 0; !stop.Load(); n++ {
				tx := pay(c, 1)
				tx.Transfers[0].Code = uint32(1 + n%3)
				if n%10 == 0 { // nobody settles it
					tx.Transfers[0].Flags, tx.Transfers[0].Timeout = uint32(ledgerpb.TransferFlagsPending), 1
				}
				o, err := c.Submit(ctx, tx)
				if err != nil {
					t.Error(err)
					return
				}
				paid.Add(1)
				for old := last.Load(); o.Csn > old && !last.CompareAndSwap(old, o.Csn); old = last.Load() {
				}
				time.Sleep(time.Duration(rand.IntN(4)) * time.Millisecond)
			}
		})
	}
	leader, err := a.Leader(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for i, end := range []func(int) error{a.Kill, a.Kill, a.Stop} { // every gateway once, the leader's first
		time.Sleep(400 * time.Millisecond)
		victim := (leader + i) % 3
		if err := end(victim); err != nil {
			t.Fatal(err)
		}
		time.Sleep(400 * time.Millisecond)
		if err := a.StartLevel(ctx, victim); err != nil {
			t.Fatal(err)
		}
	}
	for victim := range a.SFUs() { // as an upgrade does it
		if err := a.Stop(victim); err != nil {
			t.Fatal(err)
		}
		time.Sleep(200 * time.Millisecond)
		if err := a.StartLevel(ctx, victim); err != nil {
			t.Fatal(err)
		}
	}
	stop.Store(true)
	paying.Wait()
	time.Sleep(1500 * time.Millisecond) // the last holds expire
	if op, err = a.Operator(ctx, 1); err != nil {
		t.Fatal(err)
	}
	defer op.Close()
	history := ledgerHistory(ctx, t, op)
	told := func(f *follower) []string {
		if f.filter == nil {
			return history
		}
		return slices.DeleteFunc(slices.Clone(history), func(line string) bool {
			return !strings.Contains(line, " with code 2: ") || strings.Contains(line, " "+ledgerpb.ChangeEventTypeTwoPhaseExpired.String()+" ")
		})
	}
	// None is lost, and none is there twice.
	transfers := slices.DeleteFunc(slices.Clone(history), func(line string) bool {
		return strings.Contains(line, " account ") || strings.Contains(line, " "+ledgerpb.ChangeEventTypeTwoPhaseExpired.String()+" ")
	})
	if len(transfers) != int(paid.Load()) {
		t.Errorf("%d payments were answered, the ledger has %d", paid.Load(), len(transfers))
	}
	for _, f := range followers {
		want := told(f)
		deadline := time.Now().Add(10 * time.Second)
		for {
			f.mu.Lock()
			n := len(f.told)
			f.mu.Unlock()
			if n >= len(want) || time.Now().After(deadline) {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	quit()
	listening.Wait()
	expired := 0
	for _, f := range followers {
		if f.err != nil && !errors.Is(f.err, context.Canceled) {
			t.Errorf("%s: %v", f.name, f.err)
		}
		t.Logf("%s: %d events, %d gateways", f.name, len(f.told), f.moves)
		if f.moves < 2 {
			t.Errorf("%s never moved: the test does not test", f.name)
		}
		want := told(f)
		for i := range max(len(f.told), len(want)) {
			var got, expect string
			if i < len(f.told) {
				got = f.told[i]
			}
			if i < len(want) {
				expect = want[i]
			}
			if got != expect {
				t.Errorf("%s, event %d of %d:\n%s\nthe ledger has %d:\n%s", f.name, i, len(f.told), got, len(want), expect)
				break
			}
		}
	}
	for e, err := range op.Events(txnpb.Position{}, &txnpb.EventsFilter{Kinds: uint32(txnpb.EventKindsExpiries)}).Past(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		if expired++; e.Note != nil {
			t.Errorf("an expiry with a note: %v", e)
		}
	}
	if len(history) < 500 || expired < 20 || len(told(followers[3])) < 100 {
		t.Errorf("%d events, %d expiries: the test does not test", len(history), expired)
	}
}
