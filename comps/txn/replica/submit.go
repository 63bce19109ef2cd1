package replica

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"go.etcd.io/raft/v3"

	"virtualservicesinc.com/comps/txn/entry"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

const (
	// MaxInflightEntries bounds the entries of this leader that are proposed and
	// not yet applied. Four keep disk and network busy while the next one fills;
	// more would only make each one smaller.
	MaxInflightEntries = 4
	// MaxEntryBytes is the size at which a batch is closed. A larger entry delays
	// all that is in it; a smaller one wastes a sync. One transaction may exceed it.
	MaxEntryBytes = 1 << 20
	// MaxEntrySubmissions bounds the submissions of one entry likewise.
	MaxEntrySubmissions = 8192
	// MaxQueueBytes and MaxQueueSubmissions bound what waits for a place in an
	// entry: about a second's work; beyond it clients hear OVERLOADED at once.
	MaxQueueBytes       = 64 << 20
	MaxQueueSubmissions = 65536
	// MaxPendingSubmissions and MaxPendingBytes bound all that is not answered: the
	// queue, what is under way, and as much again of what clients repeat meanwhile.
	MaxPendingSubmissions = 2 * MaxQueueSubmissions
	MaxPendingBytes       = 2 * MaxQueueBytes

	// expirePerPulse bounds the pending transfers that one entry expires.
	expirePerPulse = 8192
)

// Batch is a set of submissions that is answered together.
type Batch struct {
	// Submissions is set by the owner and not changed until the batch is finished.
	Submissions []txnpb.Submission
	// Outcomes is filled in here, one for each submission in its order.
	Outcomes []txnpb.Outcome
	// Origin is the owner's: whom to answer. Arrived too: when it came.
	Origin  any
	Arrived time.Duration

	states []submissionState
	open   int           // submissions without an answer
	bytes  int           // of the submissions
	next   time.Duration // no open submission has an earlier deadline; 0: none has one
}

// submissionState is what is known of one submission.
type submissionState struct {
	key      entry.Key
	deadline time.Duration // 0: none
	answered bool
}

// slot is one submission of a batch.
type slot struct {
	batch *Batch
	at    int
}

func (s slot) submission() *txnpb.Submission { return &s.batch.Submissions[s.at] }
func (s slot) state() *submissionState       { return &s.batch.states[s.at] }

// waiters wait for the result of one request: the one that is in the log, and its
// repetitions.
type waiters struct {
	first slot
	more  []slot
}

// proposal is an entry that is under way.
type proposal struct {
	bytes   int
	expires bool // it expires pending transfers
}

// work is what clients wait for. A submission without an answer is in exactly one of
// queue, resolves and waiting.
type work struct {
	batches    []*Batch // not finished, and what finished since the last sweep
	queue      []slot   // not yet proposed, in order of arrival
	queueBytes int
	resolves   []slot // not yet proposed
	waiting    map[entry.Key]waiters
	proposed   []proposal // entries of this leadership that are not applied
	sizes      []int      // theirs, for Holds
	cramped    bool       // the next entry waits for room in the log

	pending      int // submissions without an answer
	pendingBytes int // of the batches that are not finished
	finished     []*Batch

	entry txnpb.Entry // the next one, built up
}

// Submit takes a batch. Submissions that cannot be accepted are answered in
// their Outcome; the batch is finished, now or later, through Ready.
func (r *Replica) Submit(now time.Duration, wall uint64, b *Batch) {
	w := &r.work
	w.accept(b)
	r.judgeClock(now, wall)
	for i := range b.Submissions {
		s := slot{b, i}
		n := len(b.Submissions[i].Transaction)
		key, err := entry.KeyOf(s.submission())
		if err == nil {
			err = entry.RefuseCards(s.submission().Transaction)
		}
		s.identify(now, key)
		switch refusal := r.refusal(now, err); {
		case refusal.State != txnpb.StateUnknown:
			w.answer(s, refusal)
		case w.repeats(s): // of what is under way
		case len(w.queue) >= MaxQueueSubmissions || w.queueBytes+n > MaxQueueBytes:
			w.answer(s, stateOnly(txnpb.StateOverloaded))
		default:
			w.queue = append(w.queue, s)
			w.queueBytes += n
		}
	}
	r.propose(now, wall)
}

// Resolve asks for a final answer to the ids that the batch's submissions name:
// each Transaction holds nothing but an id.
func (r *Replica) Resolve(now time.Duration, wall uint64, b *Batch) {
	w := &r.work
	w.accept(b)
	r.judgeClock(now, wall)
	for i := range b.Submissions {
		s := slot{b, i}
		key, err := entry.KeyOf(s.submission())
		s.identify(now, entry.ResolveKey(key.ID, s.submission().Principal))
		switch refusal := r.refusal(now, err); {
		case refusal.State != txnpb.StateUnknown:
			w.answer(s, refusal)
		case len(w.resolves) >= MaxQueueSubmissions:
			w.answer(s, stateOnly(txnpb.StateOverloaded))
		default:
			w.resolves = append(w.resolves, s)
		}
	}
	r.propose(now, wall)
}

