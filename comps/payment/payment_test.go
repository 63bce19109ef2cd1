package payment

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"virtualservicesinc.com/comps/effects/effectstest"
	"virtualservicesinc.com/comps/payment/life"
	"virtualservicesinc.com/comps/payment/sandbox"
	"virtualservicesinc.com/rrts/client"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/ledgerpb"
	"virtualservicesinc.com/rrts/schema/paymentpb"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// The accounts of the shop.
var (
	clearing, payouts, fees, merchant = u128.From64(10), u128.From64(11), u128.From64(12), u128.From64(100)
	accounts                          = life.Accounts{Ledger: 978, Code: 7, Clearing: clearing, Settled: payouts, Fees: fees}
)

// shop is a cluster with the Component and a sandbox.
type shop struct {
	*effectstest.Cluster
	t        *testing.T
	books    sandbox.Config
	provider *paymentpb.Provider
	comp     *Component
	ids      atomic.Uint64
}

func newShop(t *testing.T, change func(*ProviderConfig)) *shop {
	s := &shop{Cluster: effectstest.New(t), t: t, books: sandbox.Config{Dir: t.TempDir(), SettleAfter: time.Hour},
		provider: &paymentpb.Provider{Name: "sand", Ledger: 978, Code: 7, ClearingAccount: clearing, SettledAccount: payouts, FeesAccount: fees}}
	tx := &txnpb.Transaction{}
	for _, id := range []u128.Int{clearing, payouts, fees, merchant} {
		tx.Accounts = append(tx.Accounts, ledgerpb.Account{Id: id, Ledger: 978, Code: 1})
	}
	s.commit(tx)
	s.start(change)
	return s
}

func (s *shop) start(change func(*ProviderConfig)) {
	s.t.Helper()
	cfg := ProviderConfig{Name: "sand", Kind: Sandbox, Currency: "eur", Accounts: accounts, Books: s.books, Timeout: 20 * time.Millisecond,
		RetryFirst: time.Millisecond, RetryMost: 10 * time.Millisecond, Attempts: 6, Poll: time.Hour, Reconcile: time.Hour}
	if change != nil {
		change(&cfg)
	}
	s.books = cfg.Books
	s.comp = New([]ProviderConfig{cfg}, nil)
	if err := s.comp.Provision(s.Host(1).Engine()); err != nil {
		s.t.Fatal(err)
	}
	if err := s.comp.Start(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(s.comp.Stop)
}

func (s *shop) commit(tx *txnpb.Transaction) *txnpb.Outcome {
	s.t.Helper()
	o := s.Submit(message.RoleOperator, tx)
	if o.State != txnpb.StateCommitted {
		s.t.Fatalf("not committed: %v", o)
	}
	return o
}

func (s *shop) newID() u128.Int {
	return u128.Int{Hi: uint64(time.Now().UnixMilli())<<16 | 7<<12, Lo: s.ids.Add(1)}
}

func (s *shop) payment(amount uint64, token string) *client.Payment {
	s.t.Helper()
	p, err := client.NewPayment(s.provider, s.newID(), merchant, amount, token)
	if err != nil {
		s.t.Fatal(err)
	}
	return p
}

// done waits until the effects of a transaction have come to an end, and returns why the
// first failed, "" when none did.
func (s *shop) done(o *txnpb.Outcome) string {
	s.t.Helper()
	c := s.Completion(o)
	eventually(s.t, "effects that have ended", func() bool {
		c = s.Completion(o)
		return c.Owed == c.Done+c.Failed+c.Discarded || c.Quarantined > 0
	})
	for _, e := range c.Ends {
		if e.State != txnpb.EffectStateDone {
			return e.Operation + ": " + e.Reason
		}
	}
	if c.Quarantined > 0 {
		return "quarantine: " + s.Outbox(&txnpb.OutboxFilter{Service: paymentpb.EffectService, AnyTarget: true, Limit: 10, Quarantined: true}).Effects[0].Reason
	}
	return ""
}

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 20 s: %s", what)
		}
	}
}

// create submits a payment with what follows its authorization.
func (s *shop) create(p *client.Payment, next ...txnpb.Effect) *txnpb.Outcome {
	s.t.Helper()
	e := p.Authorize()
	if len(next) > 0 {
		e.Done = &txnpb.Continuation{Effects: next}
	}
	return s.commit(&txnpb.Transaction{Transfers: []ledgerpb.Transfer{p.Hold()}, Effects: []txnpb.Effect{e}})
}

