package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/schema/enginepb"
)

// TestThreeEngines: calls by every policy, notices, and the engines' own service
// across three engines.
func TestThreeEngines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var heard diary
		_, all := cluster(t, func(sfu uint16) []stub {
			cs := []stub{answering(sfu, "named", named), {name: "news", services: provides(news),
				serve: func(_ *stub, r message.Request) { heard.add("%d hears %s", sfu, r.Envelope().Body) }}}
			if sfu != 1 {
				cs = append(cs, answering(sfu, "echo", echo))
			}
			return cs
		})
		one := all[0]
		for sfu := uint16(1); sfu <= 3; sfu++ {
			r, _ := one.ask(namedService, 1, sfu, "hello")
			one.expect(r, message.OK, fmt.Sprintf("hello from %d", sfu))
			if r.From != sfu {
				t.Fatal(r.From)
			}
		}
		seen := map[string]int{}
		for range 10 {
			r, took := one.ask(echoService, 2, 0, "hi")
			if took != 2*time.Millisecond {
				t.Fatal(took)
			}
			seen[string(r.Body)]++
		}
		if seen["hi from 2"] != 5 || seen["hi from 3"] != 5 {
			t.Fatal(seen)
		}
		if err := one.notify(&Notice{Service: newsService, Method: 3, Body: []byte("it")}); err != nil {
			t.Fatal(err)
		}
		settle()
		got := heard.take()
		if slices.Sort(got); !slices.Equal(got, []string{"1 hears it", "2 hears it", "3 hears it"}) {
			t.Fatal(got)
		}
		s, err := enginepb.EngineClient{Caller: one.Caller(3)}.Status(t.Context(), &enginepb.EngineStatusRequest{})
		if err != nil || s.Sfu != 3 || s.Name != "sfu3" || len(s.Components) != 4 || s.Components[3].Name != "echo" || s.Components[3].Handled != 5 {
			t.Fatalf("%+v, %v", s, err)
		}
		if s, err = (enginepb.EngineClient{Caller: one.Caller(1)}).Status(t.Context(), &enginepb.EngineStatusRequest{}); err != nil || s.Sfu != 1 {
			t.Fatalf("%+v, %v", s, err)
		}
		if err = (enginepb.EngineClient{Caller: one.Caller(9)}).Announce(t.Context(), new(enginepb.Announcement)); !errors.Is(err, &message.Error{Code: message.Unavailable}) {
			t.Fatal(err)
		}
		_, err = enginepb.EngineClient{Caller: one.Caller(9)}.Status(t.Context(), &enginepb.EngineStatusRequest{})
		if !errors.Is(err, &message.Error{Code: message.Unavailable}) {
			t.Fatal(err)
		}
		gone, cancel := context.WithTimeout(t.Context(), time.Microsecond)
		defer cancel()
		if _, err = (enginepb.EngineClient{Caller: one.Caller(3)}).Status(gone, &enginepb.EngineStatusRequest{}); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		if p := one.Peers(); len(p) != 2 || p[0].Name != "sfu2" || p[1].Type != "core" || !slices.Equal(p[0].Services, []uint16{1, echoService, namedService, newsService}) {
			t.Fatalf("%+v", p)
		}
		var called []string
		for _, l := range one.Stats().Called {
			called = append(called, fmt.Sprintf("%s.%s %d", l.Service, l.Method, l.Histogram.Count))
		}
		if want := []string{"Engine.Status 3", "Echo.Pay 10", "Named.Get 3"}; !slices.Equal(called, want) {
			t.Fatal(called)
		}
		endAll(all)
	})
}

// TestPeerLost: when an SFU is lost, what it held moves if it is idempotent, and has
// an unknown outcome if not.
func TestPeerLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, all := cluster(t, func(sfu uint16) []stub {
			switch sfu {
			case 2: // takes and never answers
				return []stub{{name: "echo", services: provides(echo), serve: func(*stub, message.Request) {}}}
			case 3:
				s := answering(sfu, "echo", echo)
				s.unready = true
				return []stub{s}
			}
			return nil
		}, func(c *Config) { c.DrainWithin = time.Second })
		one := all[0]
		get, pay := one.later(echoService, 1, "get"), one.later(echoService, 2, "pay")
		settle()
		all[2].units[1].in.Ready(true)
		settle()
		h.remove(2)
		settle()
		one.expect(<-get, message.OK, "get from 3")
		one.expect(<-pay, message.Unknown, "")
		// A named SFU that is gone is unavailable at once.
		r, took := one.ask(echoService, 1, 2, "")
		if one.expect(r, message.Unavailable, ""); took != 0 {
			t.Fatal(took)
		}
		endAll(all)
	})
}

