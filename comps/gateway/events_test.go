package gateway_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"virtualservicesinc.com/rrts/client"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/message/frame"
	"virtualservicesinc.com/rrts/message/pack"
	"virtualservicesinc.com/rrts/schema/gatewaypb"
	"virtualservicesinc.com/rrts/schema/ledgerpb"
	"virtualservicesinc.com/rrts/schema/loginpb"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// listens waits until somebody waits for events.
func (w *world) listens() {
	w.t.Helper()
	within(w.t, "a question for events", func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return len(w.listening) > 0
	})
}

// TestEventsMove: a stream goes on through another gateway, whatever becomes of its own,
// and tells each event once.
func TestEventsMove(t *testing.T) {
	for _, c := range []struct {
		name   string
		leave  func(t *testing.T, w *world, c *client.Client, h *hole)
		within time.Duration
	}{
		{"stopped", func(t *testing.T, w *world, c *client.Client, _ *hole) {
			s := w.at(c.Session().Gateway)
			began := time.Now()
			s.stop()
			if err := <-s.done; err != nil {
				t.Error(err)
			}
			s.done <- nil
			if took := time.Since(began); took > 1500*time.Millisecond {
				t.Errorf("the stop took %v: it waited for those who wait for events", took)
			}
		}, time.Second},
		{"killed", func(t *testing.T, w *world, c *client.Client, _ *hole) {
			w.at(c.Session().Gateway).gateway.Stop()
		}, time.Second},
		{"silent", func(_ *testing.T, _ *world, _ *client.Client, h *hole) { h.shut.Store(true) }, 6 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t).start(2).register()
			var h *hole
			cl := w.open(func(o *client.Config) {
				if c.name == "silent" {
					h = newHole(t, w.sfus[0].address)
					o.Gateways = []string{h.address}
				}
			})
			within(t, "a spare connection", func() bool { return sessions(t, w) == 2 })
			s := cl.Events(txnpb.Position{}, nil)
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			for csn := uint64(1); csn <= 6; csn++ {
				if csn == 4 {
					got := make(chan error, 1)
					began := time.Now()
					go func() {
						e, err := s.Next(ctx)
						if err == nil && e.Csn != 4 {
							t.Errorf("event %d after 3", e.Csn)
						}
						got <- err
					}()
					w.listens()
					c.leave(t, w, cl, h)
					w.happen()
					if err := <-got; err != nil {
						t.Fatal(err)
					}
					if took := time.Since(began); took > c.within+2*time.Second {
						t.Errorf("the event came after %v", took)
					}
					continue
				}
				w.happen()
				if e, err := s.Next(ctx); err != nil || e.Csn != csn || s.Position().Csn != csn {
					t.Fatalf("%v, %v: want event %d", e, err, csn)
				}
			}
		})
	}
}

// TestSlowListener: who asks for events and does not read them is cut off with a reason,
// and goes on behind the last one that it read.
func TestSlowListener(t *testing.T) {
	w := newWorld(t).start(1).register()
	w.answer = txnpb.QueryAnswer{Notes: []txnpb.Note{{Memo: strings.Repeat("m", 450<<10)}}}
	w.happen()
	r := w.signed()
	for i := range uint64(120) {
		r.request(10+i, txnpb.TxnService, txnpb.TxnEventsMethod, &txnpb.EventsRequest{After: &txnpb.Position{}, WaitMillis: 1000})
	}
	for end := time.Now().Add(30 * time.Second); status(t, w).SlowReaders == 0; {
		if time.Now().After(end) {
			t.Fatal("it is not cut off")
		}
		time.Sleep(time.Millisecond)
	}
	var a txnpb.EventsAnswer
	if e := r.next(); e.Kind != message.KindReply || a.Parse(e.Body) != nil || len(a.Events) != 1 {
		t.Fatal(e.Kind, &a)
	}
	// On a machine that is too busy to fill the bound in time it is cut off for that.
	if !strings.Contains(w.log.String(), "client cut off: it reads too slowly") {
		if last := r.farewell(); message.Code(last.Code) != message.Overloaded || !strings.Contains(last.Reason, "too many answers wait to be read") {
			t.Errorf("last word %v", last)
		}
	}
	w.happen()
	r = w.signed()
	r.request(10, txnpb.TxnService, txnpb.TxnEventsMethod, &txnpb.EventsRequest{After: a.Next})
	if e := r.next(); a.Parse(e.Body) != nil || len(a.Events) != 1 || a.Events[0].Csn != 2 {
		t.Errorf("behind what it read: %v", &a)
	}
}

// at is the SFU with that gateway.
func (w *world) at(address string) *sfu {
	for _, s := range w.sfus {
		if s.address == address {
			return s
		}
	}
	w.t.Fatalf("no gateway %s", address)
	return nil
}

