package engine

import (
	"fmt"
	"sync"
	"time"

	"virtualservicesinc.com/rrts/engine/router"
	"virtualservicesinc.com/rrts/message"
)

// served is one service as a Component of this engine answers it.
type served struct {
	desc  *message.ServiceDescriptor
	bound int
	site  bool // a service of the site: no registry knows it
	// Guarded by the mailbox's mu.
	depth   [message.Lanes]int // waiting, by lane
	latency []router.Histogram // from arrival to answer, by index of the method
}

// byPolicy reports whether the engine chooses who answers: then readiness and
// draining count.
func (s *served) byPolicy() bool {
	return s.desc.Policy != message.PolicyNamed && s.desc.Policy != message.PolicyAll
}

// completion is the answer to a call of the Component.
type completion struct {
	done  func(Reply)
	reply Reply
}

// load is what a Component's goroutine takes out of the mailbox at a time.
type load struct {
	done   []completion
	events []PeerEvent
	batch  []message.Request
}

// mailbox is where work crosses to a Component's goroutine. It outlives the
// instances of the Component.
//
//	push ──▶ lanes ──take──▶ current ──▶ held ──settled──▶ gone
//	           ▲                │ crash     │
//	           └──── retry ◀────┴───────────┘
type mailbox struct {
	clock func() time.Duration
	name  string

	mu       sync.Mutex
	cond     sync.Cond
	owner    *instance // that may take; nil while none runs
	ready    bool      // answers by policy
	draining bool      // answers nothing new by policy
	lanes    [message.Lanes]fifo
	retry    fifo     // suspects, to be served one at a time
	alone    *request // the suspect that is being served, and since when
	since    time.Duration
	current  []*request
	held     struct {
		head, tail *request
		count      int
	}
	done    []completion
	events  []PeerEvent
	handled uint64
	refused uint64
	expired uint64
	drained chan struct{} // closed when nothing waits and nothing is held; nil unless somebody waits for it
}

func newMailbox(name string, clock func() time.Duration) *mailbox {
	b := &mailbox{name: name, clock: clock}
	b.cond.L = &b.mu
	return b
}

// fifo is a queue of requests.
type fifo struct {
	items []*request
	head  int
}

func (f *fifo) len() int { return len(f.items) - f.head }

func (f *fifo) push(r *request) { f.items = append(f.items, r) }

func (f *fifo) pop() *request {
	r := f.items[f.head]
	f.items[f.head] = nil
	if f.head++; f.head == len(f.items) {
		f.items, f.head = f.items[:0], 0
	} else if f.head >= 1024 && f.head*2 >= len(f.items) { // keep a queue that never empties from growing
		n := copy(f.items, f.items[f.head:])
		clear(f.items[n:])
		f.items, f.head = f.items[:n], 0
	}
	return r
}

// putBack puts rs in front, in their order.
func (f *fifo) putBack(rs []*request) {
	f.items = append(append([]*request(nil), rs...), f.items[f.head:]...)
	f.head = 0
}

// refusal is a request that a mailbox did not take.
type refusal struct {
	request *request
	code    message.Code
	detail  string
}

// push puts requests in and appends those that it refuses to refused.
func (b *mailbox) push(rs []*request, refused []refusal) []refusal {
	b.mu.Lock()
	for _, r := range rs {
		code, detail := b.admitLocked(r)
		if code != message.OK {
			b.refused++
			refused = append(refused, refusal{r, code, detail})
			continue
		}
		r.service.depth[r.lane()]++
		b.lanes[r.lane()].push(r)
	}
	b.mu.Unlock()
	b.cond.Signal()
	return refused
}

// heard offers a notice of the most urgent lane to the Component, past the queue, and
// reports whether that took it. It does not overtake what waits.
func (b *mailbox) heard(r *request) bool {
	if !r.notice() || r.lane() != 0 {
		return false
	}
	b.mu.Lock()
	in := b.owner
	if b.lanes[0].len() > 0 {
		in = nil
	}
	b.mu.Unlock()
	if in == nil || !in.hear(r) {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.handled++
	r.service.latency[r.method].Observe(b.clock() - r.arrived)
	return true
}

// pushOne is push for one request.
func (b *mailbox) pushOne(r *request) (message.Code, string) {
	b.mu.Lock()
	code, detail := b.admitLocked(r)
	if code == message.OK {
		r.service.depth[r.lane()]++
		b.lanes[r.lane()].push(r)
	} else {
		b.refused++
	}
	b.mu.Unlock()
	b.cond.Signal()
	return code, detail
}

func (b *mailbox) admitLocked(r *request) (message.Code, string) {
	s := r.service
	switch {
	case b.owner == nil:
		return message.Unavailable, fmt.Sprintf("engine: %s does not run", b.name)
	case s.byPolicy() && b.draining:
		return message.Draining, fmt.Sprintf("engine: %s is stopping", b.name)
	case s.byPolicy() && !b.ready:
		return message.Unavailable, fmt.Sprintf("engine: %s is not ready", b.name)
	case s.depth[r.lane()] >= s.bound:
		return message.Overloaded, fmt.Sprintf("engine: %d requests wait for %s", s.bound, s.desc.Name)
	}
	return message.OK, ""
}

// complete hands in an answer for in, unless another instance has followed it. The
// queue is bounded by the calls that the Component itself has made.
func (b *mailbox) complete(in *instance, c completion) {
	b.mu.Lock()
	if b.owner == in {
		b.done = append(b.done, c)
	}
	b.mu.Unlock()
	b.cond.Signal()
}

// tell hands in news of a peer for in. It reports false if in does not take them.
func (b *mailbox) tell(in *instance, e PeerEvent) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.owner != in {
		return true
	}
	if len(b.events) >= maxEvents {
		return false
	}
	b.events = append(b.events, e)
	b.cond.Signal()
	return true
}

