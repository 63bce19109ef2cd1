package gateway_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"virtualservicesinc.com/comps/gateway"
	"virtualservicesinc.com/rrts/client"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/message/token"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/gatewaypb"
	"virtualservicesinc.com/rrts/schema/loginpb"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

func TestPayment(t *testing.T) {
	w := newWorld(t).start(1).register()
	c := w.open()
	tx := payment(c)
	o, err := c.Submit(t.Context(), tx)
	if err != nil || o.State != txnpb.StateCommitted || o.Id != tx.Id || o.Csn == 0 {
		t.Fatalf("%v, %v", o, err)
	}
	s := c.Session()
	if s.PublicName != "Till 1" || s.User != 1000 || s.Role != uint32(message.RoleClient) || s.Gateway != w.sfus[0].address || s.Cluster != "test" {
		t.Errorf("session %+v", s)
	}
	if got := w.batches[len(w.batches)-1][0]; got.Principal != 1000 || got.Role != uint32(message.RoleClient) {
		t.Errorf("submission on behalf of %d, role %d", got.Principal, got.Role)
	}
	// The same again gets the first answer, other content under the id does not.
	again, err := c.Submit(t.Context(), tx)
	if err != nil || again.Csn != o.Csn {
		t.Errorf("the same again: %v, %v", again, err)
	}
	tx.Transfers[0].Amount = u128.From64(1)
	var not *client.NotCommittedError
	if o, err := c.Submit(t.Context(), tx); !errors.As(err, &not) || o.State != txnpb.StateIdReused {
		t.Errorf("other content: %v, %v", o, err)
	}
	if o, err := c.Status(t.Context(), tx.Id); err != nil || o.Csn != again.Csn {
		t.Errorf("status: %v, %v", o, err)
	}
	// Ledger time came with the outcomes: ids follow it.
	second := w.open()
	ahead := time.Until(time.UnixMilli(int64(second.NewID().Hi >> 16)))
	if ahead < ledgerAhead-5*time.Second || ahead > ledgerAhead+5*time.Second {
		t.Errorf("ids are %v ahead of this machine's clock, ledger time is %v ahead", ahead, ledgerAhead)
	}
}

func TestWrongLogin(t *testing.T) {
	w := newWorld(t).start(2).register()
	var texts []string
	for _, wrong := range []func(*client.Config){
		func(c *client.Config) { c.Password = "wrong horse" },
		func(c *client.Config) { c.LoginName = "nobody@shop" },
		func(c *client.Config) { c.LoginName = "no name at all" },
	} {
		config := w.config()
		wrong(&config)
		_, err := client.Open(t.Context(), config)
		if code(err) != message.Denied {
			t.Fatalf("got %v, want %v", err, message.Denied)
		}
		texts = append(texts, err.Error())
	}
	if texts[0] != texts[1] || texts[1] != texts[2] {
		t.Errorf("the answers differ: %q", texts)
	}
}

func TestTokens(t *testing.T) {
	w := newWorld(t).start(1).register()
	c := w.open()
	other := w.open(func(o *client.Config) { o.Token, o.LoginName, o.Password = c.Token(), "", "" })
	if _, err := other.Submit(t.Context(), payment(other)); err != nil {
		t.Fatal(err)
	}
	expired := w.tokens.Seal(token.Claims{User: 1000, Version: 1, Epoch: 1, Role: message.RoleClient, Expires: w.wall() - 1}, [token.NonceSize]byte{1})
	for name, bad := range map[string][]byte{"expired": expired, "forged": append([]byte{1}, make([]byte, token.Size-1)...), "rubbish": []byte("rubbish")} {
		config := w.config()
		config.Token, config.LoginName, config.Password = bad, "", ""
		if _, err := client.Open(t.Context(), config); !errors.Is(err, client.ErrSession) {
			t.Errorf("%s: %v", name, err)
		}
		again := w.open(func(o *client.Config) { o.Token = bad }) // has a password as well
		if string(again.Token()) == string(bad) {
			t.Errorf("%s: it did not log in again", name)
		}
	}
}

