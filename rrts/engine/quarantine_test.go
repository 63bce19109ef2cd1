package engine

import (
	"context"
	"errors"
	"io/fs"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"virtualservicesinc.com/rrts/engine/quarantine"
	"virtualservicesinc.com/rrts/message"
)

// TestQuarantine: a request that crashes its Component three times is held on disk
// and refused from then on, also by the next engine; requests beside it are served;
// the operator tries it again, and discards it.
func TestQuarantine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, err := quarantine.NewDir(t.TempDir(), make([]byte, 32), rand.NewChaCha8([32]byte{}))
		if err != nil {
			t.Fatal(err)
		}
		store := func(c *Config) { c.Quarantine = dir }
		var cured atomic.Bool
		hold := make(chan struct{})
		s := stub{name: "a", services: provides(echo), serve: func(s *stub, r message.Request) {
			switch body := raw(r.Envelope().Body); {
			case string(body) == "hold":
				<-hold
				r.Reply(&body)
			case string(body) == "poison" && !cured.Load():
				panic("it hurts")
			default:
				r.Reply(&body)
			}
		}}
		f := newFixture(t, []func() (Component, error){made(s)}, store).begin()
		f.later(echoService, 1, "hold")
		synctest.Wait()
		before, poison, after := f.later(echoService, 1, "before"), f.later(echoService, 1, "poison"), f.later(echoService, 1, "after")
		close(hold)
		f.expect(<-before, message.OK, "before")
		f.expect(<-after, message.OK, "after")
		r := <-poison
		f.expect(r, message.Quarantined, "")
		held, err := f.Quarantine()
		if err != nil || len(held) != 1 {
			t.Fatal(held, err)
		}
		h := held[0]
		if !strings.Contains(r.Detail, h.ID) || h.Component != "a" || h.Crashes != 3 || !strings.HasPrefix(h.Reason, "panic: it hurts") ||
			string(h.Request.Body) != "poison" || h.Time != time.Now().UnixNano() || h.Err != nil {
			t.Fatalf("%+v, and the caller was told %s", h, r.Detail)
		}
		if n := f.Status().Components[0].Restarts; n != 3 {
			t.Fatalf("%d restarts", n)
		}

		// The same again is refused, others of the same method are not.
		time.Sleep(time.Second)
		r, _ = f.ask(echoService, 1, 0, "poison")
		f.expect(r, message.Quarantined, "")
		r, _ = f.ask(echoService, 1, 0, "poisonous")
		f.expect(r, message.OK, "poisonous")
		if n := f.Status().Components[0].Restarts; n != 3 {
			t.Fatalf("%d restarts", n)
		}
		f.end(nil)

		// The next engine knows it too.
		f = newFixture(t, []func() (Component, error){made(s)}, store).begin()
		f.alarms.expect(t, "warning requests-quarantined: 1 requests are held for the operator")
		r, _ = f.ask(echoService, 1, 0, "poison")
		f.expect(r, message.Quarantined, "")

		// Tried again too early it crashes thrice and stays.
		if r, err = f.Retry(t.Context(), h.ID); err == nil || r.Code != message.Quarantined {
			t.Fatal(r, err)
		}
		if held, _ := f.Quarantine(); len(held) != 1 {
			t.Fatal(held)
		}
		// Nobody there to try it: it stays.
		time.Sleep(time.Minute)
		hurried, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := f.Retry(hurried, h.ID); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		r, _ = f.ask(echoService, 1, 0, "poison")
		f.expect(r, message.Quarantined, "")
		// Cured, it is answered and gone.
		time.Sleep(10 * time.Minute)
		cured.Store(true)
		r, err = f.Retry(t.Context(), h.ID)
		if err != nil {
			t.Fatal(err)
		}
		f.expect(r, message.OK, "poison")
		if held, _ := f.Quarantine(); len(held) != 0 {
			t.Fatal(held)
		}
		if a := f.Alarms(); len(a) != 0 {
			t.Fatalf("%+v", a)
		}
		for _, id := range []string{h.ID, "nonsense"} {
			if _, err := f.Retry(t.Context(), id); !errors.Is(err, fs.ErrNotExist) {
				t.Fatal(err)
			}
			if err := f.Discard(id); !errors.Is(err, fs.ErrNotExist) {
				t.Fatal(err)
			}
		}
		f.end(nil)
		f.saw.Proves(t)
	})
}