// TestLeaderChange: calls follow the holder; while there is none they wait.
func TestLeaderChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var leader atomic.Int32
		_, all := cluster(t, func(sfu uint16) []stub {
			return []stub{{name: "owner", services: provides(owner), serve: func(_ *stub, r message.Request) {
				if leader.Load() != int32(sfu) {
					r.Fail(message.NotLeader, "not me")
					return
				}
				b := raw(fmt.Sprintf("%s from %d", r.Envelope().Body, sfu))
				r.Reply(&b)
			}}}
		})
		hold := func(sfu, holder uint16, term uint64) {
			all[sfu-1].units[1].in.Hold(ownerService, holder, term)
		}
		waiting := all[0].later(ownerService, 2, "early")
		leader.Store(2)
		hold(2, 2, 5)
		all[0].expect(<-waiting, message.OK, "early from 2")
		for _, f := range all {
			r, _ := f.ask(ownerService, 2, 0, "now")
			f.expect(r, message.OK, "now from 2")
		}
		// The leader changes under calls on the way: the old one refuses, and they are
		// sent on as soon as the new one is known. None fails, and none waits for a pause.
		leader.Store(3)
		var calls []<-chan Reply
		for range 50 {
			calls = append(calls, all[0].later(ownerService, 2, "x"))
		}
		begin := time.Now()
		time.Sleep(3 * time.Millisecond)
		hold(3, 3, 6)
		for _, c := range calls {
			all[0].expect(<-c, message.OK, "x from 3")
		}
		if took := time.Since(begin); took > 120*time.Millisecond { // the hub takes a millisecond a record
			t.Fatal(took)
		}
		// A holder that went with its SFU: calls wait for the next term.
		all[2].cancel()
		<-all[2].done
		settle()
		late := all[0].later(ownerService, 2, "late")
		settle()
		leader.Store(1)
		hold(1, 1, 7)
		all[0].expect(<-late, message.OK, "late from 1")
		endAll(all[:2])
	})
}

// TestDrainLosesNothing: an SFU is stopped under load; no call fails, and what
// depends on it goes on without a gap.
func TestDrainLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var leader atomic.Int32
		leader.Store(3)
		var all []*fixture
		_, all = cluster(t, func(sfu uint16) []stub {
			slow := answering(sfu, "echo", echo)
			inner := slow.serve
			slow.serve = func(s *stub, r message.Request) {
				s.host.Go("slow", func(context.Context) { time.Sleep(5 * time.Millisecond); inner(s, r) })
			}
			own := stub{name: "owner", services: provides(owner), serve: func(s *stub, r message.Request) {
				if leader.Load() != int32(sfu) {
					r.Fail(message.NotLeader, "not me")
					return
				}
				inner(s, r)
			}, drain: func(s *stub) error { // hands over
				if leader.CompareAndSwap(3, 1) {
					s.host.Hold(ownerService, 1, 2)
				}
				return nil
			}}
			return []stub{own, slow}
		})
		all[2].units[1].in.Hold(ownerService, 3, 1)
		settle()
		var failed, longest atomic.Int64
		stop := make(chan struct{})
		var clients sync.WaitGroup
		for i := range 20 {
			clients.Go(func() {
				for {
					select {
					case <-stop:
						return
					case <-time.After(2 * time.Millisecond):
					}
					service := []uint16{echoService, ownerService}[i%2]
					r, took := all[i%2].ask(service, 2, 0, "x")
					if r.Code != message.OK {
						failed.Add(1)
					}
					longest.Store(max(longest.Load(), int64(took)))
				}
			})
		}
		time.Sleep(100 * time.Millisecond)
		all[2].end(nil)
		time.Sleep(100 * time.Millisecond)
		close(stop)
		clients.Wait()
		if failed.Load() != 0 || time.Duration(longest.Load()) > 150*time.Millisecond {
			t.Fatalf("%d failed, the longest took %v", failed.Load(), time.Duration(longest.Load()))
		}
		endAll(all[:2])
	})
}