func (s *shop) owe(e txnpb.Effect, transfers ...ledgerpb.Transfer) *txnpb.Outcome {
	s.t.Helper()
	return s.commit(&txnpb.Transaction{Transfers: transfers, Effects: []txnpb.Effect{e}})
}

func (s *shop) show(p *client.Payment) string {
	s.t.Helper()
	got, err := s.comp.desks[0].book.payment(s.t.Context(), p.ID)
	if err != nil {
		s.t.Fatal(err)
	}
	return fmt.Sprintf("%s %d/%d-%d", got.Word(), got.Captured, got.Amount, got.Refunded)
}

// other opens the books beside the Component, as whoever works at the provider's own desk.
func (s *shop) other() *sandbox.Sandbox {
	s.t.Helper()
	b, err := sandbox.Open(s.books)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { b.Close() })
	return b
}

// balance is what an account has: posted credits less posted debits, and what is held.
func (s *shop) balance(id u128.Int) string {
	a := s.Account(id)
	return fmt.Sprintf("%d/%d", int64(a.CreditsPosted.Lo)-int64(a.DebitsPosted.Lo), int64(a.CreditsPending.Lo)-int64(a.DebitsPending.Lo))
}

// TestLife: a payment is held, authorized, captured in part, refunded in part and whole, and
// paid out; the ledger and the provider's books say the same at each step.
func TestLife(t *testing.T) {
	s := newShop(t, func(c *ProviderConfig) { c.Books.SettleAfter = 0 })
	of := s.comp.desks[0]
	d := &desk{cfg: of.cfg, provider: of.provider, book: of.book, watch: watch{seen: map[string]time.Time{}}} // as a process that comes after it
	p := s.payment(1000, "visa")
	o := s.create(p)
	if got := s.balance(merchant); got != "0/1000" {
		t.Errorf("the merchant has %s, want 1000 held", got)
	}
	step := func(want, merchantHas string, fault string) {
		t.Helper()
		if fault != "" {
			t.Errorf("it failed: %s", fault)
		}
		if got := s.show(p); got != want {
			t.Errorf("the payment is %s, want %s", got, want)
		}
		if got := s.balance(merchant); got != merchantHas {
			t.Errorf("the merchant has %s, want %s", got, merchantHas)
		}
	}
	step("authorized 0/1000-0", "0/1000", s.done(o))
	ref, err := d.book.reference(t.Context(), &life.Payment{ID: p.ID})
	fresh := &book{txn: d.book.txn, at: d.book.at, references: map[u128.Int]string{}}
	read, _ := fresh.payment(t.Context(), p.ID)
	again, err2 := fresh.reference(t.Context(), read)
	if err != nil || err2 != nil || ref != "ch_1" || again != ref {
		t.Errorf("reference %q, read again %q, %v, %v", ref, again, err, err2)
	}
	step("captured in part 700/1000-0", "700/0", s.done(s.owe(p.Capture(700))))
	hold, refund := p.Refund(s.newID(), 200)
	step("refunded in part 700/1000-200", "500/0", s.done(s.owe(refund, hold)))
	hold, refund = p.Refund(s.newID(), 501)
	if got := s.done(s.owe(refund, hold)); !strings.Contains(got, "refund: 700 was captured, and 701 would be refunded") {
		t.Errorf("more than was captured is refunded: %s", got)
	}
	step("refunded in part 700/1000-200", "500/0", "")
	if err := d.events(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 2 { // events come again after a restart
		if got := s.balance(payouts) + " " + s.balance(fees) + " " + s.balance(clearing); got != "-493/0 -7/0 0/0" {
			t.Errorf("payouts, fees and clearing have %s", got)
		}
		d.watch = watch{seen: map[string]time.Time{}}
		if err := d.events(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	hold, refund = p.Refund(s.newID(), 500)
	step("refunded 700/1000-700", "0/0", s.done(s.owe(refund, hold)))
	if got := s.balance(clearing); got != "500/0" {
		t.Errorf("clearing has %s: it owes the provider 500", got)
	}
	if err := d.events(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := s.balance(clearing); got != "0/0" {
		t.Errorf("clearing has %s, everything is settled", got)
	}
	totals, err := s.other().Totals()
	if err != nil || len(totals.Captured) != 1 || totals.Operations[paymentpb.Authorize] != 1 || totals.Operations[paymentpb.Capture] != 1 || totals.Operations[paymentpb.Refund] != 2 {
		t.Errorf("the books: %+v, %v", totals, err)
	}
}

// TestFaults: whatever the provider does, each payment comes to the end that it says, its
// money is held until then, and nothing is charged twice.
func TestFaults(t *testing.T) {
	for _, c := range []struct {
		token, want, state, held string
		captured                 int
	}{
		{"visa", "", "captured 1000/1000-0", "1000/0", 1},
		{"visa,authorize:decline", "authorize: sandbox: the card was declined", "failed 0/1000-0", "0/0", 0},
		{"visa,capture:decline", "capture: sandbox: the card was declined", "authorized 0/1000-0", "0/1000", 0},
		{"visa,authorize:timeout", "", "captured 1000/1000-0", "1000/0", 1},
		{"visa,authorize:timeout-after", "", "captured 1000/1000-0", "1000/0", 1},
		{"visa,authorize:timeout-after*2,find:timeout", "", "captured 1000/1000-0", "1000/0", 1},
		{"visa,authorize:error*2,capture:error-after*2", "", "captured 1000/1000-0", "1000/0", 1},
		{"visa,capture:timeout-after,find:error*2", "", "captured 1000/1000-0", "1000/0", 1},
		{"visa,authorize:limit*3,capture:limit", "", "captured 1000/1000-0", "1000/0", 1},
		{"visa,authorize:timeout-after,authorize:decline", "", "captured 1000/1000-0", "1000/0", 1}, // the first call decides
		{"visa,authorize:timeout-after*2,capture:error-after*2,find:blind*", "", "captured 1000/1000-0", "1000/0", 1},
		{"visa,authorize:slow", "", "captured 1000/1000-0", "1000/0", 1}, // slower than it may be
		{"visa,authorize:expire", "authorize: the provider has given the money up", "failed 0/1000-0", "0/0", 0},
		{"visa,authorize:error*", "quarantine: 6 attempts: sandbox: 503", "created 0/1000-0", "0/1000", 0},
		{"visa,capture:error*,find:error*", "quarantine: 6 attempts: what became of it is not known: sandbox: no answer", "authorized 0/1000-0", "0/1000", 0},
		{"visa,nonsense", `authorize: sandbox: the token's part "nonsense" is not STEP:FAULT`, "failed 0/1000-0", "0/0", 0},
	} {
		t.Run(c.token, func(t *testing.T) {
			t.Parallel()
			s := newShop(t, nil)
			p := s.payment(1000, c.token)
			got := s.done(s.create(p, p.Capture(1000)))
			if !strings.HasPrefix(got, c.want) || c.want == "" && got != "" {
				t.Errorf("it ended with %q, want %q", got, c.want)
			}
			if state := s.show(p); c.state != "" && state != c.state {
				t.Errorf("the payment is %s, want %s", state, c.state)
			}
			if held := s.balance(merchant); c.held != "" && held != c.held {
				t.Errorf("the merchant has %s, want %s", held, c.held)
			}
			totals, err := s.other().Totals()
			if err != nil || len(totals.Captured) != c.captured || len(totals.Captured[p.ID]) > 1 {
				t.Errorf("%+v, %v: want %d charges", totals, err, c.captured)
			}
		})
	}
}

// TestRefused: what the ledger does not hold is never asked of the provider, nor what an
// effect says wrongly.
func TestRefused(t *testing.T) {
	s := newShop(t, nil)
	arg := func(e *txnpb.Effect, name string) *txnpb.Argument {
		for i := range e.Arguments {
			if e.Arguments[i].Name == name {
				return &e.Arguments[i]
			}
		}
		t.Fatalf("no argument %q", name)
		return nil
	}
	for want, wrong := range map[string]func(p *client.Payment, e *txnpb.Effect, hold *ledgerpb.Transfer){
		"the hold is of 900, and 1000 is to be authorized": func(_ *client.Payment, _ *txnpb.Effect, hold *ledgerpb.Transfer) { hold.Amount = u128.From64(900) },
		"the hold has a time-out":                          func(_ *client.Payment, _ *txnpb.Effect, hold *ledgerpb.Transfer) { hold.Timeout = 60 },
		"the ledger holds no money for payment":            func(_ *client.Payment, _ *txnpb.Effect, hold *ledgerpb.Transfer) { hold.UserData32 = 0 },
		`operation "dance"`:                                func(_ *client.Payment, e *txnpb.Effect, _ *ledgerpb.Transfer) { e.Operation = "dance" },
		`argument "amount" is 0`:                           func(_ *client.Payment, e *txnpb.Effect, _ *ledgerpb.Transfer) { arg(e, "amount").Value = []byte("0") },
		`argument "amount" is 100000000000, it must be 1 to 99999999999`: func(_ *client.Payment, e *txnpb.Effect, _ *ledgerpb.Transfer) {
			arg(e, "amount").Value = []byte("100000000000")
		},
		`argument "payment": it must be an id that a client has made`: func(_ *client.Payment, e *txnpb.Effect, _ *ledgerpb.Transfer) { arg(e, "payment").Value = []byte("12") },
		`argument "token": it must have 1 to 255`:                     func(_ *client.Payment, e *txnpb.Effect, _ *ledgerpb.Transfer) { arg(e, "token").Value = []byte("a\nb") },
		`argument "token": a card's number`: func(_ *client.Payment, e *txnpb.Effect, _ *ledgerpb.Transfer) {
			arg(e, "token").Value = []byte("4111 1111 1111 1111")
		},
		`argument "surprise": authorize has no such argument`: func(_ *client.Payment, e *txnpb.Effect, _ *ledgerpb.Transfer) {
			e.Arguments = append(e.Arguments, client.Text("surprise", "x"))
		},
		`key "": it must be the payment's id`: func(_ *client.Payment, e *txnpb.Effect, _ *ledgerpb.Transfer) { e.Key = "" },
	} {
		p := s.payment(1000, "visa")
		hold, e := p.Hold(), p.Authorize()
		e.Failed = nil
		wrong(p, &e, &hold)
		if got := s.done(s.owe(e, hold)); !strings.Contains(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	}
	// A hold that was given up before the call: nothing is held at the provider either.
	p := s.payment(500, "visa")
	void := p.Void().Done.Transfers
	if got := s.done(s.owe(p.Authorize(), append([]ledgerpb.Transfer{p.Hold()}, void...)...)); got != "quarantine: the attempt is over (fail), but what follows it in the ledger cannot be done the payment is voided" {
		t.Error(got)
	}
	if totals, err := s.other().Totals(); err != nil || totals.Calls != 1 || totals.Authorized != 0 {
		t.Errorf("%+v, %v: the provider was asked", totals, err)
	}
}

// TestTwice: two captures of one payment take the money once.
func TestTwice(t *testing.T) {
	s := newShop(t, nil)
	p := s.payment(1000, "visa")
	s.done(s.create(p))
	a, b := s.owe(p.Capture(1000)), s.owe(p.Capture(1000))
	if x, y := s.done(a), s.done(b); x != "" || y != "capture: the payment is captured" {
		t.Errorf("%q, %q", x, y)
	}
	if got := s.balance(merchant); got != "1000/0" {
		t.Errorf("the merchant has %s", got)
	}
}

// TestReleased: an authorization that the provider lets go frees the money here, too.
func TestReleased(t *testing.T) {
	s := newShop(t, func(c *ProviderConfig) { c.Poll = 5 * time.Millisecond })
	p := s.payment(1000, "visa")
	s.done(s.create(p))
	if charge, fault, err := s.other().Do(t.Context(), &paymentpb.CallRequest{Key: "by hand", Operation: paymentpb.Void, Payment: p.ID}); err != nil || fault != nil || charge.Status != paymentpb.ChargeStatusReleased {
		t.Fatalf("%v, %v, %v", charge, fault, err)
	}
	eventually(t, "the hold is voided", func() bool { return s.show(p) == "voided 0/1000-0" })
	if got := s.balance(merchant); got != "0/0" {
		t.Errorf("the merchant has %s", got)
	}
}

// TestReconcile: what differs is told by its kind, what a call that is owed explains is not,
// and an alarm stands as long as something differs.
func TestReconcile(t *testing.T) {
	s := newShop(t, nil)
	d := s.comp.desks[0]
	desk := s.other()
	hand := 0
	by := func(p *client.Payment, operation string, amount uint64) {
		t.Helper()
		hand++
		in := &paymentpb.CallRequest{Key: fmt.Sprint("by hand ", hand), Operation: operation, Payment: p.ID, Amount: amount, Token: "visa"}
		if operation == paymentpb.Refund {
			in.Refund = s.newID()
		}
		if _, fault, err := desk.Do(t.Context(), in); err != nil || fault != nil {
			t.Fatal(fault, err)
		}
	}
	reconcile := func(now time.Time) string {
		t.Helper()
		out, err := d.reconcile(t.Context(), time.Unix(0, 0), now)
		if err != nil {
			t.Fatal(err)
		}
		var kinds []string
		for _, x := range out.Differences {
			kinds = append(kinds, x.Kind)
		}
		return fmt.Sprintf("%d payments, %d charges, %d under way, %d here, %d there: %s", out.Payments, out.Charges, out.UnderWay, out.HereNet, out.ThereNet, strings.Join(kinds, " "))
	}
	var all []*client.Payment
	for range 7 {
		p := s.payment(1000, "visa")
		all = append(all, p)
		if fault := s.done(s.create(p, p.Capture(1000))); fault != "" {
			t.Fatal(fault)
		}
	}
	declined, given := s.payment(10, "visa,authorize:decline"), s.payment(10, "visa")
	s.done(s.create(declined))
	s.done(s.create(given))
	s.done(s.owe(given.Void()))
	later := func() time.Time { return time.Now().Add(time.Second) }
	if got := reconcile(later()); got != "9 payments, 9 charges, 0 under way, 7000 here, 7000 there: " {
		t.Error(got)
	}
	waits := s.payment(10, "visa,capture:error*,find:error*")
	s.done(s.create(waits, waits.Capture(10)))
	if got := reconcile(later()); got != "10 payments, 10 charges, 1 under way, 7000 here, 7000 there: " {
		t.Error(got)
	}
	by(all[0], paymentpb.Refund, 10)
	by(all[1], paymentpb.Authorize, 1000) // a second charge
	by(s.payment(55, "visa"), paymentpb.Authorize, 55)
	authorized := s.payment(100, "visa")
	s.done(s.create(authorized))
	by(authorized, paymentpb.Capture, 60)
	lone := s.payment(5, "visa") // a hold that nobody has asked the provider about
	s.commit(&txnpb.Transaction{Transfers: []ledgerpb.Transfer{lone.Hold()}})
	if got := reconcile(later()); got != "12 payments, 13 charges, 1 under way, 7000 here, 7050 there: refunded twice captured status unknown-here" {
		t.Error(got)
	}
	if got := reconcile(time.Unix(1, 0)); got != "0 payments, 0 charges, 0 under way, 0 here, 0 there: " {
		t.Error(got)
	}
}

// TestAlarms: one while ledger and provider differ, one while the provider does not answer.
func TestAlarms(t *testing.T) {
	s := newShop(t, func(c *ProviderConfig) { c.Poll, c.Reconcile = 5*time.Millisecond, 10*time.Millisecond })
	p := s.payment(1000, "visa")
	s.done(s.create(p, p.Capture(1000)))
	desk := s.other()
	refund := s.newID()
	if _, fault, err := desk.Do(t.Context(), &paymentpb.CallRequest{Key: "by hand", Operation: paymentpb.Refund, Payment: p.ID, Amount: 400, Refund: refund}); err != nil || fault != nil {
		t.Fatal(fault, err)
	}
	stands := func(name string) func() bool {
		return func() bool {
			for _, a := range s.Alarms() {
				if a == name {
					return true
				}
			}
			return false
		}
	}
	differs := stands("payment-differences@sand")
	eventually(t, "an alarm about the difference", differs)
	// The clerk writes it into the ledger, too.
	hold, e := p.Refund(refund, 400)
	s.commit(&txnpb.Transaction{Transfers: []ledgerpb.Transfer{hold, e.Done.Transfers[0]}})
	eventually(t, "the end of the alarm", func() bool { return !differs() })

	unavailable := stands("payment-unavailable@sand")
	s.comp.Stop()
	c := New([]ProviderConfig{{Name: "sand", Kind: Sandbox, Accounts: accounts, Books: s.books, Poll: 5 * time.Millisecond}}, nil)
	if err := c.Provision(s.Host(1).Engine()); err != nil {
		t.Fatal(err)
	}
	off := &broken{Provider: c.desks[0].provider}
	c.desks[0].provider = off
	off.off.Store(true)
	if err := c.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer c.Stop()
	eventually(t, "an alarm about the provider", unavailable)
	off.off.Store(false)
	eventually(t, "the end of the alarm", func() bool { return !unavailable() })
	s.Saw.Proves(t)
}

// broken is a provider that can be switched off.
type broken struct {
	Provider
	off atomic.Bool
}

func (b *broken) Events(ctx context.Context, since time.Time, cursor string) ([]paymentpb.ChargeEvent, string, error) {
	if b.off.Load() {
		return nil, "", errors.New("no route to card 4111 1111 1111 1111")
	}
	return b.Provider.Events(ctx, since, cursor)
}
