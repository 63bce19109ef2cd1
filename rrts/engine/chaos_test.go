package engine

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"virtualservicesinc.com/rrts/message"
)

// executions counts what was executed, by the body of the request.
type executions struct {
	mu    sync.Mutex
	count map[string]int
}

func (e *executions) add(body string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.count[body]++
}

func (e *executions) of(body string) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.count[body]
}

// TestChaos: three engines whose connections are cut, whose Components crash, lose
// and delay answers, and whose leader changes. Every call is answered exactly once;
// what is not idempotent is executed at most once; OK means that it was executed,
// and a code that says "not executed" means that it never is.
func TestChaos(t *testing.T) {
	for seed := range uint64(12) {
		synctest.Test(t, func(t *testing.T) { chaos(t, seed) })
	}
}

func chaos(t *testing.T, seed uint64) {
	var mu sync.Mutex
	rng := rand.New(rand.NewPCG(seed, 7))
	dice := func(n int) int { mu.Lock(); defer mu.Unlock(); return rng.IntN(n) }
	done := &executions{count: make(map[string]int)}
	leader := uint16(1)
	h, all := cluster(t, func(sfu uint16) []stub {
		serve := func(s *stub, r message.Request) {
			body := raw(r.Envelope().Body)
			switch dice(60) {
			case 0:
				panic("before")
			case 1:
				done.add(string(body))
				panic("after")
			case 2:
				r.Fail(message.NotLeader, "not today")
			case 3:
				done.add(string(body)) // and never answers
			case 4, 5, 6, 7:
				done.add(string(body))
				time.AfterFunc(time.Duration(dice(50))*time.Millisecond, func() { r.Reply(&body) })
			default:
				done.add(string(body))
				r.Reply(&body)
			}
		}
		return []stub{{name: "echo", services: provides(echo), serve: serve}, {name: "owner", services: provides(owner), serve: serve}}
	}, func(c *Config) { c.DrainWithin = time.Second })
	hold := func(term uint64) {
		w := all[leader-1].Engine.begin()
		w.router.Hold(w.now, ownerService, leader, term, &w.out)
		w.end()
	}
	hold(1)
	var callers sync.WaitGroup
	for i := range 600 {
		time.Sleep(time.Duration(dice(3)) * time.Millisecond)
		switch dice(40) {
		case 0:
			h.change(1, 2)
		case 1:
			h.change(2, 3)
		case 2:
			h.change(1, 3)
		case 3:
			leader = uint16(1 + dice(3))
			hold(uint64(2 + i))
		}
		f := all[dice(3)]
		c := Call{Service: []uint16{echoService, ownerService}[dice(2)], Method: uint16(1 + dice(2)), Timeout: time.Duration(1+dice(500)) * time.Millisecond}
		body := fmt.Sprint(i)
		c.Body = []byte(body)
		p := &pending{wait: make(chan Reply, 2)}
		f.call(p, &c)
		callers.Go(func() {
			begin := time.Now()
			r := <-p.wait
			if late := time.Since(begin) - c.Timeout; late > 10*time.Millisecond {
				t.Errorf("seed %d: call %s was answered %v after its deadline", seed, body, late)
			}
			time.Sleep(time.Minute) // anything late has happened by then
			n := done.of(body)
			switch {
			case len(p.wait) > 0:
				t.Errorf("seed %d: call %s was answered twice", seed, body)
			case c.Method == 2 && n > 1:
				t.Errorf("seed %d: call %s is not idempotent and was executed %d times", seed, body, n)
			case r.Code == message.OK && (n == 0 || string(r.Body) != body):
				t.Errorf("seed %d: call %s was executed %d times and answered %q", seed, body, n, r.Body)
			case r.Code.NotExecuted() && n > 0:
				t.Errorf("seed %d: call %s was executed %d times and answered %v (%s)", seed, body, n, r.Code, r.Detail)
			}
		})
	}
	callers.Wait()
	for _, f := range all {
		if s := f.Stats(); s.Outstanding != 0 || s.Parked != 0 {
			t.Errorf("seed %d: %+v", seed, s)
		}
	}
	endAll(all)
}