// diskFull is the answer to new work while there is no room for it.
var diskFull = txnpb.Outcome{State: txnpb.StateOverloaded, Reason: "the leader's disk is full"}

// stateOnly is an answer that says no more than where things stand.
func stateOnly(s txnpb.State) txnpb.Outcome { return txnpb.Outcome{State: s} }

// accept begins the life of a batch.
func (w *work) accept(b *Batch) {
	n := len(b.Submissions)
	b.Outcomes = make([]txnpb.Outcome, n)
	b.states = make([]submissionState, n)
	b.open, b.bytes, b.next = n, 0, 0
	for i := range b.Submissions {
		b.bytes += len(b.Submissions[i].Transaction)
	}
	w.pending += n
	w.pendingBytes += b.bytes
	if n == 0 {
		w.finish(b)
		return
	}
	w.batches = append(w.batches, b)
}

// identify notes what a submission is recognised by and until when it may wait.
func (s slot) identify(now time.Duration, key entry.Key) {
	st := s.state()
	st.key = key
	s.batch.Outcomes[s.at].Id = key.ID
	if ms := s.submission().RemainingMillis; ms > 0 {
		st.deadline = now + time.Duration(ms)*time.Millisecond
		if b := s.batch; b.next == 0 || st.deadline < b.next {
			b.next = st.deadline
		}
	}
}

// refusal is why nothing can be accepted at all now, or this not; StateUnknown
// when it can.
func (r *Replica) refusal(now time.Duration, err error) txnpb.Outcome {
	switch {
	case err != nil:
		return txnpb.Outcome{State: txnpb.StateRefused, Reason: err.Error()}
	case !r.leading || r.halted:
		return stateOnly(txnpb.StateNotLeader)
	case r.full:
		return diskFull
	case r.work.pending > MaxPendingSubmissions || r.work.pendingBytes > MaxPendingBytes:
		return stateOnly(txnpb.StateOverloaded)
	case r.clocks.state != ClockAgrees && now-r.clocks.since >= clockGrace:
		return unsynced()
	}
	return txnpb.Outcome{}
}

// repeats lets a submission wait with the one of the same key that is under way, if
// there is one.
func (w *work) repeats(s slot) bool {
	key := s.state().key
	q, ok := w.waiting[key]
	if ok {
		q.more = append(q.more, s)
		w.waiting[key] = q
	}
	return ok
}

// wait notes that a submission is in the log.
func (w *work) wait(s slot) {
	if !w.repeats(s) {
		w.waiting[s.state().key] = waiters{first: s}
	}
}

// propose turns what is queued into entries while there is room in flight. Pending
// transfers whose time is over expire with the next entry, or with one of their own.
func (r *Replica) propose(now time.Duration, wall uint64) {
	w := &r.work
	w.cramped = false
	for r.leading && !r.handing && len(w.proposed) < MaxInflightEntries && w.wanting(r.nextExpiry, wall) && r.mayStamp(now, wall) {
		e := &w.entry
		*e = txnpb.Entry{ApplyVersion: r.ActiveVersion(), Epoch: r.cfg.Epoch, Proposed: wall, Submissions: e.Submissions[:0], Resolves: e.Resolves[:0]}
		if w.mayExpire(r.nextExpiry, wall) {
			e.Expire = expirePerPulse
		}
		size := w.fill(e)
		n, m := len(e.Submissions), len(e.Resolves)
		raw := message.Marshal(e)
		if w.cramped = !r.holds(len(raw)); w.cramped {
			clear(e.Submissions)
			return
		}
		if err := r.node.Propose(raw); err != nil {
			if !errors.Is(err, raft.ErrProposalDropped) {
				panic(fmt.Sprintf("replica: propose: %v", err)) // raft documents no other error
			}
			return // leadership is gone, or on its way to another: what is queued waits to hear of it
		}
		w.proposed = append(w.proposed, proposal{len(raw), e.Expire > 0})
		for _, s := range w.queue[:n] {
			w.wait(s)
		}
		for _, s := range w.resolves[:m] {
			w.wait(s)
		}
		w.queueBytes -= size
		clear(w.queue[:n]) // the arrays are given up only when they are full
		clear(w.resolves[:m])
		clear(e.Submissions)
		w.queue, w.resolves = w.queue[n:], w.resolves[m:]
	}
}

// holds reports whether the log surely has room for one more entry of that many bytes.
func (r *Replica) holds(bytes int) bool {
	if r.cfg.Holds == nil {
		return true
	}
	w := &r.work
	w.sizes = w.sizes[:0]
	for _, p := range w.proposed {
		w.sizes = append(w.sizes, p.bytes)
	}
	w.sizes = append(w.sizes, bytes)
	return r.cfg.Holds(w.sizes)
}