// TestLastProvider: the stop of the last instance of a service is refused unless
// forced.
func TestLastProvider(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, all := cluster(t, func(sfu uint16) []stub {
			cs := []stub{answering(sfu, "named", named)}
			if sfu < 3 {
				cs = append(cs, answering(sfu, "echo", echo))
			}
			return cs
		})
		if err := all[0].Shutdown(false); err != nil {
			t.Fatal(err)
		}
		if err := <-all[0].done; err != nil {
			t.Fatal(err)
		}
		settle()
		var last *LastError
		if err := all[1].Shutdown(false); !errors.As(err, &last) || !slices.Equal(last.Services, []string{"Echo"}) {
			t.Fatal(err)
		}
		if r, _ := all[2].ask(echoService, 1, 0, "still"); r.Code != message.OK {
			t.Fatal(r)
		}
		if err := all[1].Shutdown(true); err != nil {
			t.Fatal(err)
		}
		if err := <-all[1].done; err != nil {
			t.Fatal(err)
		}
		if err := all[2].Shutdown(false); err != nil { // only asked by name
			t.Fatal(err)
		}
		if err := <-all[2].done; err != nil {
			t.Fatal(err)
		}
	})
}

// TestPermit: the type of the sending SFU decides what it may ask, whatever the
// record claims.
func TestPermit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, all := cluster(t, func(sfu uint16) []stub { return []stub{answering(sfu, "named", named)} },
			func(c *Config) {
				if c.SFU == 2 {
					c.Type = "witness"
				}
				if c.SFU == 1 {
					c.Permit = func(from uint16, fromType string, service, method uint16) bool {
						return fromType == "core" && service == namedService && method == 1
					}
				}
			})
		for _, c := range []struct {
			from, method uint16
			want         message.Code
		}{{3, 1, message.OK}, {3, 2, message.Denied}, {2, 1, message.Denied}} {
			if r, _ := all[c.from-1].ask(namedService, c.method, 1, ""); r.Code != c.want {
				t.Errorf("SFU %d, method %d: %v, want %v", c.from, c.method, r.Code, c.want)
			}
		}
		if r, _ := all[0].ask(namedService, 2, 1, ""); r.Code != message.OK { // its own Components may
			t.Error(r)
		}
		_, err := enginepb.EngineClient{Caller: all[1].Caller(1)}.Status(t.Context(), new(enginepb.EngineStatusRequest))
		if err != nil {
			t.Error(err)
		}
		// SFU 2 says that it is SFU 3.
		forged := message.Envelope{Kind: message.KindRequest, Service: namedService, Method: 1, Call: 1, From: 3, To: 1}
		h.ports[2].Send(1, message.LaneRequest, forged.AppendTo(nil))
		settle()
		if s := all[0].Stats(); s.Denied != 3 {
			t.Fatalf("%+v", s)
		}
		endAll(all)
	})
}

// TestRubbish: what peers send wrong costs a counter.
func TestRubbish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, all := cluster(t, func(sfu uint16) []stub { return []stub{answering(sfu, "named", named)} })
		send := func(e message.Envelope) { h.ports[2].Send(1, message.LaneRequest, e.AppendTo(nil)) }
		h.ports[2].Send(1, message.LaneRequest, []byte("\xff\xff"))
		send(message.Envelope{Kind: 9, To: 1})
		send(message.Envelope{Kind: message.KindRequest, Service: namedService, Method: 1, To: 3})
		send(message.Envelope{Kind: message.KindRequest, Service: 77, Method: 1, To: 1, Call: 5})            // answered
		send(message.Envelope{Kind: message.KindRequest, Service: namedService, Method: 77, To: 1})          // answered
		send(message.Envelope{Kind: message.KindNotice, Service: 77, Method: 1, To: 1})                      // nobody wants an answer
		send(message.Envelope{Kind: message.KindNotice, Service: 1, Method: 1, To: 1, Body: []byte("\xff")}) // announcement
		send(message.Envelope{Kind: message.KindReply, Call: 12345, To: 1})
		send(message.Envelope{Kind: message.KindFailure, Call: 12345, To: 1})
		settle()
		if s := all[0].Stats(); s.Malformed != 3 || s.Misdirected != 1 || s.Late != 2 {
			t.Fatalf("%+v", s)
		}
		if s := all[1].Stats(); s.Late != 2 {
			t.Fatalf("%+v", s)
		}
		endAll(all)
	})
}

