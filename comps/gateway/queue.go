package gateway

import (
	"context"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"virtualservicesinc.com/rrts/engine"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// queue holds the transactions of all connections until they are answered.
type queue struct {
	g *Gateway

	mu      sync.Mutex
	work    sync.Cond     // there is a batch to send and room to send it, or stopped
	some    sync.Cond     // something waits for an answer, or stopped
	filling []*batch      // not sent yet; the last one is open
	again   []*batch      // to be sent once more, before those
	resting []*batch      // to be sent once more after a pause
	flying  []*batch      // sent
	bytes   int           // of all transactions
	doubt   time.Duration // until then the leader may be gone
	stopped bool
	usual   int // capacity that the last batch needed, in bytes

	count atomic.Int64 // transactions without an answer

	dirty []*conn  // reused by done, on the Component's goroutine
	marks []traced // likewise
}

func newQueue(g *Gateway) *queue {
	q := &queue{g: g}
	q.work.L, q.some.L = &q.mu, &q.mu
	return q
}

// waiting returns how many transactions have no answer yet.
func (q *queue) waiting() int64 { return q.count.Load() }

// submit takes a transaction in, copying it, unless the queue is full.
func (q *queue) submit(e entry, s *txnpb.Submission) bool {
	n := len(s.Transaction)
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.stopped || q.count.Load() >= maxQueued || q.bytes+n > maxQueuedBytes {
		return false
	}
	var b *batch
	if len(q.filling) > 0 {
		b = q.filling[len(q.filling)-1]
	}
	if b == nil || len(b.entries) >= maxBatch || len(b.body)+n > maxBatchBytes {
		b = q.newBatchLocked(n)
		q.filling = append(q.filling, b)
	}
	b.add(e, s)
	q.bytes += n
	if q.count.Add(1) == 1 {
		q.some.Signal()
	}
	if len(q.flying) < maxInFlight {
		q.work.Signal()
	}
	return true
}

// newBatchLocked returns an empty batch with room for a transaction of n bytes.
// The body passes to the engine for good, so each batch has its own.
func (q *queue) newBatchLocked(n int) *batch {
	return &batch{body: make([]byte, 0, max(q.usual, n+firstBatch)), entries: make([]entry, 0, q.usual/firstBatch+1)}
}

// firstBatch is about what one payment takes in a batch, in bytes.
const firstBatch = 192

// send sends batches as long as there is work and room.
func (q *queue) send(context.Context) {
	for {
		q.mu.Lock()
		for !q.stopped && (len(q.flying) >= maxInFlight || len(q.again)+len(q.filling) == 0) {
			q.work.Wait()
		}
		if q.stopped {
			q.mu.Unlock()
			return
		}
		if len(q.again) == 0 && len(q.filling) == 1 {
			// Whoever else has a request at hand comes first: its connection was
			// readable when this goroutine became ready. With nobody there this costs
			// less than a microsecond; with many it makes one batch of theirs.
			q.mu.Unlock()
			runtime.Gosched()
			q.mu.Lock()
		}
		b := q.nextLocked()
		q.mu.Unlock()
		if b != nil {
			q.call(b)
		}
	}
}

// nextLocked takes the next batch and counts it as sent; nil if there is none.
func (q *queue) nextLocked() *batch {
	now := q.g.host.Now()
	for !q.stopped {
		from := &q.again
		if len(q.again) == 0 {
			from = &q.filling
		}
		if len(*from) == 0 {
			break
		}
		b := (*from)[0].timely(now)
		*from = slices.Delete(*from, 0, 1)
		if b == nil {
			continue
		}
		q.usual = min(len(b.body)+firstBatch, maxBatchBytes)
		q.flying = append(q.flying, b)
		q.launchLocked(b, now)
		return b
	}
	return nil
}

// launchLocked notes that b is sent now.
func (q *queue) launchLocked(b *batch, now time.Duration) {
	b.sent++
	b.under++
	b.lastSent = now
}

// call hands b to the engine.
func (q *queue) call(b *batch) {
	g := q.g
	q.mu.Lock()
	if b.answered { // by an earlier call, since it was chosen to be sent again
		q.mu.Unlock()
		return
	}
	last, body, plain := b.latest(), b.body, !b.secret
	q.mu.Unlock()
	g.counters.batches.Add(1)
	g.host.Call(engine.Call{
		Service: txnpb.TxnService, Method: txnpb.TxnSubmitMethod, Role: message.RoleSFU,
		Epoch: g.cfg.Epoch(), Group: g.cfg.Group,
		Timeout: max(last-g.host.Now(), 0) + expiryTick,
		Body:    body, Plain: plain,
		Done: func(r engine.Reply) { q.done(b, &r) },
	})
}

// done takes the answer to one call of b. It runs on the Component's goroutine.
func (q *queue) done(b *batch, r *engine.Reply) {
	q.mu.Lock()
	b.under--
	if b.answered || r.Code != message.OK && b.under > 0 {
		q.mu.Unlock()
		return // another call of b has answered it, or may yet
	}
	b.answered = true
	q.flying = slices.DeleteFunc(q.flying, func(f *batch) bool { return f == b })
	q.work.Signal()
	q.mu.Unlock()

	a := answers{q: q, dirty: q.dirty[:0], marks: q.marks[:0]}
	var rest []*batch
	if r.Code == message.OK {
		rest = a.outcomes(b, r.Body)
	} else {
		rest = a.failure(b, r)
	}
	q.settle(&a, rest)
	q.dirty, q.marks = a.dirty, a.marks
}

// settle flushes answers and lets what is left of a batch rest before it is sent
// again.
func (q *queue) settle(a *answers, rest []*batch) {
	if a.count > 0 || len(rest) > 0 {
		now := q.g.host.Now()
		q.mu.Lock()
		q.bytes -= a.bytes
		q.count.Add(int64(-a.count))
		for _, b := range rest {
			b.due = now + b.pause
			q.resting = append(q.resting, b)
		}
		q.mu.Unlock()
	}
	a.flush()
}

// peerChanged takes note that an SFU may be gone that held the leader.
func (q *queue) peerChanged(e engine.PeerEvent) {
	if e.Change == engine.PeerUp || e.Change == engine.PeerRecovered {
		return
	}
	q.mu.Lock()
	q.doubt = q.g.host.Now() + doubtAfter
	q.mu.Unlock()
}

// keepDeadlines answers what is overdue, and sends again what is due, as long as
// anything waits.
func (q *queue) keepDeadlines(ctx context.Context) {
	timer := time.NewTimer(expiryTick)
	defer timer.Stop()
	for {
		q.mu.Lock()
		for !q.stopped && q.count.Load() == 0 {
			q.some.Wait()
		}
		stopped := q.stopped
		q.mu.Unlock()
		if stopped {
			return
		}
		timer.Reset(expiryTick)
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		q.tick(q.g.host.Now())
	}
}

// tick does what is due now.
func (q *queue) tick(now time.Duration) {
	a := answers{q: q}
	var doubted []*batch
	q.mu.Lock()
	for _, list := range [][]*batch{q.flying, q.resting, q.again, q.filling} {
		for _, b := range list {
			if b.earliest <= now {
				a.expire(b, now)
			}
		}
	}
	q.resting = slices.DeleteFunc(q.resting, func(b *batch) bool {
		if b.due <= now {
			q.again = append(q.again, b)
			return true
		}
		return false
	})
	if len(q.again) > 0 && len(q.flying) < maxInFlight {
		q.work.Signal()
	}
	if now < q.doubt {
		for _, b := range q.flying {
			if now-b.lastSent >= doubtEvery && b.under < maxUnder {
				q.launchLocked(b, now)
				doubted = append(doubted, b)
			}
		}
	}
	q.mu.Unlock()
	for _, b := range doubted {
		q.g.counters.retries.Add(uint64(len(b.entries)))
		q.call(b)
	}
	q.settle(&a, nil)
}

// stop ends the queue's goroutines. What still waits is never answered.
func (q *queue) stop() {
	q.mu.Lock()
	q.stopped = true
	q.work.Broadcast()
	q.some.Broadcast()
	q.mu.Unlock()
}