// TestSessionExpires: a session that ends while its connection stands costs a
// login, not a payment.
func TestSessionExpires(t *testing.T) {
	w := newWorld(t).start(1).register()
	short := w.tokens.Seal(token.Claims{User: 1000, Version: 1, Epoch: 1, Role: message.RoleClient, Expires: w.wall() + int64(150*time.Millisecond)}, [token.NonceSize]byte{2})
	c := w.open(func(o *client.Config) { o.Token = short })
	bare := w.open(func(o *client.Config) { o.Token, o.LoginName, o.Password = short, "", "" })
	for end := time.Now().Add(400 * time.Millisecond); time.Now().Before(end); {
		if _, err := c.Submit(t.Context(), payment(c)); err != nil {
			t.Fatal(err)
		}
	}
	if string(c.Token()) == string(short) {
		t.Error("it never logged in again")
	}
	if _, err := bare.Submit(t.Context(), payment(bare)); !errors.Is(err, client.ErrSession) {
		t.Errorf("without a password: %v", err)
	}
}

func TestRegister(t *testing.T) {
	w := newWorld(t).start(1).register()
	op := w.operator(0)
	defer op.Close()
	good := loginpb.RegisterRequest{LoginName: "anna", Password: "long enough", PublicName: "Anna A.", Role: 1, TransactionId: op.NewID()}
	first, err := op.Register(t.Context(), &good)
	if err != nil || first.User == 0 {
		t.Fatal(first, err)
	}
	if again, err := op.Register(t.Context(), &good); err != nil || again.User != first.User {
		t.Errorf("the same registration again: %v, %v", again, err)
	}
	good.TransactionId = op.NewID()
	good.LoginName = " ANNA "
	if taken, err := op.Register(t.Context(), &good); err != nil || !strings.Contains(taken.Refused, "choose another") {
		t.Errorf("a taken login name: %v, %v", taken, err)
	}
	c := w.open()
	if _, err := c.Register(t.Context(), &good); code(err) != message.Denied {
		t.Errorf("a client registers: %v", err)
	}
}

// TestLockout: after some wrong passwords the right one does not help either, for a
// moment; the answer is the same for a name that nobody has.
func TestLockout(t *testing.T) {
	w := newWorld(t).start(1).register()
	try := func(name, password string) error {
		config := w.config()
		config.LoginName, config.Password = name, password
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		c, err := client.Open(ctx, config)
		if err == nil {
			c.Close()
		}
		return err
	}
	for _, name := range []string{"till-1@shop", "nobody"} {
		for i := range 5 {
			if err := try(name, "wrong horse"); code(err) != message.Denied {
				t.Fatalf("attempt %d: %v", i, err)
			}
		}
		if err := try(name, "correct horse"); code(err) != message.Overloaded || !strings.Contains(err.Error(), "too many wrong attempts: try again in 1s") {
			t.Fatalf("locked: %v", err)
		}
	}
	// A client that waits gets in when the lock ends.
	w.open()
}

