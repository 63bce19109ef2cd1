package txn_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"virtualservicesinc.com/comps/txn/store"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// ask asks one SFU for events; a question that it sends away is nil.
func (c *cluster) ask(s *sfu, q *txnpb.EventsRequest) *txnpb.EventsAnswer {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	a, err := txnpb.TxnClient{Caller: s.engine.Caller(s.number)}.Events(ctx, q)
	if err != nil {
		c.t.Errorf("SFU %d: %v", s.number, err)
		return &txnpb.EventsAnswer{Next: &txnpb.Position{}}
	}
	return a
}

// TestEventsWait: who waits at any replica hears at once of what concerns it, of
// nothing else, and at the end of its time that there was nothing.
func TestEventsWait(t *testing.T) {
	c := newCluster(t)
	lead := c.leader()
	mustCommit(t, c.submit(lead, opening()))
	c.agree()
	end := c.ask(lead, &txnpb.EventsRequest{FromEnd: true}).Next
	if end.Csn != 1 || end.N != 2 {
		t.Fatalf("the end is %v", end)
	}
	of := func(account uint64) *txnpb.EventsFilter {
		return &txnpb.EventsFilter{AccountIds: []u128.Int{u128.From64(account)}}
	}
	var waiting sync.WaitGroup
	for _, s := range c.sfus {
		for _, filter := range []*txnpb.EventsFilter{nil, of(1), {Kinds: uint32(txnpb.EventKindsTransfers)}} {
			waiting.Go(func() {
				began := time.Now()
				a := c.ask(s, &txnpb.EventsRequest{After: end, Filter: filter, WaitMillis: 15_000})
				if len(a.Events) != 1 || a.Events[0].Csn != 2 || a.Next.Csn != 2 || time.Since(began) > 10*time.Second {
					t.Errorf("SFU %d, %v: %v after %v", s.number, filter, a, time.Since(began))
				}
			})
		}
		for _, filter := range []*txnpb.EventsFilter{of(9), {Code: 7}, {Kinds: uint32(txnpb.EventKindsExpiries)}} {
			waiting.Go(func() {
				a := c.ask(s, &txnpb.EventsRequest{After: end, Filter: filter, WaitMillis: 1500})
				// On a busy machine the commit may come later than that.
				if len(a.Events) != 0 || !a.End || a.Next.Csn != 2 && a.Next.Csn != 1 {
					t.Errorf("SFU %d, %v: %v", s.number, filter, a)
				}
			})
		}
		waiting.Go(func() { // of what is not committed yet
			at := &txnpb.Position{Group: end.Group, Epoch: end.Epoch, Csn: 2}
			if a := c.ask(s, &txnpb.EventsRequest{After: at, WaitMillis: 15_000}); len(a.Events) != 1 || a.Events[0].Csn != 2 {
				t.Errorf("SFU %d, ahead of its state: %v", s.number, a)
			}
		})
	}
	for _, s := range c.sfus {
		for s.txn.Load().Listening() < 7 {
			time.Sleep(time.Millisecond)
		}
	}
	mustCommit(t, c.submit(lead, transferOf(1)))
	waiting.Wait()
	for _, s := range c.sfus {
		if n := s.txn.Load().Listening(); n != 0 {
			t.Errorf("%d still wait at SFU %d", n, s.number)
		}
		if a := c.ask(s, &txnpb.EventsRequest{After: end, Filter: of(9)}); len(a.Events) != 0 || !a.End || a.Next.Csn != 2 {
			t.Errorf("SFU %d, behind what does not concern it: %v", s.number, a)
		}
	}
	if a := c.ask(lead, &txnpb.EventsRequest{After: &txnpb.Position{Epoch: end.Epoch, Group: 1, Csn: 9}, WaitMillis: 1}); len(a.Events) != 0 || a.End || a.Next.Csn != 9 {
		t.Errorf("a position that nobody knows: %v", a)
	}
}

// viewed is a store that counts how often it is looked at.
type viewed struct {
	store.Store
	count *atomic.Int64
}

func (v viewed) View() (store.View, error) {
	v.count.Add(1)
	return v.Store.View()
}

// TestEventsAhead: a question whose position is behind expiries that are not applied here yet
// waits, and is not asked again and again meanwhile.
func TestEventsAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var looks atomic.Int64
		c := newEmptyCluster(t)
		s := newSFU(1)
		s.wrap = func(db *store.DB) store.Store { return viewed{db, &looks} }
		c.sfus = append(c.sfus, s)
		c.begin()
		mustCommit(t, c.submit(s, opening()))
		end := c.ask(s, &txnpb.EventsRequest{FromEnd: true}).Next
		ahead := *end
		ahead.N++
		looks.Store(0)
		if a := c.ask(s, &txnpb.EventsRequest{After: &ahead, WaitMillis: 5000}); len(a.Events) != 0 || a.End {
			t.Errorf("%v", a)
		}
		if n := looks.Load(); n > 250 { // two with each listenTick
			t.Errorf("looked at the state %d times in 5 s", n)
		}
	})
}

// TestEventsOfStoppingReplica: who waits there is sent to another at once.
func TestEventsOfStoppingReplica(t *testing.T) {
	c := newCluster(t)
	lead := c.leader()
	mustCommit(t, c.submit(lead, opening()))
	c.agree()
	stops := c.sfus[lead.number%3]
	asked := make(chan error)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		_, err := txnpb.TxnClient{Caller: lead.engine.Caller(stops.number)}.Events(ctx, &txnpb.EventsRequest{FromEnd: true, WaitMillis: 15_000})
		asked <- err
	}()
	for stops.txn.Load().Listening() == 0 {
		time.Sleep(time.Millisecond)
	}
	began := time.Now()
	c.stop(stops)
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("the stop took %v", took)
	}
	var refusal *message.Error
	if err := <-asked; !errors.As(err, &refusal) || !refusal.Code.NotExecuted() {
		t.Errorf("the question ended with %v", err)
	}
}