// TestQuarantineOfOthers: what may not be served twice is answered Unknown each
// time, and counted when it comes again; a notice that crashes is counted too.
func TestQuarantineOfOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, []func() (Component, error){made(stub{name: "a", services: provides(echo), serve: crashOn("poison", 0)})}).begin()
		for i := range 5 {
			r, _ := f.ask(echoService, 2, 0, "poison")
			want := message.Unknown
			if i >= 2 {
				want = message.Quarantined
			}
			f.expect(r, want, "")
			time.Sleep(time.Minute)
		}
		for i := range 5 {
			err := f.notify(&Notice{To: 1, Service: echoService, Method: 3, Body: []byte("poison")})
			if refused := err != nil; refused != (i >= 3) {
				t.Fatalf("notice %d: %v", i, err)
			}
			time.Sleep(time.Minute)
		}
		held, _ := f.Quarantine()
		if len(held) != 2 || f.Status().Components[0].Restarts != 6 {
			t.Fatalf("%d held, %d restarts", len(held), f.Status().Components[0].Restarts)
		}
		for _, h := range held {
			if err := f.Discard(h.ID); err != nil {
				t.Fatal(err)
			}
		}
		r, _ := f.ask(echoService, 2, 0, "poison") // like any other again
		f.expect(r, message.Unknown, "")
		f.end(nil)
	})
}

// TestQuarantineOnTheSide: a crash outside of Serve makes suspects of all that was
// taken; they are given again one at a time, each when the one before was answered,
// so that only the culprit is in three crashes.
func TestQuarantineOnTheSide(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := stub{name: "a", services: provides(echo), serve: func(s *stub, r message.Request) {
			body := raw(r.Envelope().Body)
			s.host.Go("worker", func(ctx context.Context) {
				select {
				case <-ctx.Done():
					return
				case <-time.After(100 * time.Millisecond):
				}
				if string(body) == "poison" {
					panic("late")
				}
				select {
				case <-ctx.Done():
				case <-time.After(100 * time.Millisecond):
					r.Reply(&body)
				}
			})
		}}
		f := newFixture(t, []func() (Component, error){made(s)}).begin()
		var good []<-chan Reply
		for range 3 {
			good = append(good, f.later(echoService, 1, "good"))
		}
		poison := f.later(echoService, 1, "poison")
		for range 3 {
			good = append(good, f.later(echoService, 1, "good"))
		}
		f.expect(<-poison, message.Quarantined, "")
		for _, c := range good {
			f.expect(<-c, message.OK, "good")
		}
		f.end(nil)
	})
}

// TestSuspectNeverAnswers: one that is taken and never answered holds the next
// suspect up only for a while.
func TestSuspectNeverAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := stub{name: "a", services: provides(echo), serve: func(s *stub, r message.Request) {
			body := raw(r.Envelope().Body)
			switch {
			case s.life1 == 1:
				s.host.Go("x", func(context.Context) { panic("at once") })
			case string(body) == "mute":
			default:
				r.Reply(&body)
			}
		}}
		f := newFixture(t, []func() (Component, error){made(s)}, func(c *Config) { c.DrainWithin = time.Second }).begin()
		mute, good := f.later(echoService, 1, "mute"), f.later(echoService, 1, "good")
		begin := time.Now()
		f.expect(<-good, message.OK, "good")
		if d := time.Since(begin); d < aloneFor || d > aloneFor+2*watchEvery {
			t.Fatalf("after %v", d)
		}
		f.expect(<-mute, message.Expired, "")
		f.end(nil)
	})
}

// fullStore is a Store whose disk is full.
type fullStore struct{ quarantine.Memory }

func (*fullStore) Put(string, *quarantine.Record) error { return errTest }

// TestQuarantineFails: what cannot be kept is refused, and the caller knows.
func TestQuarantineFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, []func() (Component, error){made(stub{name: "a", services: provides(echo), serve: crashOn("poison", 0)})},
			func(c *Config) { c.Quarantine = new(fullStore) }).begin()
		r, _ := f.ask(echoService, 1, 0, "poison")
		if r.Code != message.Quarantined || !strings.Contains(r.Detail, "cannot be kept: test") {
			t.Fatal(r)
		}
		if held, _ := f.Quarantine(); len(held) != 0 {
			t.Fatal(held)
		}
		f.end(nil)
	})
}
