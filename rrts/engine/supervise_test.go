package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"virtualservicesinc.com/rrts/message"
)

// crashOn makes a stub panic on requests whose body begins like that, in its first
// so many lives; 0 means in all.
func crashOn(body string, lives int) func(*stub, message.Request) {
	return func(s *stub, r message.Request) {
		if strings.HasPrefix(string(r.Envelope().Body), body) && (lives == 0 || s.life1 <= lives) {
			panic("poison")
		}
		b := raw(fmt.Sprintf("%s by life %d", r.Envelope().Body, s.life1))
		r.Reply(&b)
	}
}

// TestRestart: a panic restarts its Component alone; the pauses double up to a
// bound and begin anew after a stable time; the alarm stands until then.
func TestRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var life diary
		f := newFixture(t, []func() (Component, error){
			made(stub{name: "calm", life: &life, services: provides(named)}),
			made(stub{name: "wild", services: provides(echo), serve: crashOn("die", 0)}),
		}).begin()
		life.take()
		for i, pause := range []time.Duration{50, 100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 30000, 30000} {
			pause *= time.Millisecond
			r, _ := f.ask(echoService, 2, 1, fmt.Sprint("die ", i))
			f.expect(r, message.Unknown, "")
			synctest.Wait()
			if a, b := f.state("wild"), f.state("calm"); a != "failed" || b != "ready" {
				t.Fatalf("crash %d: %s, and the other %s", i, a, b)
			}
			time.Sleep(pause - time.Millisecond)
			synctest.Wait()
			if s := f.state("wild"); s != "failed" {
				t.Fatalf("crash %d: %s before %v", i, s, pause)
			}
			time.Sleep(time.Millisecond)
			synctest.Wait()
			if s := f.state("wild"); s != "ready" {
				t.Fatalf("crash %d: %s after %v", i, s, pause)
			}
		}
		if l := life.take(); len(l) != 0 {
			t.Fatalf("the other Component was touched: %q", l)
		}
		if a := f.Alarms(); len(a) != 1 || a[0].Severity != Critical || a[0].Count != 12 {
			t.Fatalf("%+v", a)
		}
		time.Sleep(stableAfter + watchEvery + time.Millisecond)
		synctest.Wait()
		f.alarms.expect(t, "warning component-failed@wild: panic: poison", "critical component-failed@wild: panic: poison", "clear component-failed@wild")
		f.ask(echoService, 2, 1, "die again")
		time.Sleep(restartFirst)
		synctest.Wait()
		if s := f.state("wild"); s != "ready" {
			t.Fatal("the pauses did not begin anew")
		}
		if r := f.Status().Components[1].Restarts; r != 13 {
			t.Fatalf("%d restarts", r)
		}
		f.end(nil)
		f.saw.Proves(t)
	})
}

// TestRestartKeepsWork: what waited is served by the next instance, what was taken
// too if it is idempotent; new work waits for the restart in the router.
func TestRestartKeepsWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hold := make(chan struct{})
		s := stub{name: "a", services: provides(echo), serve: func(s *stub, r message.Request) {
			switch body := string(r.Envelope().Body); {
			case body == "hold":
				<-hold
				return // taken, not answered
			case body == "taken" && s.life1 == 1:
				return
			case body == "die" && s.life1 == 1:
				panic("poison")
			default:
				b := raw(fmt.Sprintf("%s by life %d", body, s.life1))
				r.Reply(&b)
			}
		}}
		f := newFixture(t, []func() (Component, error){made(s)}).begin()
		taken, pay := f.later(echoService, 1, "taken"), f.later(echoService, 2, "taken")
		synctest.Wait()
		first := f.later(echoService, 2, "hold")
		synctest.Wait()
		die := f.later(echoService, 1, "die")
		innocent, paid := f.later(echoService, 1, "innocent"), f.later(echoService, 2, "paid")
		close(hold)
		synctest.Wait()
		// One batch held die, innocent and paid; the panic came before the others were
		// looked at, but nobody can know that.
		f.expect(<-pay, message.Unknown, "")
		f.expect(<-first, message.Unknown, "")
		f.expect(<-paid, message.Unknown, "")
		if s := f.state("a"); s != "failed" {
			t.Fatal(s)
		}
		during := f.later(echoService, 2, "during")
		f.expect(<-taken, message.OK, "taken by life 2")
		f.expect(<-die, message.OK, "die by life 2")
		f.expect(<-innocent, message.OK, "innocent by life 2")
		f.expect(<-during, message.OK, "during by life 2")
		f.end(nil)
	})
}