// TestAccess: who may call what, for every method that RRTS has.
func TestAccess(t *testing.T) {
	w := newWorld(t).start(1).register()
	op := w.operator(0)
	defer op.Close()
	if _, err := op.Register(t.Context(), &loginpb.RegisterRequest{LoginName: "auditor", Password: "long enough", PublicName: "Audit",
		Role: uint32(message.RoleAuditor), TransactionId: op.NewID()}); err != nil {
		t.Fatal(err)
	}
	callers := []message.Caller{op, w.open(func(c *client.Config) { c.LoginName, c.Password = "auditor", "long enough" }), w.open()}
	const (
		yes    = "yes"
		denied = "denied"
		never  = "no_method"
	)
	want := map[string][3]string{ // operator, auditor, client
		"Gateway.Hello": {yes, yes, yes}, "Gateway.Resume": {yes, yes, yes}, "Gateway.Ping": {yes, yes, yes},
		"Gateway.Submit": {yes, denied, yes}, "Gateway.Status": {yes, yes, denied}, "Gateway.Trace": {yes, yes, denied},
		"Gateway.Moved": {never, never, never}, "Gateway.Closed": {never, never, never},
		"Login.Login": {yes, yes, yes}, "Login.Register": {yes, denied, denied}, "Login.Schema": {yes, yes, yes},
		"Login.Enter": {yes, yes, yes}, "Login.ChangePassword": {yes, yes, yes},
		"Login.ChangeUser": {yes, denied, denied}, "Login.Rotate": {yes, denied, denied},
		"Login.RegisterSealed": {yes, denied, denied}, "Login.ChangeUserSealed": {yes, denied, denied},
		"Txn.Submit": {never, never, never}, "Txn.Status": {yes, yes, yes}, "Txn.Resolve": {yes, denied, yes},
		"Txn.Read": {yes, yes, yes}, "Txn.Events": {yes, yes, yes}, "Txn.FindUser": {never, never, never}, "Txn.Sessions": {never, never, never},
		"Txn.AwaitEffects": {never, never, never},
		"Replica.Control":  {never, never, never}, "Replica.Append": {never, never, never}, "Replica.Install": {never, never, never},
		"Replica.Entries": {never, never, never}, "Replica.Mark": {never, never, never}, "Replica.Rest": {never, never, never}, "Replica.State": {never, never, never},
		"Replica.Status": {yes, yes, denied}, "Replica.Digest": {yes, yes, denied}, "Replica.Trace": {yes, yes, denied},
		"Replica.Force":   {yes, denied, denied},
		"Replica.Keys":    {yes, denied, denied},
		"Replica.Sum":     {never, never, never},
		"Backup.Read":     {yes, denied, denied},
		"Engine.Announce": {never, never, never}, "Engine.Status": {yes, yes, denied}, "Engine.Restart": {yes, denied, denied},
		"Engine.Held": {yes, denied, denied}, "Engine.RetryHeld": {yes, denied, denied}, "Engine.DiscardHeld": {yes, denied, denied},
		"Child.Hello": {never, never, never}, "Child.Became": {never, never, never}, "Child.Observe": {never, never, never},
		"Child.Ping": {never, never, never}, "Child.Drain": {never, never, never},
		"Monitor.Status": {yes, yes, denied}, "Monitor.Alarms": {yes, yes, denied},
		"Monitor.Acknowledge": {yes, denied, denied}, "Monitor.TestAlarm": {yes, denied, denied},
		"Members.List": {yes, yes, denied}, "Members.Add": {yes, denied, denied}, "Members.Remove": {yes, denied, denied},
		"Members.Lease":         {yes, denied, denied},
		"Members.Activate":      {yes, denied, denied},
		"Mail.SetAddress":       {yes, denied, denied},
		"Mail.Test":             {yes, denied, denied},
		"RosterKeeper.Announce": {never, never, never},
	}
	seen := 0
	for _, d := range descriptors {
		for i := range d.Methods {
			name := d.Name + "." + d.Methods[i].Name
			expect, ok := want[name]
			if !ok {
				t.Errorf("%s: a new method: decide here who may call it", name)
				continue
			}
			seen++
			for j, caller := range callers {
				patience := 100 * time.Millisecond // nobody may be there to answer
				if expect[j] != yes {
					patience = 10 * time.Second // the gateway itself answers
				}
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				m := d.Methods[i]
				m.Idempotent = false
				_, err := caller.Call(ctx, &m, d.Number, nil)
				cancel()
				got := code(err).String()
				if got != denied && got != never || !strings.Contains(fmt.Sprint(err), ": gateway: ") {
					got = yes // it was let through, whatever came of an empty request
				}
				if got != expect[j] {
					t.Errorf("%s by %s: %s (%v), want %s", name, []string{"operator", "auditor", "client"}[j], got, err, expect[j])
				}
			}
		}
	}
	if seen != len(want) {
		t.Errorf("%d methods found, %d expected", seen, len(want))
	}
}

