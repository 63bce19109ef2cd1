package txn

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"virtualservicesinc.com/rrts/engine/timer"
	"virtualservicesinc.com/rrts/engine/trace"
	"virtualservicesinc.com/rrts/journal"
)

const (
	// markDelay is how long the appender waits idle before it marks the journal, so
	// that the last records are told from a torn tail.
	markDelay = 10 * time.Millisecond
	// fullRetry is how often a full disk is tried again.
	fullRetry = 200 * time.Millisecond
	// defaultHungAfter is the kernel's own patience with a disk's command.
	defaultHungAfter = 30 * time.Second
	// beatShare is the part of that time after which an idle appender shows life.
	beatShare = 4
)

// appender is the thread that writes the log. Whatever came while it waited for
// the disk is written with the next sync.
type appender struct {
	c       *Component
	mu      sync.Mutex
	queue   []*raftpb.Message
	compact uint64       // compact the log up to here
	last    func()       // done when all that is queued is written
	rolls   []chan error // who waits for the journal's next segment
	wake    chan struct{}
	beat    func() // shows that the disk answers
	speed   diskSpeed
	unborn  bool // the mark that allows an empty journal still stands
}

func newAppender(c *Component) *appender {
	return &appender{c: c, wake: make(chan struct{}, 1), unborn: c.cfg.Birth && c.cfg.Born != nil}
}

// add queues MsgStorageAppend messages. Raft bounds them.
func (a *appender) add(msgs []*raftpb.Message) {
	if len(msgs) == 0 {
		return
	}
	a.mu.Lock()
	a.queue = append(a.queue, msgs...)
	a.mu.Unlock()
	a.poke()
}

// compactTo asks for the log to be cut.
func (a *appender) compactTo(index uint64) {
	a.mu.Lock()
	a.compact = index
	a.mu.Unlock()
	a.poke()
}

// do has the append thread do something once all that is queued now is written; one thing
// at a time.
func (a *appender) do(f func()) {
	a.mu.Lock()
	a.last = f
	a.mu.Unlock()
	a.poke()
}

func (a *appender) poke() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

func (a *appender) run(ctx context.Context) {
	a.beat = a.c.host.Pulse("log on disk", a.c.cfg.HungAfter)
	idle := time.NewTimer(markDelay)
	defer idle.Stop()
	for {
		a.beat()
		select {
		case <-ctx.Done():
			return
		case <-a.wake:
		case <-idle.C:
			if !a.mark() {
				return
			}
			idle.Reset(a.c.cfg.HungAfter / beatShare)
			continue
		}
		a.mu.Lock()
		msgs, last, rolls := a.queue, a.last, a.rolls
		a.queue, a.last, a.rolls = nil, nil, nil
		a.mu.Unlock()
		if !a.write(ctx, msgs) || !a.cut() || !a.rollNow(rolls) {
			return
		}
		if last != nil {
			last()
		}
		idle.Reset(markDelay)
	}
}

// mark tells the last records from a torn tail. On a full disk the next records do.
func (a *appender) mark() bool {
	if !a.c.log.Journal().NeedsMark() {
		return true
	}
	err := a.c.log.Journal().Mark()
	if err == nil || errors.Is(err, journal.ErrNoSpace) {
		return true
	}
	a.fatal(err)
	return false
}

// cut gives up the part of the log that was asked for.
func (a *appender) cut() bool {
	a.mu.Lock()
	to := a.compact
	a.compact = 0
	a.mu.Unlock()
	if to == 0 {
		return true
	}
	if err := a.c.log.Compact(to); err != nil {
		a.fatal(err)
		return false
	}
	return true
}

// write makes messages durable and delivers their responses. It reports whether
// the appender goes on.
func (a *appender) write(ctx context.Context, msgs []*raftpb.Message) bool {
	for len(msgs) > 0 {
		n := 0
		for n < len(msgs) && raft.IsEmptySnap(msgs[n].GetSnapshot()) {
			n++
		}
		part := msgs[:max(n, 1)]
		msgs = msgs[len(part):]
		if n == 0 && !a.install(ctx, part[0].GetSnapshot()) {
			return false
		}
		if !a.append(ctx, part) {
			return false
		}
		a.respond(part)
	}
	return true
}

// append writes to the log. Before the first vote or acknowledgement leaves this
// member, the mark that allows an empty journal is gone: from there on a journal
// that is missing was lost. What needs no promise, such as the answer to a pre-vote, may
// come before: then the journal is still empty, and the mark must stay.
func (a *appender) append(ctx context.Context, msgs []*raftpb.Message) bool {
	before := a.c.log.Journal().Synced()
	a.speed.begin(a.c.host.Now())
	done := a.patiently(ctx, func() error { return a.c.log.Append(msgs) })
	a.speed.end(a.c.host.Now(), a.c.log.Journal().Synced() != before)
	if !done {
		return false
	}
	if a.unborn && !a.c.log.Fresh() {
		if err := a.c.cfg.Born(); err != nil {
			a.fatal(err)
			return false
		}
		a.unborn = false
	}
	return true
}

