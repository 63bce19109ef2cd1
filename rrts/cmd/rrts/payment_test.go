package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"virtualservicesinc.com/comps/payment/sandbox"
	"virtualservicesinc.com/rrts/client"
	"virtualservicesinc.com/rrts/cmd/rrts/internal/arena"
	"virtualservicesinc.com/rrts/config"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/enginepb"
	"virtualservicesinc.com/rrts/schema/ledgerpb"
	"virtualservicesinc.com/rrts/schema/paymentpb"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// The accounts of the tests of payments.
var paymentClearing, paymentMerchant = u128.From64(1001), u128.From64(2001)

// configurePayments gives every SFU a sandbox, whose books they share.
func configurePayments(t *testing.T, a *arena.Arena, books string) {
	t.Helper()
	p := &config.PaymentProvider{Name: "sandbox", Kind: config.PaymentKindSandbox, Currency: "eur", Ledger: 978, Code: 7, Clearing: "1001", Settled: "1002", Fees: "1003",
		Parallel: 16, Timeout: 200 * time.Millisecond, Attempts: 1000, Poll: 500 * time.Millisecond, Reconcile: time.Hour, ReconcileBack: 24 * time.Hour,
		Sandbox: config.PaymentSandbox{Books: books, SettleAfter: time.Second}}
	for i := range a.SFUs() {
		path := filepath.Join(a.ConfigDir(i), "payment", "sandbox.toml")
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, p.Marshal(), 0o640); err != nil {
			t.Fatal(err)
		}
	}
}

// openPaymentAccounts opens the accounts, and waits until effects can be owed.
func openPaymentAccounts(ctx context.Context, t *testing.T, op *client.Client) *paymentpb.Provider {
	t.Helper()
	tx := op.Transaction()
	for id := range 3 {
		tx.Accounts = append(tx.Accounts, ledgerpb.Account{Id: u128.From64(uint64(1001 + id)), Ledger: 978, Code: 1})
	}
	tx.Accounts = append(tx.Accounts, ledgerpb.Account{Id: paymentMerchant, Ledger: 978, Code: 1})
	if _, err := op.Submit(ctx, tx); err != nil {
		t.Fatal(err)
	}
	ready, late := context.WithTimeout(ctx, 30*time.Second)
	defer late()
	var at *paymentpb.Provider
	waitFor(t, ready, func() (err error) {
		at, err = op.Provider(ctx, "sandbox")
		return err
	})
	waitFor(t, ready, func() error { // a cluster that was just made refuses effects for a moment
		tx := op.Transaction()
		tx.Effects = []txnpb.Effect{{Service: paymentpb.EffectService, Target: "sandbox", Operation: "void"}}
		o, err := op.Submit(ctx, tx)
		if o != nil && o.State == txnpb.StateRefused {
			return err
		}
		return nil
	})
	return at
}

// cards is how customers of TestPayments pay, and how much of 1000 is to be taken of each in
// the end; -1: the payment is given up instead.
var cards = []struct {
	token   string
	capture int
}{
	{"visa", 1000}, {"visa", 400}, {"visa", -1}, {"visa,authorize:decline", 0},
	{"visa,authorize:timeout-after,capture:error-after*2", 1000}, {"visa,authorize:error*2,capture:timeout-after", 300},
	{"visa,authorize:timeout-after,capture:error-after,find:blind*", 1000}, {"visa,void:timeout-after", -1},
}