// TestRenew: a Component that wants to be made anew is, at once and without an alarm; what
// it had taken is the next one's, if it is idempotent.
func TestRenew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := stub{name: "a", services: provides(echo), serve: func(s *stub, r message.Request) {
			switch body := string(r.Envelope().Body); {
			case s.life1 == 1 && body == "renew":
				b := raw("done")
				r.Reply(&b)
				s.host.Renew("as asked")
			case s.life1 == 1:
			default:
				b := raw(fmt.Sprintf("%s by life %d", body, s.life1))
				r.Reply(&b)
			}
		}}
		f := newFixture(t, []func() (Component, error){made(s)}).begin()
		taken, pay := f.later(echoService, 1, "taken"), f.later(echoService, 2, "pay")
		synctest.Wait()
		from := f.clock()
		f.expect(<-f.later(echoService, 2, "renew"), message.OK, "done")
		f.expect(<-taken, message.OK, "taken by life 2")
		f.expect(<-pay, message.Unknown, "")
		if took := f.clock() - from; took != 0 {
			t.Errorf("it took %v", took)
		}
		f.alarms.expect(t)
		f.end(nil)
	})
}

// TestFailures: every way to fail is noticed, and named in the alarm.
func TestFailures(t *testing.T) {
	block := func(ctx context.Context) { <-ctx.Done() }
	for name, c := range map[string]struct {
		start func(*stub) error
		serve func(*stub, message.Request)
		after time.Duration // from the request to the failure
		want  string
	}{
		"goroutine": {start: func(s *stub) error {
			s.host.Go("pump", func(ctx context.Context) {
				if s.life1 == 1 {
					time.Sleep(time.Second)
					panic("burst")
				}
				<-ctx.Done()
			})
			return nil
		}, after: time.Second, want: "panic in pump: burst"},
		"done": {serve: func(s *stub, r message.Request) {
			s.host.Call(Call{Service: namedService, Method: 1, Target: 9, Done: func(Reply) {
				if s.life1 == 1 {
					panic("surprise")
				}
			}})
			r.Reply(new(raw))
		}, want: "panic: surprise"},
		"watcher": {start: func(s *stub) error {
			s.host.WatchPeers(func(PeerEvent) {
				if s.life1 == 1 {
					panic("who")
				}
			})
			s.host.Connect(nowhere{}).PeerUp(2, 1)
			return nil
		}, want: "panic: who"},
		"hang": {serve: func(s *stub, r message.Request) {
			if s.life1 == 1 {
				time.Sleep(time.Hour)
			}
			r.Reply(new(raw))
		}, after: 10*time.Second + watchEvery, want: "hung: busy for more than 10s"},
		"pulse": {start: func(s *stub) error {
			beat := s.host.Pulse("core", 2*time.Second)
			s.host.Go("core", func(ctx context.Context) {
				for i := 0; ctx.Err() == nil; i++ {
					if s.life1 == 1 && i == 3 {
						block(ctx)
					}
					beat()
					select {
					case <-ctx.Done():
					case <-time.After(time.Second):
					}
				}
			})
			return nil
		}, after: 5 * time.Second, want: "hung: no heartbeat of core for more than 2s"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFixture(t, []func() (Component, error){made(stub{name: "a", services: provides(echo), start: c.start, serve: c.serve})}).begin()
				f.later(echoService, 1, "go")
				time.Sleep(c.after + restartFirst + time.Millisecond)
				synctest.Wait()
				f.alarms.expect(t, "warning component-failed@a: "+c.want)
				if s, n := f.state("a"), f.Status().Components[0].Restarts; s != "ready" || n != 1 {
					t.Fatalf("%s after %d restarts", s, n)
				}
				if r, _ := f.ask(echoService, 1, 0, ""); r.Code != message.OK {
					t.Fatalf("%+v", r)
				}
				time.Sleep(time.Hour) // let the hanging one end
				f.end(nil)
			})
		})
	}
}