// patiently does what needs space in the journal; while the disk is full it waits. It
// reports whether the appender goes on.
func (a *appender) patiently(ctx context.Context, do func() error) bool {
	for {
		err := do()
		a.beat()
		switch {
		case err == nil:
			return true
		case !errors.Is(err, journal.ErrNoSpace):
			a.fatal(err)
			return false
		}
		// upkeep raised the alarm. What the log can give up makes room, or the operator.
		if !a.cut() {
			return false
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(fullRetry):
		}
	}
}

// respond delivers the responses of messages that are durable now.
func (a *appender) respond(msgs []*raftpb.Message) {
	a.c.note(trace.Durable, msgs)
	var own []*raftpb.Message
	for _, m := range msgs {
		for _, r := range m.GetResponses() {
			if r.GetTo() == a.c.cfg.Node {
				own = append(own, r)
			} else if err := a.c.sendRaft(r); err != nil {
				a.c.host.Log().Debug("response not sent", "to", r.GetTo(), "err", err)
			}
		}
	}
	if len(own) > 0 {
		a.c.post(func() {
			for _, r := range own {
				a.c.loop.replica.Respond(r)
			}
		})
	}
}

// install puts a received snapshot in the place of state and log.
func (a *appender) install(ctx context.Context, s *raftpb.Snapshot) bool {
	if !a.patiently(ctx, func() error { return a.c.log.Intend(s) }) {
		return false
	}
	nextExpiry, group, err := a.c.applier.switchTo(ctx, s)
	if err != nil {
		if ctx.Err() == nil {
			a.fatal(err)
		}
		return false
	}
	if !a.patiently(ctx, func() error { return a.c.log.Install(s) }) {
		return false
	}
	index := s.GetMetadata().GetIndex()
	a.c.post(func() {
		a.c.loop.replica.Installed(index, nextExpiry, group)
		a.c.loop.regrouped()
	})
	return true
}

// fatal ends the process: what the disk holds is not known any more.
func (a *appender) fatal(err error) { a.c.host.Fatal(err) }

const (
	// defaultFlushBytes is the growth of the journal after which the state is flushed:
	// what a restart has to apply again, in well under a second.
	defaultFlushBytes = 64 << 20
	// flushAge is the longest that a quiet state stays unflushed.
	flushAge = 30 * time.Second
	// defaultKeepBytes is how much of the journal stays for members that lag: some minutes
	// of full load, cheaper than a state transfer.
	defaultKeepBytes = 256 << 20
	// upkeepInterval is how often all that is looked at.
	upkeepInterval = 500 * time.Millisecond
)

// upkeep reserves journal space, flushes the state and cuts the log.
func (c *Component) upkeep(ctx context.Context) {
	ticker := time.NewTimer(timer.Next(upkeepInterval))
	defer ticker.Stop()
	full := false
	needs := needs{c: c}
	flushedAt, flushedPos := c.host.Now(), c.log.Journal().Synced()
	for {
		err := c.log.Journal().Reserve() // as a rule the next segment stands ready
		isFull := errors.Is(err, journal.ErrNoSpace)
		if err != nil && !isFull {
			c.host.Fatal(err)
			return
		}
		if isFull != full {
			full = isFull
			c.post(func() { c.loop.noRoom = isFull })
		}
		c.backups.expire(c.host.Now())
		c.states.expire(c.host.Now())
		c.applier.do(func() { c.applier.expire(c.host.Now()) })
		cut := full // what was flushed before a restart can be given up, too
		now, pos := c.host.Now(), c.log.Journal().Synced()
		grown := int64(pos.Offset()) - int64(flushedPos.Offset())
		if pos.Segment() != flushedPos.Segment() {
			grown = c.cfg.FlushBytes // segments are no smaller in the field
		}
		if c.keep.Flushed() < c.keep.Applied() && (grown >= c.cfg.FlushBytes || now-flushedAt >= flushAge) {
			c.storeMu.RLock()
			err := c.keep.Flush()
			c.storeMu.RUnlock()
			if err != nil {
				c.host.Fatal(err)
				return
			}
			flushedAt, flushedPos = now, pos
			cut = true
		}
		if c.witness() {
			needs.look(ctx)
		}
		if cut {
			to := uint64(0)
			if c.witness() {
				to = needs.cut()
			} else {
				to = c.log.CompactTo(c.keep.Flushed(), c.cfg.KeepBytes)
			}
			if to > 0 {
				c.appender.compactTo(to)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			ticker.Reset(timer.Next(upkeepInterval))
		case <-c.cramped:
		}
	}
}

// makeRoom has upkeep look at once whether the next journal segment stands ready.
func (c *Component) makeRoom() {
	select {
	case c.cramped <- struct{}{}:
	default: // it is on its way
	}
}