// TestPayments makes payments on three SFUs while these, and the Component that does them,
// are killed at random: at the end the provider has charged what the ledger says, exactly.
// RRTS_PAYMENTS is how many there are, 48 by default.
func TestPayments(t *testing.T) {
	count := 48
	if v, err := strconv.Atoi(os.Getenv("RRTS_PAYMENTS")); err == nil {
		count = v
	}
	books := t.TempDir()
	a := newArena(t, 3, nil)
	configurePayments(t, a, books)
	run(t, a)
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute+time.Duration(count)*200*time.Millisecond)
	defer cancel()
	op, err := a.Operator(ctx, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer op.Close()
	at := openPaymentAccounts(ctx, t, op)
	// The operator's connection must not go with an SFU that is killed.
	user, err := arena.Register(ctx, op, 1)
	if err != nil {
		t.Fatal(err)
	}
	till, err := a.Login(ctx, user[0])
	if err != nil {
		t.Fatal(err)
	}
	defer till.Close()
	tx := op.Transaction()
	for _, id := range []u128.Int{paymentClearing, paymentMerchant} {
		tx.Access = append(tx.Access, client.Grant(id, till.Session().User, txnpb.AccessRightsOwner))
	}
	if _, err := op.Submit(ctx, tx); err != nil {
		t.Fatal(err)
	}
	w := &wreckage{t: t, a: a, rng: rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 0))}
	stop := make(chan struct{})
	var wrecking sync.WaitGroup
	restarts := 0
	wrecking.Go(func() { restarts = w.payments(ctx, stop) })
	want, net := payAll(ctx, t, till, at, count)
	close(stop)
	wrecking.Wait()

	s, err := sandbox.Open(sandbox.Config{Dir: books, SettleAfter: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	totals, err := s.Totals()
	if err != nil {
		t.Fatal(err)
	}
	for id, amount := range want {
		if got := totals.Captured[id]; len(got) != 1 || got[0].Captured != amount {
			t.Errorf("payment %v: the provider has charged %v, want %d once", id, got, amount)
		}
	}
	if len(totals.Captured) != len(want) || totals.Authorized != 0 {
		t.Errorf("the provider has %d charges and holds %d, want %d and 0", len(totals.Captured), totals.Authorized, len(want))
	}
	merchant, err := till.LookupAccounts(ctx, paymentMerchant)
	if err != nil || merchant[0].CreditsPosted.Lo-merchant[0].DebitsPosted.Lo != net || !merchant[0].CreditsPending.IsZero() || !merchant[0].DebitsPending.IsZero() {
		t.Errorf("the merchant has %v, want %d and nothing held: %v", merchant, net, err)
	}
	t.Logf("%d payments, %d charges, %d calls, %d of them again, while %d SFUs were killed and %d Components", count, len(want), totals.Calls, totals.Repeats, w.sfus, restarts)
	if w.sfus == 0 || restarts == 0 {
		t.Error("not everything was killed")
	}
	waitFor(t, ctx, func() error { // the SFU may have just been started again
		last, err := a.Operator(ctx, 1)
		if err != nil {
			return err
		}
		defer last.Close()
		out, err := paymentpb.PaymentsClient{Caller: last}.Reconcile(ctx, &paymentpb.ReconcileRequest{Provider: "sandbox"})
		if err == nil && (len(out.Differences) > 0 || out.UnderWay > 0 || out.Payments != uint64(count) || out.HereNet != net || out.ThereNet != net) {
			t.Errorf("ledger and provider differ: %v", out)
		}
		return err
	})
}

// payAll makes payments and brings each to its end. It returns what the provider must have
// charged, and what the merchant must have.
func payAll(ctx context.Context, t *testing.T, till *client.Client, at *paymentpb.Provider, count int) (want map[u128.Int]uint64, net uint64) {
	var mu sync.Mutex
	want = map[u128.Int]uint64{}
	work := make(chan int)
	go func() {
		defer close(work)
		for n := range count {
			work <- n
		}
	}()
	var workers sync.WaitGroup
	for range 16 {
		workers.Go(func() {
			for n := range work {
				card := cards[n%len(cards)]
				p, err := client.NewPayment(at, till.NewID(), paymentMerchant, 1000, card.token)
				if err != nil {
					t.Error(err)
					return
				}
				refunded, err := payOne(ctx, till, p, card.capture, n)
				if err != nil {
					t.Errorf("payment %d, %s: %v", n, card.token, err)
					continue
				}
				mu.Lock()
				if card.capture > 0 {
					want[p.ID] = uint64(card.capture)
					net += uint64(card.capture) - refunded
				}
				mu.Unlock()
			}
		})
	}
	workers.Wait()
	return want, net
}

// payOne makes one payment: some in one transaction, some in steps, some with a refund.
func payOne(ctx context.Context, till *client.Client, p *client.Payment, capture, n int) (refunded uint64, err error) {
	submit := func(e txnpb.Effect, transfers ...ledgerpb.Transfer) error {
		tx := till.Transaction()
		tx.Transfers, tx.Effects = transfers, []txnpb.Effect{e}
		if _, err := till.Submit(ctx, tx); err != nil {
			return err
		}
		_, err := till.Completed(ctx, tx.Id)
		return err
	}
	end := p.Void()
	if capture > 0 {
		end = p.Capture(uint64(capture))
	}
	authorize := p.Authorize()
	atOnce := n/len(cards)%2 == 0
	if atOnce {
		authorize.Done = &txnpb.Continuation{Effects: []txnpb.Effect{end}}
	}
	err = submit(authorize, p.Hold())
	if capture == 0 { // a declined card
		var not *client.NotCompletedError
		if !errors.As(err, &not) || !strings.Contains(err.Error(), "declined") {
			return 0, fmt.Errorf("not declined: %w", err)
		}
		return 0, nil
	}
	if err == nil && !atOnce {
		err = submit(end)
	}
	if err == nil && capture > 0 && n%3 == 0 {
		refunded = uint64(capture) / 4
		hold, refund := p.Refund(till.NewID(), refunded)
		err = submit(refund, hold)
	}
	return refunded, err
}

// payments kills SFUs, and the payment Components of others, until stop: each at least once.
func (w *wreckage) payments(ctx context.Context, stop <-chan struct{}) (restarts int) {
	for n := 0; ; n++ {
		select {
		case <-time.After(time.Duration(300+w.rng.IntN(700)) * time.Millisecond):
		case <-stop:
			if w.sfus > 0 && restarts > 0 {
				return restarts
			}
		}
		if n%2 == 1 {
			w.sfu(ctx)
			continue
		}
		i := w.rng.IntN(w.a.SFUs())
		op, err := w.a.Operator(ctx, i)
		if err != nil {
			continue
		}
		if _, err := (enginepb.EngineClient{Caller: op.To(w.a.Number(i))}).Restart(ctx, &enginepb.RestartRequest{Component: "payment"}); err == nil {
			restarts++
		}
		op.Close()
	}
}

// TestPaymentCards: a card's number gets no further than the leader, from whoever sends it.
func TestPaymentCards(t *testing.T) {
	a := newArena(t, 1, nil)
	configurePayments(t, a, t.TempDir())
	ctx := run(t, a)
	op, err := a.Operator(ctx, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer op.Close()
	at := openPaymentAccounts(ctx, t, op)
	if _, err := client.NewPayment(at, op.NewID(), paymentMerchant, 1000, "4111-1111-1111-1111"); err == nil || strings.Contains(err.Error(), "1111") {
		t.Errorf("the SDK takes a card's number for a token: %v", err)
	}
	for field, put := range map[string]func(tx *txnpb.Transaction, p *client.Payment){
		"memo": func(tx *txnpb.Transaction, _ *client.Payment) { tx.Memo = "4111 1111 1111 1111" },
		`metadata, label "note"`: func(tx *txnpb.Transaction, _ *client.Payment) {
			tx.Metadata = []txnpb.Label{{Name: "note", Value: []byte("4111111111111111")}}
		},
		`effect 0: argument "token"`: func(tx *txnpb.Transaction, p *client.Payment) {
			p.Token = "4111111111111111"
			tx.Effects = []txnpb.Effect{p.Authorize()}
		},
	} {
		p, err := client.NewPayment(at, op.NewID(), paymentMerchant, 1000, "visa")
		if err != nil {
			t.Fatal(err)
		}
		tx := op.Transaction()
		tx.Transfers, tx.Effects = []ledgerpb.Transfer{p.Hold()}, []txnpb.Effect{p.Authorize()}
		put(tx, p)
		o, err := op.Submit(ctx, tx)
		if o == nil || o.State != txnpb.StateRefused || !strings.Contains(o.Reason, field+": a card's number") || strings.Contains(o.Reason, "1111") {
			t.Errorf("%s: %v, %v", field, o, err)
		}
		if got, err := op.Status(ctx, tx.Id); err != nil || got.State != txnpb.StateUnknown {
			t.Errorf("%s: the log has it: %v, %v", field, got, err)
		}
	}
	t.Run("scripts", func(t *testing.T) {
		scripts(t, "testdata/payment", "CONFIG="+a.ConfigDir(0))
	})
}
