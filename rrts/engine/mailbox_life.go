package engine

import (
	"context"

	"virtualservicesinc.com/rrts/engine/router"
)

// open makes in the one that takes. Requests that waited through a restart are
// still there.
func (b *mailbox) open(in *instance) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.owner, b.ready, b.draining = in, false, false
}

// setReady takes in whether in answers by policy.
func (b *mailbox) setReady(in *instance, ready bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.owner == in {
		b.ready = ready
	}
}

// drain refuses new work by policy from now on.
func (b *mailbox) drain() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.draining = true
}

// wait returns when nothing waits and nothing is held, when nobody serves any more
// (loop is closed), or when ctx ends.
func (b *mailbox) wait(ctx context.Context, loop <-chan struct{}) {
	b.mu.Lock()
	drained := make(chan struct{})
	b.drained = drained
	b.drainedLocked()
	b.mu.Unlock()
	select {
	case <-drained:
	case <-loop:
	case <-ctx.Done():
	}
}

func (b *mailbox) drainedLocked() {
	if b.drained == nil || b.held.count > 0 || len(b.current) > 0 || b.retry.len() > 0 {
		return
	}
	for i := range b.lanes {
		if b.lanes[i].len() > 0 {
			return
		}
	}
	close(b.drained)
	b.drained = nil
}

// abandon takes the mailbox from in, which has failed or stops. It returns what in
// had taken and not answered: the batch that it was being given (with notices), and
// what it had been given before. What waits stays.
func (b *mailbox) abandon(in *instance) (current, before []*request) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.owner != in {
		return nil, nil
	}
	b.owner, b.ready, b.alone = nil, false, nil
	inBatch := make(map[*request]bool, len(b.current))
	for _, r := range b.current {
		inBatch[r] = true
		if r.held {
			b.unholdLocked(r)
		}
		if !r.answered.Load() {
			current = append(current, r)
		}
	}
	for r := b.held.head; r != nil; r = b.held.head {
		b.unholdLocked(r)
		before = append(before, r)
	}
	b.current = b.current[:0]
	clear(b.done)
	b.done, b.events = b.done[:0], b.events[:0]
	b.cond.Broadcast()
	return current, before
}

// again gives requests to the next instance: suspects one at a time, the others in
// front of what waits.
func (b *mailbox) again(suspects, others []*request) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, r := range suspects {
		b.retry.push(r)
	}
	byLane := [len(b.lanes)][]*request{}
	for _, r := range others {
		r.service.depth[r.lane()]++
		byLane[r.lane()] = append(byLane[r.lane()], r)
	}
	for lane, rs := range byLane {
		if len(rs) > 0 {
			b.lanes[lane].putBack(rs)
		}
	}
}

// empty takes out all that waits: the Component will not run again.
func (b *mailbox) empty() (waiting []*request) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.retry.len() > 0 {
		waiting = append(waiting, b.retry.pop())
	}
	for lane := range b.lanes {
		for f := &b.lanes[lane]; f.len() > 0; {
			r := f.pop()
			r.service.depth[lane]--
			waiting = append(waiting, r)
		}
	}
	b.drainedLocked()
	return waiting
}

// nudge wakes the Component's goroutine if a suspect may be due.
func (b *mailbox) nudge() {
	b.mu.Lock()
	due := b.retry.len() > 0
	b.mu.Unlock()
	if due {
		b.cond.Signal()
	}
}

// mailboxStatus is what a mailbox tells of itself.
type mailboxStatus struct {
	depth                     int
	ready, draining           bool
	handled, refused, expired uint64
}

func (b *mailbox) status() mailboxStatus {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := mailboxStatus{ready: b.ready, draining: b.draining, handled: b.handled, refused: b.refused, expired: b.expired, depth: b.retry.len()}
	for i := range b.lanes {
		s.depth += b.lanes[i].len()
	}
	return s
}

// latency copies the histograms of a service.
func (b *mailbox) latency(s *served) []router.Histogram {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]router.Histogram(nil), s.latency...)
}
