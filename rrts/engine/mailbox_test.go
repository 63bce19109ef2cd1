package engine

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"virtualservicesinc.com/rrts/engine/router"
	"virtualservicesinc.com/rrts/message"
)

// gate is a Component that serves nothing until it is opened.
type gate struct {
	open   chan struct{}
	served diary
}

func (g *gate) serve(_ *stub, r message.Request) {
	<-g.open
	body := raw(r.Envelope().Body)
	g.served.add("%s", body)
	r.Reply(&body)
}

// TestOverload: a full mailbox refuses at once, for each lane apart, and takes
// again when there is room.
func TestOverload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := gate{open: make(chan struct{})}
		f := newFixture(t, []func() (Component, error){made(stub{name: "a", services: []Service{{Descriptor: echo, Mailbox: 5}}, serve: g.serve})}).begin()
		f.later(echoService, 1, "busy")
		synctest.Wait()
		var waiting []<-chan Reply
		for i := range 5 {
			waiting = append(waiting, f.later(echoService, 1, fmt.Sprint(i)))
		}
		r, took := f.ask(echoService, 1, 0, "sixth")
		f.expect(r, message.Overloaded, "")
		if took != 0 {
			t.Fatalf("it took %v to refuse", took)
		}
		if err := f.notify(&Notice{To: 1, Service: echoService, Method: 3}); err != nil {
			t.Fatal(err) // another lane
		}
		urgent := f.later(echoService, 4, "urgent")
		close(g.open)
		f.expect(<-urgent, message.OK, "urgent")
		for i, c := range waiting {
			f.expect(<-c, message.OK, fmt.Sprint(i))
		}
		r, _ = f.ask(echoService, 1, 0, "again")
		f.expect(r, message.OK, "again")
		// Lanes with priority first: control (urgent), commit (the notice), request.
		g.served.expect(t, "busy", "urgent", "", "0", "1", "2", "3", "4", "again")
		if c := f.Status().Components[0]; c.Refused != 1 || c.Handled != 9 || c.MailboxBound != 5 || c.MailboxDepth != 0 {
			t.Fatalf("%+v", c)
		}
		f.end(nil)
	})
}

// TestDeadline: the remaining time travels, shrinks while a request waits, and what
// has none left is not started.
func TestDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := gate{open: make(chan struct{})}
		var remaining []uint32
		f := newFixture(t, []func() (Component, error){made(stub{name: "a", services: provides(echo), serve: func(s *stub, r message.Request) {
			g.serve(s, r)
			remaining = append(remaining, r.Envelope().RemainingMillis)
		}})}).begin()
		f.later(echoService, 1, "busy")
		synctest.Wait()
		short, long := &pending{wait: make(chan Reply, 1)}, &pending{wait: make(chan Reply, 1)}
		f.call(short, &Call{Service: echoService, Method: 1, Timeout: 100 * time.Millisecond, Body: []byte("short")})
		f.call(long, &Call{Service: echoService, Method: 1, Timeout: time.Second, Body: []byte("long")})
		begin := time.Now()
		f.expect(<-short.wait, message.Expired, "")
		if d := time.Since(begin); d < 100*time.Millisecond || d > 105*time.Millisecond {
			t.Fatalf("expired after %v", d)
		}
		time.Sleep(300*time.Millisecond - time.Since(begin))
		close(g.open)
		f.expect(<-long.wait, message.OK, "long")
		synctest.Wait()
		g.served.expect(t, "busy", "long")
		if !slices.Equal(remaining, []uint32{10000, 700}) {
			t.Fatal(remaining)
		}
		if s := f.Stats(); s.Expired != 1 || s.Outstanding != 0 {
			t.Fatalf("%+v", s)
		}
		// A timeout beyond the bound is cut.
		p := &pending{wait: make(chan Reply, 1)}
		f.call(p, &Call{Service: ownerService, Method: 1, Timeout: 100 * time.Hour})
		begin = time.Now()
		f.expect(<-p.wait, message.Unavailable, "")
		if d := time.Since(begin); d > MaxTimeout+time.Second {
			t.Fatalf("after %v", d)
		}
		f.end(nil)
	})
}