// take waits for work for in and fills l. It reports false when in is no longer
// the one to serve. What was taken before is done, as far as notices go.
func (b *mailbox) take(in *instance, l *load) bool {
	clear(l.done)
	clear(l.events)
	clear(l.batch)
	l.done, l.events, l.batch = l.done[:0], l.events[:0], l.batch[:0]
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.owner == in {
		b.servedLocked()
	}
	for {
		if b.owner != in {
			return false
		}
		l.done, b.done = b.done, l.done
		l.events, b.events = b.events, l.events
		b.fillLocked(l)
		if len(l.done) > 0 || len(l.events) > 0 || len(l.batch) > 0 {
			return true
		}
		b.drainedLocked()
		b.cond.Wait()
	}
}

// servedLocked looks at the batch that has been served: its notices are done.
func (b *mailbox) servedLocked() {
	now := b.clock()
	for i, r := range b.current {
		if r.notice() {
			b.handled++
			r.service.latency[r.method].Observe(now - r.arrived)
			if b.alone == r {
				b.alone = nil
			}
		}
		b.current[i] = nil
	}
	b.current = b.current[:0]
}

// fillLocked moves requests from the lanes into l, first those of lower lanes; a
// suspect goes alone, and the next one not before it was answered.
func (b *mailbox) fillLocked(l *load) {
	now := b.clock()
	if b.alone != nil && now-b.since > aloneFor {
		b.alone = nil
	}
	for b.alone == nil && b.retry.len() > 0 {
		if r := b.retry.pop(); b.startLocked(r, now, l) {
			b.alone, b.since = r, now
			return
		}
	}
	for lane := range b.lanes {
		f := &b.lanes[lane]
		for f.len() > 0 && len(l.batch) < maxBatch {
			if b.held.count >= maxHeld && !f.items[f.head].notice() {
				break
			}
			r := f.pop()
			r.service.depth[lane]--
			b.startLocked(r, now, l)
		}
	}
}

// startLocked adds r to the batch, unless nobody waits for its answer any more.
func (b *mailbox) startLocked(r *request, now time.Duration, l *load) bool {
	if r.answered.Load() {
		return false
	}
	if r.deadline != 0 {
		if now >= r.deadline {
			b.expired++ // its caller knows: it has the same deadline
			return false
		}
		r.env.RemainingMillis = uint32(max(1, (r.deadline-now)/time.Millisecond))
	}
	if !r.notice() {
		b.holdLocked(r)
	}
	b.current = append(b.current, r)
	l.batch = append(l.batch, r)
	return true
}

func (b *mailbox) holdLocked(r *request) {
	r.held, r.prev, r.next = true, b.held.tail, nil
	if r.prev == nil {
		b.held.head = r
	} else {
		r.prev.next = r
	}
	b.held.tail = r
	b.held.count++
}

func (b *mailbox) unholdLocked(r *request) {
	if r.prev == nil {
		b.held.head = r.next
	} else {
		r.prev.next = r.next
	}
	if r.next == nil {
		b.held.tail = r.prev
	} else {
		r.next.prev = r.prev
	}
	r.held, r.prev, r.next = false, nil, nil
	b.held.count--
}

// settled takes in that r was answered.
func (b *mailbox) settled(r *request) {
	b.mu.Lock()
	wake := b.held.count == maxHeld
	if r.held {
		b.unholdLocked(r)
		b.handled++
		r.service.latency[r.method].Observe(b.clock() - r.arrived)
	}
	if b.alone == r {
		b.alone = nil
		wake = wake || b.retry.len() > 0
	}
	b.drainedLocked()
	b.mu.Unlock()
	if wake {
		b.cond.Signal()
	}
}