// TestReviveFails: an instance that cannot be started is buried and made again.
func TestReviveFails(t *testing.T) {
	for _, point := range []string{"construct", "provision", "validate", "start", "start-goroutine"} {
		t.Run(point, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var life diary
				fails := func(s *stub) error {
					if s.life1 == 2 || s.life1 == 3 {
						return errTest
					}
					return nil
				}
				s := stub{name: "a", services: provides(echo), serve: crashOn("die", 1), life: &life}
				make := made(s)
				switch point {
				case "construct":
					inner, n := make, 0
					make = func() (Component, error) {
						if n++; n == 2 || n == 3 {
							return nil, errTest
						}
						return inner()
					}
				case "provision":
					s.provision = fails
				case "validate":
					s.validate = fails
				case "start":
					s.start = fails
				case "start-goroutine":
					s.start = func(s *stub) error {
						if fails(s) != nil {
							s.host.Go("x", func(context.Context) { panic("early") })
							time.Sleep(time.Second)
						}
						return fails(s)
					}
				}
				if point != "construct" {
					make = made(s)
				}
				f := newFixture(t, []func() (Component, error){make}).begin()
				reply := f.later(echoService, 1, "die")
				r := <-reply
				if r.Code != message.OK || !strings.HasPrefix(string(r.Body), "die by life") {
					t.Fatalf("%v %q %s", r.Code, r.Body, r.Detail)
				}
				if n := f.alarms.take(); len(n) != 1 {
					t.Fatalf("%q", n)
				}
				if a := f.Alarms()[0]; a.Count != 3 || !strings.Contains(a.Detail, "restart") {
					t.Fatalf("%+v", a)
				}
				f.end(nil)
				starts, stops := 0, 0
				for _, l := range life.take() {
					switch l {
					case "a provision":
						starts++
					case "a stop":
						stops++
					}
				}
				if starts != stops {
					t.Fatalf("%d were provisioned, %d stopped", starts, stops)
				}
			})
		})
	}
}

// TestHopeless: what a restart cannot cure ends the engine, with the reason.
func TestHopeless(t *testing.T) {
	t.Run("cannot be stopped", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			f := newFixture(t, []func() (Component, error){made(stub{name: "a", services: provides(echo), serve: crashOn("die", 0),
				stop: func(*stub) { time.Sleep(time.Hour) }})}).begin()
			f.later(echoService, 1, "die")
			if err := <-f.done; !errors.Is(err, errHangs) {
				t.Fatal(err)
			}
			time.Sleep(2 * time.Hour)
		})
	})
	t.Run("hangs again and again", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			f := newFixture(t, []func() (Component, error){made(stub{name: "a", services: provides(echo),
				serve: func(*stub, message.Request) { time.Sleep(time.Hour) }})}).begin()
			for range maxAbandoned {
				f.later(echoService, 2, fmt.Sprint(time.Now()))
				time.Sleep(11 * time.Second)
			}
			if err := <-f.done; err == nil || !strings.Contains(err.Error(), "3 goroutines of a") {
				t.Fatal(err)
			}
			time.Sleep(2 * time.Hour)
		})
	})
	t.Run("says so", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var life diary
			f := newFixture(t, []func() (Component, error){made(stub{name: "a", services: provides(echo), life: &life,
				serve: func(s *stub, _ message.Request) { s.host.Fatal(errTest); s.host.Fatal(errTest) }})}).begin()
			f.later(echoService, 1, "")
			if err := <-f.done; !errors.Is(err, errTest) {
				t.Fatal(err)
			}
			if l := life.take(); slices.Contains(l, "a drain") || !slices.Contains(l, "a stop") {
				t.Fatalf("%q", l)
			}
		})
	})
}

// TestDeadInstance: what is left of a failed instance has no voice any more.
func TestDeadInstance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var old *stub
		f := newFixture(t, []func() (Component, error){made(stub{name: "a", services: provides(echo), serve: crashOn("die", 1),
			start: func(s *stub) error {
				if s.life1 == 1 {
					old = s
				}
				return nil
			}})}).begin()
		inlet := old.host.Connect(nowhere{})
		inlet.PeerUp(2, 1)
		if p := f.Peers(); len(p) != 1 {
			t.Fatal(p)
		}
		f.ask(echoService, 2, 0, "die")
		time.Sleep(restartFirst)
		synctest.Wait()
		old.host.Ready(false)
		old.host.Call(Call{Service: echoService, Method: 1, Done: func(Reply) { t.Error("Done of a dead instance was called") }})
		if err := old.host.Notify(Notice{To: 1, Service: echoService, Method: 3}); err == nil {
			t.Error("a dead instance can notify")
		}
		inlet.PeerUp(3, 1)
		if p := f.Peers(); len(p) != 0 {
			t.Error("a dead Connector has peers", p)
		}
		if s := f.state("a"); s != "ready" {
			t.Error("a dead instance changed the state to", s)
		}
		f.end(nil)
	})
}