// fill puts the front of the queues into an entry and returns the bytes of its
// submissions.
func (w *work) fill(e *txnpb.Entry) (size int) {
	for _, s := range w.queue[:min(len(w.queue), MaxEntrySubmissions)] {
		sub := s.submission()
		if size > 0 && size+len(sub.Transaction) > MaxEntryBytes {
			break
		}
		size += len(sub.Transaction)
		e.Submissions = append(e.Submissions, txnpb.Submission{Transaction: sub.Transaction, Principal: sub.Principal, Role: sub.Role})
		if e.ApplyVersion >= entry.VersionEffects {
			e.Submissions[len(e.Submissions)-1].UserVersion = sub.UserVersion
		}
	}
	for _, s := range w.resolves[:min(len(w.resolves), MaxEntrySubmissions)] {
		e.Resolves = append(e.Resolves, txnpb.ResolveRequest{Id: s.state().key.ID, Principal: s.submission().Principal})
	}
	return size
}

// wanting reports whether there is something for another entry.
func (w *work) wanting(nextExpiry, wall uint64) bool {
	return len(w.queue)+len(w.resolves) > 0 || w.mayExpire(nextExpiry, wall)
}

// mayExpire reports whether pending transfers are to expire, and no pulse is under way.
func (w *work) mayExpire(nextExpiry, wall uint64) bool {
	return nextExpiry != 0 && nextExpiry < wall && !slices.ContainsFunc(w.proposed, func(p proposal) bool { return p.expires })
}

// apply answers all who wait for these results.
func (w *work) apply(results []entry.Result) {
	for i := range results {
		res := &results[i]
		q, ok := w.waiting[res.Key]
		if !ok {
			continue
		}
		delete(w.waiting, res.Key)
		w.answer(q.first, res.Outcome)
		for _, s := range q.more {
			w.answer(s, res.Outcome)
		}
	}
}

// abandon answers everything at the end of leadership. What was proposed may yet be
// committed by the next leader, so nothing is known about it; what was only queued
// never entered the log.
func (w *work) abandon() {
	w.dropQueued(stateOnly(txnpb.StateNotLeader))
	for _, b := range w.batches {
		for i := range b.states {
			if !b.states[i].answered {
				w.answer(slot{b, i}, stateOnly(txnpb.StateUnknown))
			}
		}
	}
	clear(w.waiting)
	w.batches, w.proposed = nil, nil
}

// dropQueued gives one answer to all that never entered the log.
func (w *work) dropQueued(o txnpb.Outcome) {
	for _, s := range w.queue {
		w.answer(s, o)
	}
	for _, s := range w.resolves {
		w.answer(s, o)
	}
	w.queue, w.queueBytes, w.resolves, w.cramped = nil, 0, nil, false
}

// sweep answers what has passed its deadline. Its cost is one look at every batch,
// and one more at the queues when something was answered there.
func (w *work) sweep(now time.Duration) {
	overdue := map[entry.Key]bool(nil)
	left := w.batches[:0]
	for _, b := range w.batches {
		if b.open > 0 && b.next != 0 && b.next <= now {
			if overdue == nil {
				overdue = map[entry.Key]bool{}
			}
			w.sweepBatch(b, now, overdue)
		}
		if b.open > 0 {
			left = append(left, b)
		}
	}
	clear(w.batches[len(left):])
	w.batches = left
	if overdue == nil {
		return
	}
	w.queueBytes = 0
	w.queue = unanswered(w.queue)
	for _, s := range w.queue {
		w.queueBytes += len(s.submission().Transaction)
	}
	w.resolves = unanswered(w.resolves)
	for key := range overdue { // in any order: each stands alone
		q, ok := w.waiting[key]
		if !ok {
			continue
		}
		if q.more = unanswered(q.more); q.first.state().answered {
			if len(q.more) == 0 {
				delete(w.waiting, key)
				continue
			}
			q.first, q.more = q.more[0], q.more[1:]
		}
		w.waiting[key] = q
	}
}

// sweepBatch answers what is overdue in one batch and collects its keys.
func (w *work) sweepBatch(b *Batch, now time.Duration, overdue map[entry.Key]bool) {
	b.next = 0
	for i := range b.states {
		st := &b.states[i]
		switch {
		case st.answered || st.deadline == 0:
		case st.deadline <= now:
			overdue[st.key] = true
			w.answer(slot{b, i}, stateOnly(txnpb.StatePending))
		case b.next == 0 || st.deadline < b.next:
			b.next = st.deadline
		}
	}
}

// unanswered returns the slots without an answer, in their order.
func unanswered(slots []slot) []slot {
	left := slots[:0]
	for _, s := range slots {
		if !s.state().answered {
			left = append(left, s)
		}
	}
	clear(slots[len(left):])
	return left
}

// answer gives one submission its outcome; the last finishes the batch.
func (w *work) answer(s slot, o txnpb.Outcome) {
	b, st := s.batch, s.state()
	if st.answered {
		panic(fmt.Sprintf("replica: transaction %v is answered %v after %v", st.key.ID, o.State, b.Outcomes[s.at].State))
	}
	st.answered = true
	o.Id = st.key.ID
	b.Outcomes[s.at] = o
	w.pending--
	if b.open--; b.open == 0 {
		w.finish(b)
	}
}

func (w *work) finish(b *Batch) {
	w.pendingBytes -= b.bytes
	w.finished = append(w.finished, b)
}
