//go:build !race

// The race detector allocates on its own account, so budgets are held without it.

package engine

import (
	"context"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"virtualservicesinc.com/rrts/message"
)

// bare starts an Engine outside of virtual time.
func bare(t testing.TB, components ...stub) *Engine {
	e, err := New(Config{SFU: 1, Registry: registry(t), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range components {
		if err := e.Add(made(c)); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	if err := e.WaitReady(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return e
}

// sink is a Transport that takes everything.
type sink struct{ records atomic.Int64 }

func (s *sink) Send(uint16, message.Lane, []byte) error { s.records.Add(1); return nil }

// TestAllocBudget: what a message costs in allocations, from the engine into a
// local mailbox, there and back, and to and from another SFU.
func TestAllocBudget(t *testing.T) {
	var got atomic.Int64
	var host Host
	bare(t, stub{name: "a", services: provides(echo), start: func(s *stub) error { host = s.host; return nil },
		serve: func(_ *stub, r message.Request) {
			got.Add(1)
			body := raw(r.Envelope().Body)
			r.Reply(&body)
		}})
	var out sink
	inlet := host.Connect(&out)
	inlet.PeerUp(2, 1)
	wait := func(n int64) {
		for got.Load() < n {
			runtime.Gosched()
		}
	}
	body := []byte("hello")
	call := Call{Service: echoService, Method: 1, Target: 1, Body: body}
	notice := Notice{To: 1, Service: echoService, Method: 3, Body: body}
	away := Notice{To: 2, Service: echoService, Method: 3, Body: body}
	env := message.Envelope{Kind: message.KindRequest, Service: echoService, Method: 1, Call: 7, To: 1, Body: body}
	record := env.AppendTo(nil)
	records := [][]byte{record}
	many := make([][]byte, 64)
	for i := range many {
		many[i] = record
	}
	var done atomic.Int64
	call.Done = func(Reply) { done.Add(1) }
	for _, c := range []struct {
		name   string
		budget float64
		f      func()
	}{
		{"a notice into a local mailbox", 2 + 1, func() { // request and body; the stub answers with one more
			n := got.Load()
			if host.Notify(notice) != nil {
				t.Fatal("refused")
			}
			wait(n + 1)
		}},
		{"a local call and its answer", 4, func() { // call, request, answer; the stub's own
			n := done.Load()
			host.Call(call)
			for done.Load() == n {
				runtime.Gosched()
			}
		}},
		{"a notice to another SFU", 0, func() {
			if host.Notify(away) != nil {
				t.Fatal("refused")
			}
		}},
		{"a request from another SFU and its answer", 4, func() { // request, the slices of the batch; the stub's own
			n := got.Load()
			inlet.Deliver(2, message.LaneRequest, records)
			wait(n + 1)
		}},
	} {
		c.f()
		if n := testing.AllocsPerRun(500, c.f); n > c.budget {
			t.Errorf("%s: %v allocations of at most %v", c.name, n, c.budget)
		}
	}
	n := testing.AllocsPerRun(100, func() {
		n := got.Load()
		inlet.Deliver(2, message.LaneRequest, many)
		wait(n + int64(len(many)))
	})
	if per := n / float64(len(many)); per > 2.5 {
		t.Errorf("a request in a batch: %.2f allocations", per)
	}
}

// BenchmarkNotify is one message from the engine into a local mailbox and through
// Serve, as fast as the Component takes them.
func BenchmarkNotify(b *testing.B) {
	var got atomic.Int64
	var host Host
	bare(b, stub{name: "a", services: []Service{{Descriptor: echo, Mailbox: 1 << 20}}, start: func(s *stub) error { host = s.host; return nil },
		serve: func(*stub, message.Request) { got.Add(1) }})
	body := []byte("hello")
	b.ReportAllocs()
	sent := int64(0)
	for b.Loop() {
		for host.Notify(Notice{To: 1, Service: echoService, Method: 3, Body: body}) != nil {
			runtime.Gosched()
		}
		sent++
	}
	for got.Load() < sent {
		runtime.Gosched()
	}
}

// BenchmarkCall is a local call and its answer with 64 calls under way.
func BenchmarkCall(b *testing.B) {
	var host Host
	bare(b, stub{name: "a", services: provides(echo)},
		stub{name: "b", start: func(s *stub) error { host = s.host; return nil }})
	body := []byte("hello")
	var window = make(chan struct{}, 64)
	done := func(Reply) { <-window }
	b.ReportAllocs()
	for b.Loop() {
		window <- struct{}{}
		host.Call(Call{Service: echoService, Method: 1, Body: body, Done: done})
	}
}

// BenchmarkPingPong is the latency of a local call with nothing else under way.
func BenchmarkPingPong(b *testing.B) {
	var host Host
	bare(b, stub{name: "a", services: provides(echo)},
		stub{name: "b", start: func(s *stub) error { host = s.host; return nil }})
	answered := make(chan struct{}, 1)
	done := func(Reply) { answered <- struct{}{} }
	body := []byte("hello")
	b.ReportAllocs()
	for b.Loop() {
		host.Call(Call{Service: echoService, Method: 1, Body: body, Done: done})
		<-answered
	}
}

// BenchmarkDeliver is a batch of 64 requests from another SFU, answered; per
// request.
func BenchmarkDeliver(b *testing.B) {
	var host Host
	var got sync.WaitGroup
	bare(b, stub{name: "a", services: provides(echo), start: func(s *stub) error { host = s.host; return nil },
		serve: func(_ *stub, r message.Request) {
			body := raw(r.Envelope().Body)
			r.Reply(&body)
			got.Done()
		}})
	inlet := host.Connect(new(sink))
	inlet.PeerUp(2, 1)
	env := message.Envelope{Kind: message.KindRequest, Service: echoService, Method: 1, Call: 7, To: 1, Body: []byte("hello"),
		RemainingMillis: uint32(time.Second / time.Millisecond)}
	records := make([][]byte, 64)
	for i := range records {
		records[i] = env.AppendTo(nil)
	}
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		if n++; n%len(records) == 0 {
			got.Add(len(records))
			inlet.Deliver(2, message.LaneRequest, records)
			got.Wait()
		}
	}
}