// TestTooMuchHeld: a Component that takes without answering is given no more than
// maxHeld, and the mailbox behind it fills.
func TestTooMuchHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		box := newMailbox("a", func() time.Duration { return 0 })
		in := &instance{}
		box.open(in)
		box.setReady(in, true)
		s := &served{desc: echo, bound: maxHeld, latency: make([]router.Histogram, 4)}
		e := &Engine{cfg: Config{SFU: 1}}
		push := func(method int) message.Code {
			code, _ := box.pushOne(&request{box: box, engine: e, service: s, method: method, env: message.Envelope{Kind: message.KindRequest, From: 2}})
			return code
		}
		for range maxHeld + 1 {
			if i := push(0); i != message.OK && s.depth[message.LaneRequest] < maxHeld {
				t.Fatal(i)
			}
		}
		var l load
		taken := 0
		var last message.Request
		for taken < maxHeld && box.take(in, &l) {
			if len(l.batch) > maxBatch {
				t.Fatalf("a batch of %d", len(l.batch))
			}
			taken += len(l.batch)
			last = l.batch[0]
		}
		for range maxHeld {
			if code := push(0); code != message.OK {
				t.Fatal(code)
			}
		}
		if push(0) != message.Overloaded {
			t.Fatal("the mailbox has no bound")
		}
		// Notices are not held, so they still pass.
		if code, _ := box.pushOne(&request{box: box, engine: e, service: s, method: 2, env: message.Envelope{Kind: message.KindNotice, From: 2}}); code != message.OK {
			t.Fatal(code)
		}
		if box.take(in, &l); len(l.batch) != 1 {
			t.Fatalf("%d were given besides the notice", len(l.batch)-1)
		}
		more := make(chan int)
		go func() { box.take(in, &l); more <- len(l.batch) }()
		synctest.Wait()
		select {
		case n := <-more:
			t.Fatalf("%d more were given", n)
		default:
		}
		box.settled(last.(*request))
		if n := <-more; n != 1 {
			t.Fatalf("%d were given for one that was answered", n)
		}
	})
}

// TestFifo: a queue that never empties does not grow.
func TestFifo(t *testing.T) {
	var f fifo
	rs := make([]request, 100000)
	for i := range rs {
		f.push(&rs[i])
		if i >= 10 && f.pop() != &rs[i-10] {
			t.Fatal(i)
		}
	}
	if cap(f.items) > 8192 {
		t.Fatalf("it has grown to %d", cap(f.items))
	}
	f.putBack([]*request{&rs[0], &rs[1]})
	if f.len() != 12 || f.pop() != &rs[0] || f.pop() != &rs[1] || f.pop() != &rs[len(rs)-10] {
		t.Fatal("putBack")
	}
}

// TestAnswers: exactly one answer counts, and a notice has none.
func TestAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		done := make(chan struct{}, 1)
		f := newFixture(t, []func() (Component, error){made(stub{name: "a", services: provides(echo), serve: func(_ *stub, r message.Request) {
			first, second := raw("first"), raw("second")
			r.Reply(&first)
			r.Reply(&second)
			r.Fail(message.Internal, "third")
			done <- struct{}{}
		}})}).begin()
		r, _ := f.ask(echoService, 1, 0, "")
		f.expect(r, message.OK, "first")
		<-done
		if err := f.notify(&Notice{Service: echoService, Method: 3}); err != nil {
			t.Fatal(err)
		}
		<-done
		synctest.Wait()
		if s := f.Stats(); s.Late != 0 {
			t.Fatalf("%+v", s)
		}
		f.end(nil)
	})
}

// TestAdmission: who is let in at which point of a Component's life.
func TestAdmission(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		draining, drained := make(chan struct{}), make(chan struct{})
		var host Host
		f := newFixture(t, []func() (Component, error){made(stub{name: "a", unready: true, services: append(provides(echo), provides(named)...),
			start: func(s *stub) error { host = s.host; return nil },
			drain: func(*stub) error { close(draining); <-drained; return nil }})})
		expect := func(when string, policy, byName message.Code) {
			t.Helper()
			for service, want := range map[uint16]message.Code{echoService: policy, namedService: byName} {
				code, _ := f.deliverHere(&message.Envelope{Kind: message.KindRequest, Service: service, Method: 1, From: 1})
				if code != want {
					t.Errorf("%s, service %d: %v, want %v", when, service, code, want)
				}
			}
			synctest.Wait()
		}
		expect("before", message.Unavailable, message.Unavailable)
		f.begin()
		expect("not ready", message.Unavailable, message.OK)
		host.Ready(true)
		expect("ready", message.OK, message.OK)
		host.Ready(false)
		expect("not ready again", message.Unavailable, message.OK)
		host.Ready(true)
		f.cancel()
		<-draining
		expect("draining", message.Draining, message.OK)
		close(drained)
		if err := <-f.done; err != nil {
			t.Fatal(err)
		}
		expect("stopped", message.Unavailable, message.Unavailable)
	})
}

// TestStopWithFullMailbox: what waits when a Component is stopped for good is
// refused as not executed, what was taken is unknown, and a second instance that
// could take it would get it.
func TestStopWithFullMailbox(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := gate{open: make(chan struct{})}
		f := newFixture(t, []func() (Component, error){made(stub{name: "a", services: provides(echo), serve: g.serve})}, func(c *Config) {
			c.DrainWithin, c.StopWithin = time.Second, time.Second
		}).begin()
		taken := f.later(echoService, 2, "taken")
		synctest.Wait()
		waiting := f.later(echoService, 2, "waiting")
		f.end(errHangs) // it is said that something runs on
		f.expect(<-taken, message.Unknown, "")
		f.expect(<-waiting, message.Unavailable, "")
		close(g.open)
	})
}