// TestListenerIsQuiet: who waits for events costs the gateway next to nothing.
func TestListenerIsQuiet(t *testing.T) {
	w := newWorld(t).start(1).register()
	c := w.open()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	asked := func() uint64 {
		op := w.operator(0)
		defer op.Close()
		st, err := gatewaypb.GatewayClient{Caller: op}.Status(t.Context(), &gatewaypb.GatewayStatusRequest{})
		if err != nil {
			t.Fatal(err)
		}
		return st.Requests
	}
	before := asked()
	if e, err := c.Events(txnpb.Position{}, nil).Next(ctx); err == nil {
		t.Errorf("an event that never was: %v", e)
	}
	// The question, a ping, and what the operator's own connection asks.
	if n := asked() - before; n > 6 {
		t.Errorf("%d requests in a second of waiting", n)
	}
}

func TestPositionText(t *testing.T) {
	p := txnpb.Position{Epoch: 3, Group: 1, Csn: 812, N: 7_999_999_991}
	text := client.FormatPosition(p)
	if back, err := client.ParsePosition(text); text != "3.1.812.7999999991" || err != nil || back != p {
		t.Errorf("%s, %v, %v", text, back, err)
	}
	for _, bad := range []string{"", "1.2.3", "1.2.3.4.5", "1.70000.3.4", "-1.2.3.4", "1.2.x.4", "1.2.3."} {
		if p, err := client.ParsePosition(bad); err == nil {
			t.Errorf("%q is %v", bad, p)
		}
	}
}

// TestPackedConnection: payments, answers and pages are the same when they are packed on
// the way, also by who reads guesses alone, and what holds a secret is not packed.
func TestPackedConnection(t *testing.T) {
	w := newWorld(t).start(2).register()
	c := w.open(func(o *client.Config) { o.Compression = client.CompressionOn })
	l := new(load).start(t, 16, c)
	within(t, "payments", func() bool { return l.count.Load() > 300 })
	l.end(t, w)
	tx := payment(c)
	o, err := c.Submit(t.Context(), tx)
	if err != nil || o.Id != tx.Id || o.Csn == 0 {
		t.Fatalf("%v, %v", o, err)
	}
	if s := w.batches[len(w.batches)-1][0]; len(s.Transaction) > 50 {
		t.Errorf("a payment takes %d bytes: the id of its transfer is on the wire", len(s.Transaction))
	}
	w.answer = txnpb.QueryAnswer{Notes: []txnpb.Note{{Memo: strings.Repeat("a page of answers ", 20_000)}}}
	if a, err := c.Query(t.Context(), &txnpb.Query{LookupAccounts: &ledgerpb.Lookup{}}); err != nil || a.Notes[0].Memo != w.answer.Notes[0].Memo {
		t.Errorf("a page: %v", err)
	}

	r := w.raw()
	r.request(1, gatewaypb.GatewayService, gatewaypb.GatewayHelloMethod, &gatewaypb.HelloRequest{Protocol: 1, Packing: pack.Guess})
	var hello gatewaypb.HelloReply
	if e := r.next(); hello.Parse(e.Body) != nil || hello.Packing != pack.All {
		t.Fatalf("%v", &hello)
	}
	r.request(2, loginpb.LoginService, loginpb.LoginLoginMethod, &loginpb.LoginRequest{LoginName: "till-1@shop", Password: "correct horse"})
	if e := r.next(); e.Kind != message.KindReply || e.Call != 2 {
		t.Errorf("the answer to a login, which must not be packed: %v", &e)
	}
	var pings []byte
	for call := range uint64(6) {
		pings = frame.Append(pings, &message.Envelope{Kind: message.KindRequest, Service: gatewaypb.GatewayService, Method: gatewaypb.GatewayPingMethod, Call: 10 + call})
	}
	body, ok := pack.Append(nil, pack.Sequence(nil, pings), pack.Guess)
	if !ok {
		t.Fatal("pings are not packed")
	}
	r.send(pack.Frame(nil, body))
	seen := 0
	for seen < 6 {
		e := r.next()
		if e.Kind != message.KindPacked { // it did not pay
			seen++
			continue
		}
		sequence, err := pack.Open(nil, e.Body, 1<<20)
		for len(sequence) > 0 && err == nil {
			_, sequence, err = pack.Next(sequence)
			seen++
		}
		if err != nil {
			t.Fatal(err)
		}
	}

	r = w.signed()
	r.send(pack.Frame(nil, body)) // nobody has agreed to this
	if last := r.farewell(); message.Code(last.Code) != message.Invalid {
		t.Errorf("packed without being asked: %v", &last)
	}
}