// TestFullTransport: a caller is told at once; an answer waits for room.
func TestFullTransport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, all := cluster(t, func(sfu uint16) []stub { return []stub{answering(sfu, "named", named)} })
		h.refuse.Store(true)
		r, took := all[0].ask(namedService, 1, 2, "")
		if all[0].expect(r, message.Overloaded, ""); took != 0 {
			t.Fatal(took)
		}
		if err := all[0].notify(&Notice{To: 2, Service: namedService, Method: 3}); !errors.Is(err, &message.Error{Code: message.Overloaded}) {
			t.Fatal(err)
		}
		h.refuse.Store(false)
		also := &pending{wait: make(chan Reply, 1)}
		all[0].call(also, &Call{Service: namedService, Method: 1, Target: 2, Body: []byte("b")})
		h.refuse.Store(true) // the request is on its way, the answer finds no room
		time.Sleep(time.Second)
		synctest.Wait()
		h.refuse.Store(false)
		all[0].expect(<-also.wait, message.OK, "b from 2")
		if all[1].backlog.count.Load() != 0 {
			t.Fatal("the backlog is not empty")
		}
		endAll(all)
	})
}

// TestWatchPeers: one PeerUp for each that is there, then what happens, in order.
func TestWatchPeers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var seen diary
		h, all := cluster(t, func(sfu uint16) []stub {
			if sfu != 1 {
				return []stub{answering(sfu, "echo", echo)}
			}
			return []stub{{name: "watcher", services: provides(named), serve: crashOn("die", 1), start: func(s *stub) error {
				s.host.WatchPeers(func(e PeerEvent) { seen.add("%d: %v %d", s.life1, e.Change, e.Peer.SFU) })
				return nil
			}}}
		})
		if got := seen.take(); len(got) != 4 {
			t.Fatalf("%q", got)
		}
		h.tell(2, func(i Inlet) { i.PeerSuspect(2); i.PeerRecovered(2) })
		settle()
		seen.expect(t, "1: suspect 2", "1: recovered 2")
		all[0].ask(namedService, 2, 1, "die")
		settle()
		time.Sleep(restartFirst)
		settle()
		seen.expect(t, "2: up 2", "2: up 3")
		h.tell(2, func(i Inlet) { i.PeerUp(2, 2) }) // restarted
		settle()
		seen.expect(t, "2: lost 2", "2: up 2")
		// The connector fails: all are lost, until it has found them again.
		all[0].units[0].in.fail("test", "", false)
		settle()
		seen.expect(t, "2: lost 2", "2: lost 3")
		endAll(all)
	})
}

// TestHostCall: a Component's own calls are answered on its own goroutine.
func TestHostCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked stub
		var got diary
		_, all := cluster(t, func(sfu uint16) []stub {
			cs := []stub{answering(sfu, "echo", echo)}
			if sfu == 1 {
				cs = append(cs, stub{name: "asker", start: func(s *stub) error { asked = *s; return nil }})
			}
			return cs
		})
		trace := [16]byte{1, 2, 3}
		for _, c := range []Call{
			{Service: echoService, Method: 1, Body: []byte("own"), Trace: trace},
			{Service: echoService, Method: 1, Target: 2, Body: []byte("other")},
			{Service: 4242, Method: 1},
		} {
			c.Done = func(r Reply) { got.add("%v %s", r.Code, r.Body) }
			asked.host.Call(c)
			settle()
		}
		got.expect(t, "ok own from 1", "ok other from 2", "no_method ")
		if asked.host.SFU() != 1 || len(asked.host.Peers()) != 2 {
			t.Fatal("host")
		}
		asked.host.Alarm("odd@3", Info, "detail")
		if a := all[0].Alarms(); len(a) != 1 || a[0].Name != "odd@3" {
			t.Fatal(a)
		}
		asked.host.ClearAlarm("odd@3")
		endAll(all)
	})
}
