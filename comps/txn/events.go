package txn

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"virtualservicesinc.com/comps/txn/machine"
	"virtualservicesinc.com/comps/txn/store"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// Who wants events asks for those behind a position, and asks again: a client that is slow
// holds nothing here, and one that has lost its gateway or its replica asks another. Where
// there is no event yet the question waits, and this member looks at what it applies once
// for all the questions that wait: an event finds those that it concerns by its accounts
// and by the users that may see them.

const (
	// maxListeners bounds the questions that wait: all clients of a gateway, and as many
	// again of others. Each takes some hundred bytes, and its filter.
	maxListeners = 20_000
	// maxListen bounds how long one waits: a client hears at least so often that there is
	// nothing.
	maxListen = 30 * time.Second
	// listenTick is how exactly the end of a wait is kept.
	listenTick = 100 * time.Millisecond
	// listenPause is the least time between two looks at what was applied: under load one
	// look then sees hundreds of transactions.
	listenPause = 2 * time.Millisecond
	// maxLook bounds how much one look goes through; the next one goes on.
	maxLook = 100_000
)

// errStops is the answer to who waits at a replica that stops.
const errStops = "txn: this SFU stops: another replica will answer"

// listener is a question for events that waits.
type listener struct {
	r        message.Responder[*txnpb.EventsAnswer]
	in       *txnpb.EventsRequest
	user     uint64
	deadline time.Duration // of the host's clock
	// stamp is what the stream holds nothing selected before; next is the same as a
	// position.
	stamp uint64
	next  *txnpb.Position
	// behind is set when this replica's state does not reach the question's position.
	behind bool
}

// listeners are the questions that wait, and the look at what was applied.
type listeners struct {
	c    *Component
	wake chan struct{}
	any  atomic.Bool // somebody waits
	// sleeps says that run does not look at the clock.
	sleeps atomic.Bool

	mu        sync.Mutex
	stopped   bool
	all       crowd
	behind    crowd              // of them, those that this replica's state does not reach
	byAccount map[u128.Int]crowd // those with accounts in their filter
	byUser    map[uint64]crowd   // the others: clients, machine.Everything
	seen      uint64             // the stamp up to which was looked
	looking   uint64             // the stamp up to which is being looked, 0: nobody looks
	place     *txnpb.Position    // the same as a position
}

type crowd map[*listener]struct{}

// join adds a question to one of many crowds.
func join[K comparable](crowds map[K]crowd, key K, q *listener) {
	if crowds[key] == nil {
		crowds[key] = crowd{}
	}
	crowds[key][q] = struct{}{}
}

func leave[K comparable](crowds map[K]crowd, key K, q *listener) {
	if delete(crowds[key], q); len(crowds[key]) == 0 {
		delete(crowds, key)
	}
}

func newListeners(c *Component) *listeners {
	return &listeners{c: c, wake: make(chan struct{}, 1), all: crowd{}, behind: crowd{}, byAccount: map[u128.Int]crowd{}, byUser: map[uint64]crowd{}}
}

// applied says that the state has changed.
func (l *listeners) applied() {
	if l.any.Load() {
		l.wakeUp()
	}
}

// somebody says that somebody waits.
func (l *listeners) somebody() {
	l.any.Store(true)
	if l.sleeps.Swap(false) {
		l.wakeUp() // it looks at the clock from now on
	}
}

func (l *listeners) wakeUp() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// Events implements txnpb.TxnHandler.
func (d txnService) Events(r message.Responder[*txnpb.EventsAnswer], in *txnpb.EventsRequest) {
	c := d.c
	now, env := c.host.Now(), r.Envelope()
	wait := min(time.Duration(in.WaitMillis)*time.Millisecond, maxListen)
	if left := time.Duration(env.RemainingMillis) * time.Millisecond; left > 0 {
		wait = min(wait, left-left/4) // the answer has a way to go
	}
	if in.After == nil {
		in.After = &txnpb.Position{} // the beginning
	}
	c.listeners.serve(&listener{r: r, in: in, user: owner(env), deadline: now + wait})
}