// TestPause: when the whole process did not run, nobody is taken for hung; who hangs
// then is found all the same.
func TestPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		origin := time.Now()
		var jump atomic.Int64
		s := stub{name: "a", services: provides(echo),
			start: func(s *stub) error { s.host.Pulse("core", 3*time.Second); return nil },
			serve: func(*stub, message.Request) { time.Sleep(time.Hour) }}
		f := newFixture(t, []func() (Component, error){made(s)}, func(c *Config) {
			c.Clock = func() time.Duration { return time.Since(origin) + time.Duration(jump.Load()) }
		}).begin()
		f.later(echoService, 1, "")
		time.Sleep(time.Second)
		jump.Store(int64(time.Minute))
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if n := f.Status().Components[0].Restarts; n != 0 {
			t.Fatalf("%d restarts after a pause", n)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if n := f.Status().Components[0].Restarts; n != 1 {
			t.Fatalf("%d restarts of one that shows no life", n)
		}
		f.end(errHangs)
		time.Sleep(2 * time.Hour)
	})
}

// TestLateAnswer: what a hanging instance answers after all is an answer, and the
// next instance is not asked again.
func TestLateAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var served diary
		s := stub{name: "a", services: provides(echo), serve: func(s *stub, r message.Request) {
			served.add("life %d", s.life1)
			if s.life1 == 1 { // hung for the engine, and then done before the next instance runs
				time.Sleep(10*time.Second + watchEvery + restartFirst/2)
			}
			b := raw(fmt.Sprint("life ", s.life1))
			r.Reply(&b)
		}}
		f := newFixture(t, []func() (Component, error){made(s)}).begin()
		p := &pending{wait: make(chan Reply, 1)}
		f.call(p, &Call{Service: echoService, Method: 1, Timeout: time.Minute})
		f.expect(<-p.wait, message.OK, "life 1")
		time.Sleep(time.Second)
		served.expect(t, "life 1")
		r, _ := f.ask(echoService, 1, 0, "")
		f.expect(r, message.OK, "life 2")
		f.end(nil)
	})
}

// TestMaybeExecuted: once a failed instance had taken a request, nobody says any
// more that it was not executed.
func TestMaybeExecuted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := stub{name: "a", services: provides(named), serve: func(s *stub, r message.Request) {
			if s.life1 == 1 {
				panic("after it was executed")
			}
			r.Fail(message.Overloaded, "busy")
		}}
		f := newFixture(t, []func() (Component, error){made(s)}).begin()
		r, _ := f.ask(namedService, 1, 1, "")
		f.expect(r, message.Unknown, "")
		r, _ = f.ask(namedService, 1, 1, "another")
		f.expect(r, message.Overloaded, "")
		f.end(nil)
	})
}

// TestProgress: it rises with every look of the loop.
func TestProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, nil).begin()
		a := f.Progress()
		time.Sleep(10 * watchEvery)
		synctest.Wait()
		if b := f.Progress(); b != a+10 {
			t.Fatalf("%d, then %d", a, b)
		}
		f.end(nil)
	})
}

// TestProgressOnTheWayDown: the loop turns still, and a Component that does not even come
// back from being made holds up the end: that is no progress.
func TestProgressOnTheWayDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inner, n, stuck := made(stub{name: "a", services: provides(echo), serve: crashOn("die", 0)}), 0, make(chan bool)
		f := newFixture(t, []func() (Component, error){func() (Component, error) {
			if n++; n == 2 {
				<-stuck
			}
			return inner()
		}}).begin()
		f.later(echoService, 2, "die")
		time.Sleep(time.Second)
		if err := f.Shutdown(true); err != nil {
			t.Fatal(err)
		}
		const within = 10 * time.Second
		a := f.Progress()
		time.Sleep(within)
		if f.Progress() == a {
			t.Fatal("the way down had no time")
		}
		time.Sleep(f.cfg.DrainWithin + 4*f.cfg.StopWithin)
		b := f.Progress()
		time.Sleep(within)
		if c := f.Progress(); c != b {
			t.Fatalf("it counts as progress, from %d to %d, that nothing goes on", b, c)
		}
		close(stuck)
		if err := <-f.done; err != nil {
			t.Fatal(err)
		}
	})
}