func TestAdminSocket(t *testing.T) {
	w := newWorld(t).start(2)
	op := w.operator(0)
	defer op.Close()
	if s := op.Session(); s.Role != uint32(message.RoleOperator) || s.User != 0 {
		t.Errorf("session %+v", s)
	}
	st, err := gatewaypb.GatewayClient{Caller: op.To(1)}.Status(t.Context(), &gatewaypb.GatewayStatusRequest{})
	if err != nil || st.Sfu != 1 || st.Connections != 1 || st.Sessions != 1 {
		t.Errorf("status %v, %v", st, err)
	}
	// The other SFU is no peer in this world: nobody can ask it from here.
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := (gatewaypb.GatewayClient{Caller: op.To(9)}).Status(short, &gatewaypb.GatewayStatusRequest{}); err == nil {
		t.Error("an SFU that does not exist has answered")
	}
	if _, err := op.Submit(t.Context(), payment(op)); err != nil {
		t.Error(err)
	}
	_, err = client.Open(t.Context(), client.Config{Gateways: []string{"unix:/nowhere/at/all"}})
	if err == nil || !strings.Contains(err.Error(), "/nowhere/at/all") {
		t.Errorf("no socket: %v", err)
	}
}

// TestNoLeader: while the service says that nothing was executed, or that it does
// not know, the payment waits; when the caller's time is over it is PENDING, and
// the outcome can be asked for and made final.
func TestNoLeader(t *testing.T) {
	w := newWorld(t).start(1).register()
	var leaderless atomic.Bool
	leaderless.Store(true)
	var asked atomic.Int64
	w.behave = func(*txnpb.Submission, *txnpb.Transaction) (txnpb.State, bool) {
		asked.Add(1)
		return txnpb.StateNotLeader, leaderless.Load()
	}
	c := w.open()
	ctx, cancel := context.WithTimeout(t.Context(), 150*time.Millisecond)
	defer cancel()
	tx := payment(c)
	_, err := c.Submit(ctx, tx)
	var pending *client.PendingError
	if !errors.As(err, &pending) || pending.ID != tx.Id {
		t.Fatalf("got %v", err)
	}
	contains(t, err.Error(), tx.Id.String())
	if n := asked.Load(); n < 3 {
		t.Errorf("the leader was asked %d times", n)
	}
	later := c.Go(t.Context(), payment(c))
	time.AfterFunc(50*time.Millisecond, func() { leaderless.Store(false) })
	if o, err := later.Wait(); err != nil || o.State != txnpb.StateCommitted {
		t.Errorf("when there is a leader again: %v, %v", o, err)
	}
	if o, err := c.Resolve(t.Context(), tx.Id); err != nil || o.State != txnpb.StateAborted {
		t.Errorf("resolve: %v, %v", o, err)
	}
	if o, err := c.Submit(t.Context(), tx); err == nil {
		t.Errorf("after resolve: %v, %v", o, err)
	}
}

// TestManyInFlight: futures, more than a connection's window, answered in any
// order.
func TestManyInFlight(t *testing.T) {
	w := newWorld(t).start(1, func(c *gateway.Config) { c.Window = 50 }).register()
	c := w.open(func(o *client.Config) { o.MaxInFlight = 200 })
	var futures []*client.Future
	for range 1000 {
		futures = append(futures, c.Go(t.Context(), payment(c)))
	}
	for _, f := range futures {
		o, err := f.Wait()
		if err != nil || o.Id != f.ID() {
			t.Fatal(o, err)
		}
	}
	if st := status(t, w); st.Overloaded != 0 {
		t.Errorf("the SDK went over the window %d times", st.Overloaded)
	}
}