// serve has a reader answer a question, or let it wait.
func (l *listeners) serve(q *listener) {
	l.c.enqueueRead(q.r.Request, func() {
		before := l.c.store.Applied()
		view, err := l.c.store.View()
		if err != nil {
			q.r.Fail(message.Internal, err.Error())
			return
		}
		l.look(view, before, q)
		if err := view.Close(); err != nil {
			q.r.Fail(message.Internal, err.Error())
		}
	})
}

// here is where this member tells its stream.
func (c *Component) streamPlace() machine.Place {
	p := machine.Place{Group: c.cfg.Group, Epoch: c.epoch.Load()}
	if r := c.group.Load().Roster; r != nil {
		p.Force = r.Force
	}
	return p
}

// look answers a question from a view, or lets it wait for more. The view holds everything
// up to an index of the log, at least.
func (l *listeners) look(view store.View, index uint64, q *listener) {
	in := *q.in
	if q.next != nil { // what lies before was looked at
		in.After, in.FromEnd = q.next, false
	}
	a, stamp, err := machine.Events(view, &in, q.user, l.c.streamPlace())
	switch {
	case errors.Is(err, machine.ErrBehind):
		q.behind = true
	case errors.Is(err, machine.ErrInvalid):
		q.r.Fail(message.Invalid, err.Error())
		return
	case err != nil:
		q.r.Fail(message.Internal, err.Error())
		return
	case len(a.Events) > 0 || !a.End || l.c.host.Now() >= q.deadline:
		q.r.Reply(a)
		return
	default:
		q.behind, q.stamp, q.next = false, stamp, a.Next
	}
	switch l.add(q) {
	case waits:
		if l.c.store.Applied() != index {
			l.applied() // nobody may have known that it waits
		}
	case missed:
		l.serve(q)
	case refused:
		q.r.Fail(message.Overloaded, fmt.Sprintf("txn: %d questions for events wait already", maxListeners))
	case stopped:
		q.r.Fail(message.Draining, errStops)
	}
}

// What comes of letting a question wait.
type added int

const (
	waits   added = iota
	missed        // what was applied since it was looked at has been gone through already
	refused       // too many wait
	stopped
)

func (l *listeners) add(q *listener) added {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.stopped:
		return stopped
	case len(l.all) == maxListeners:
		return refused
	case q.behind:
		l.all[q], l.behind[q] = struct{}{}, struct{}{}
		l.somebody()
		return waits
	case q.stamp < l.looking: // by one who does not know that it waits
		return missed
	case len(l.all) == len(l.behind):
		l.seen, l.place = q.stamp, q.next
	case q.stamp < l.seen:
		return missed
	}
	l.all[q] = struct{}{}
	l.somebody()
	accounts := accountsOf(q)
	for _, id := range accounts {
		join(l.byAccount, id, q)
	}
	if len(accounts) == 0 {
		join(l.byUser, q.user, q)
	}
	return waits
}

// accountsOf are the accounts that a question names.
func accountsOf(q *listener) []u128.Int {
	if q.in.Filter == nil {
		return nil
	}
	return q.in.Filter.AccountIds
}

// takeLocked takes a question out of those that wait.
func (l *listeners) takeLocked(q *listener) {
	delete(l.all, q)
	l.any.Store(len(l.all) > 0)
	if q.behind {
		delete(l.behind, q)
		return
	}
	accounts := accountsOf(q)
	for _, id := range accounts {
		leave(l.byAccount, id, q)
	}
	if len(accounts) == 0 {
		leave(l.byUser, q.user, q)
	}
	if q.stamp < l.seen { // nothing up to there concerned it
		q.stamp, q.next = l.seen, l.place
	}
}

