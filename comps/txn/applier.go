package txn

import (
	"context"
	"fmt"
	"sync"

	"go.etcd.io/raft/v3/raftpb"

	"virtualservicesinc.com/comps/txn/entry"
	"virtualservicesinc.com/comps/txn/replica"
	"virtualservicesinc.com/rrts/engine/trace"
)

// applier is the thread that applies committed entries and owns the machine.
type applier struct {
	c       *Component
	machine body
	mu      sync.Mutex
	work    []func()
	wake    chan struct{}

	placed   []placed // reused
	awaits   awaits
	sums     sumAsked
	incoming *incoming // a snapshot that is being received
	pin      *pinned   // the newest snapshot that was taken, whether the loop has heard of it or not
}

func newApplier(c *Component, m body) *applier {
	return &applier{c: c, machine: m, wake: make(chan struct{}, 1)}
}

// do queues work for the applier's thread.
func (a *applier) do(f ...func()) {
	a.mu.Lock()
	a.work = append(a.work, f...)
	a.mu.Unlock()
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

func (a *applier) run(ctx context.Context) {
	// A panic here has met a committed entry: every replica meets the same one, and
	// making the Component anew would meet it again at once. The process ends; the
	// next one replays from what is durable.
	defer func() {
		if v := recover(); v != nil {
			if err, ok := unreadable(v); ok { // in the middle of an entry: the process ends all the same
				a.c.noteFence(err)
			}
			a.c.host.Fatal(fmt.Errorf("txn: applying entry %d: %v", a.next(), v))
		}
	}()
	for {
		select {
		case <-ctx.Done():
			return
		case <-a.wake:
		}
		a.mu.Lock()
		work := a.work
		a.work = nil
		a.mu.Unlock()
		for _, f := range work {
			if ctx.Err() != nil {
				return
			}
			f()
		}
	}
}

func (a *applier) next() uint64 {
	index, _ := a.machine.Applied()
	return index + 1
}

// apply queues MsgStorageApply messages.
func (a *applier) apply(msgs []*raftpb.Message) {
	for _, m := range msgs {
		a.do(func() { a.applyMessage(m) })
	}
}

func (a *applier) applyMessage(m *raftpb.Message) {
	if a.c.halted.Load() {
		return
	}
	var results []entry.Result
	for _, e := range m.GetEntries() {
		if e.GetIndex() < a.next() {
			continue // a snapshot came first
		}
		var err error
		switch e.GetType() {
		case raftpb.EntryNormal:
			before := len(results)
			results, err = a.machine.Apply(e.GetIndex(), e.GetTerm(), e.GetData(), results)
			a.place(e.GetIndex(), results[before:])
		case raftpb.EntryConfChangeV2:
			err = a.machine.Reconfigure(e.GetIndex(), e.GetTerm(), e.GetData())
		default:
			err = fmt.Errorf("txn: entry %d is a %v: install the newer software on this SFU", e.GetIndex(), e.GetType())
		}
		switch {
		case err == nil:
			a.mark(e.GetIndex())
			a.sums.reached(a, e.GetIndex())
		case unknownVersion(err):
			a.c.halt(err)
			return
		default:
			a.c.host.Fatal(err)
			return
		}
	}
	a.c.sessions.changed(a.machine.TakeUsers())
	a.c.note(trace.Applied, []*raftpb.Message{m})
	a.awaits.answer(a.machine.OutboxVersion())
	a.c.listeners.applied()
	changes := a.machine.TakeChanges()
	if len(changes) > 0 && !a.tookChanges(changes) {
		return
	}
	done := replica.AppliedEntries{Message: m, Results: results, Changes: changes, NextExpiry: a.machine.NextExpiry()}
	a.c.post(func() {
		a.c.loop.replica.Applied(done, a.c.host.Now(), a.c.cfg.Wall())
		a.c.loop.changed(changes)
	})
}