func status(t *testing.T, w *world) *gatewaypb.GatewayStatus {
	t.Helper()
	op := w.operator(0)
	defer op.Close()
	st, err := gatewaypb.GatewayClient{Caller: op}.Status(t.Context(), &gatewaypb.GatewayStatusRequest{})
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// TestCallersGiveUp: a caller whose context ends gets the id back, its place is
// free again, and the payment is executed once all the same.
func TestCallersGiveUp(t *testing.T) {
	w := newWorld(t).start(1).register()
	release := make(chan struct{})
	w.fate = func(r message.Responder[*txnpb.Outcomes], in *txnpb.SubmitBatch) bool {
		go func() {
			<-release
			out := &txnpb.Outcomes{}
			for i := range in.Submissions {
				out.Outcomes = append(out.Outcomes, w.execute(&in.Submissions[i]))
			}
			r.Reply(out)
		}()
		return true
	}
	c := w.open(func(o *client.Config) { o.MaxInFlight = 2 })
	ctx, cancel := context.WithCancel(t.Context())
	tx := payment(c)
	first := c.Go(ctx, tx)
	second := c.Go(t.Context(), payment(c))
	// There is no room for a third.
	short, end := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer end()
	var pending *client.PendingError
	if _, err := c.Go(short, payment(c)).Wait(); !errors.As(err, &pending) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("over MaxInFlight: %v", err)
	}
	cancel()
	if _, err := first.Wait(); !errors.As(err, &pending) || pending.ID != tx.Id || !errors.Is(err, context.Canceled) {
		t.Errorf("given up: %v", err)
	}
	third := c.Go(t.Context(), payment(c)) // the place is free
	close(release)
	for _, f := range []*client.Future{second, third} {
		if o, err := f.Wait(); err != nil {
			t.Error(o, err)
		}
	}
	if o, err := c.Submit(t.Context(), tx); err != nil || o.State != txnpb.StateCommitted {
		t.Errorf("the same again: %v, %v", o, err)
	}
	if w.twice != 1 {
		t.Errorf("%d repetitions: what was given up had been executed once", w.twice)
	}
}

// TestClose: what is in flight when the Client is closed is pending, not failed.
func TestClose(t *testing.T) {
	w := newWorld(t).start(1).register()
	w.fate = func(message.Responder[*txnpb.Outcomes], *txnpb.SubmitBatch) bool { return true } // no answer, ever
	c := w.open()
	f := c.Go(t.Context(), payment(c))
	time.AfterFunc(20*time.Millisecond, func() { c.Close() })
	var pending *client.PendingError
	if _, err := f.Wait(); !errors.As(err, &pending) || !errors.Is(err, client.ErrClosed) {
		t.Error(err)
	}
	if _, err := c.Submit(t.Context(), payment(c)); !errors.Is(err, client.ErrClosed) {
		t.Error(err)
	}
	if err := c.Err(); !errors.Is(err, client.ErrClosed) {
		t.Error(err)
	}
}

// TestUnrepeatableCall: a request that is not declared idempotent is not sent again
// when its connection is lost; the caller is told that nobody knows.
func TestUnrepeatableCall(t *testing.T) {
	w := newWorld(t).start(2).register()
	var gone atomic.Bool
	w.fate = func(message.Responder[*txnpb.Outcomes], *txnpb.SubmitBatch) bool {
		return gone.CompareAndSwap(false, true)
	}
	c := w.open()
	within(t, "a spare connection", func() bool { return sessions(t, w) == 2 })
	once := gatewaypb.GatewayDescriptor.Methods[4]
	if once.Number != gatewaypb.GatewaySubmitMethod {
		t.Fatal(once.Name)
	}
	once.Idempotent = false
	done := make(chan error, 1)
	go func() {
		_, err := c.Call(t.Context(), &once, gatewaypb.GatewayService, message.Marshal(payment(c)))
		done <- err
	}()
	within(t, "the request is at the service", gone.Load)
	for _, s := range w.sfus {
		if s.address == c.Session().Gateway {
			s.gateway.Stop()
			break
		}
	}
	if err := <-done; code(err) != message.Unknown {
		t.Errorf("got %v, want %v", err, message.Unknown)
	}
}