// run looks at what was applied as long as somebody waits, and ends waits in time.
func (l *listeners) run(ctx context.Context) {
	tick := time.NewTicker(listenTick)
	defer tick.Stop()
	for ticks := true; ; {
		l.sleeps.Store(true) // before it looks: who comes behind the look wakes it
		waits := l.any.Load()
		if waits {
			l.sleeps.Store(false)
		}
		if waits != ticks {
			if ticks = waits; ticks {
				tick.Reset(listenTick)
			} else {
				tick.Stop()
			}
		}
		select {
		case <-ctx.Done():
			l.release()
			return
		case <-l.wake:
		case <-tick.C: // also for what came otherwise than by the log
			l.expire()
		}
		for more := l.any.Load(); more && ctx.Err() == nil; {
			var err error
			if more, err = l.pass(); err != nil {
				l.c.host.Log().Error("what was applied cannot be read for those who wait for events", "err", err)
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(listenPause):
		}
	}
}

// release sends away all who wait, to another replica.
func (l *listeners) release() {
	l.mu.Lock()
	l.stopped = true
	all := l.all
	l.all, l.behind, l.byAccount, l.byUser = crowd{}, crowd{}, map[u128.Int]crowd{}, map[uint64]crowd{}
	l.any.Store(false)
	l.mu.Unlock()
	for q := range all {
		q.r.Fail(message.Draining, errStops)
	}
}

// expire answers those whose time is over: nothing has happened.
func (l *listeners) expire() {
	now := l.c.host.Now()
	var over []*listener
	l.mu.Lock()
	for q := range l.all {
		if now >= q.deadline {
			l.takeLocked(q)
			over = append(over, q)
		}
	}
	l.mu.Unlock()
	for _, q := range over {
		a := &txnpb.EventsAnswer{Next: q.next, End: !q.behind}
		if a.Next == nil { // it was behind from the first
			a.Next = q.in.After
		}
		q.r.Reply(a)
	}
}

// pass goes through what was applied since the last one, and answers the questions that it
// concerns. It reports whether there is more.
func (l *listeners) pass() (more bool, err error) {
	l.c.storeMu.RLock()
	defer l.c.storeMu.RUnlock()
	before := l.c.store.Applied()
	view, err := l.c.store.View()
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, view.Close()) }()
	end := machine.EventsEnd(view)
	from, users := l.begin(end)
	defer l.finish()

	var touches []machine.Touch
	reached := end
	if err := machine.EachTouch(view, from, end, users, func(stamp uint64, t *machine.Touch) bool {
		if len(touches) == maxLook {
			more = true
			return false
		}
		touches = append(touches, machine.Touch{Accounts: slices.Clone(t.Accounts), Users: slices.Clone(t.Users)})
		reached = stamp
		return true
	}); err != nil {
		return false, err
	}
	if !more {
		reached = end
	}
	csn, err := machine.CSN(view)
	if err != nil {
		return false, err
	}
	for _, q := range l.concerned(touches, reached, l.c.streamPlace().PositionOf(view, reached), csn) {
		l.look(view, before, q)
	}
	return more, nil
}

// begin begins a look at what was applied up to a stamp: from where on, and whether users
// matter. Who comes from now on with a state of less is not known to this look.
func (l *listeners) begin(end uint64) (from uint64, users bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.looking = end
	if len(l.all) == len(l.behind) {
		return end, false // nobody waits for what lies there
	}
	return l.seen, len(l.byUser) > 0
}

func (l *listeners) finish() {
	l.mu.Lock()
	l.looking = 0
	l.mu.Unlock()
}

// concerned takes out the questions that what has happened may be an answer to: up to the
// stamp reached, and a state up to a CSN.
func (l *listeners) concerned(touches []machine.Touch, reached uint64, place txnpb.Position, csn uint64) (all []*listener) {
	l.mu.Lock()
	defer l.mu.Unlock()
	take := func(of crowd) {
		for q := range of {
			l.takeLocked(q)
			all = append(all, q)
		}
	}
	for q := range l.behind {
		if q.in.After.Csn <= csn && q.in.After.Epoch <= place.Epoch {
			l.takeLocked(q)
			all = append(all, q)
		}
	}
	if len(touches) > 0 {
		take(l.byUser[machine.Everything])
	}
	for i := range touches {
		for _, id := range touches[i].Accounts {
			take(l.byAccount[id])
		}
		for _, user := range touches[i].Users {
			take(l.byUser[user])
		}
	}
	l.seen, l.place = reached, &place
	return all
}
