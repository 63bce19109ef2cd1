package gateway

import (
	"time"

	"virtualservicesinc.com/rrts/engine"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// answers is what one batch, or one look at the deadlines, tells the connections.
type answers struct {
	q     *queue
	dirty []*conn  // to be flushed
	marks []traced // to be remembered
	count int      // transactions answered
	bytes int      // and their length
}

// answer gives the connection of b's entry e its answer: an encoded Outcome.
func (a *answers) answer(b *batch, e *entry, outcome []byte) {
	c := a.done(b, e)
	if c.short.Load() {
		outcome = withoutID(outcome)
	}
	c.reply(e.call, outcome)
}

// withoutID returns an encoded Outcome without its id, which stands at its beginning.
func withoutID(outcome []byte) []byte {
	const tagID = 1<<3 | message.WireBytes
	if len(outcome) > 0 && outcome[0] == tagID {
		if end := message.Skip(outcome, 1, tagID); end > 0 {
			return outcome[end:]
		}
	}
	return outcome
}

// refuse answers e with a failure.
func (a *answers) refuse(b *batch, e *entry, code message.Code, detail string) {
	a.done(b, e).fail(e.call, code, detail)
}

// done gives back what e took of the bounds, and returns its connection. It comes
// before the answer: the client may send the next request as soon as it has that.
func (a *answers) done(b *batch, e *entry) *conn {
	a.marks = append(a.marks, traced{id: idOf(b.transaction(e)), arrived: e.arrived, left: b.lastSent, sent: e.earlier + b.sent})
	c := e.c
	e.c = nil
	a.count++
	a.bytes += e.n
	e.in.user.inFlight.Add(-1)
	c.discharge(e.n)
	if c.dirty.CompareAndSwap(false, true) {
		a.dirty = append(a.dirty, c)
	}
	return c
}

// flush sends what was queued: all answers for one connection at once.
func (a *answers) flush() {
	a.q.g.remember(a.marks)
	for _, c := range a.dirty {
		c.dirty.Store(false)
		c.fc.Flush()
	}
}

// outcomes answers the transactions of b, which is the caller's alone. It returns
// what has to be sent again.
func (a *answers) outcomes(b *batch, body []byte) (rest []*batch) {
	q := a.q
	now := q.g.host.Now()
	var left *batch
	var o outcome
	stamp := uint64(0)
	for i, at := 0, 0; i < len(b.entries); i++ {
		e := &b.entries[i]
		if at >= 0 {
			o, at = nextOutcome(body, at)
		}
		if at < 0 { // fewer outcomes than submissions, or malformed: nothing is known
			o = outcome{}
		}
		stamp = max(stamp, o.timestamp)
		switch {
		case e.c == nil: // its deadline came first
		case o.state == txnpb.StateUnknown, o.state == txnpb.StateNotLeader,
			o.state == txnpb.StatePending && e.deadline > now+expiryTick,
			(o.state == txnpb.StateOverloaded || o.state == txnpb.StateClockUnsynced) && b.uncertain():
			if left == nil {
				left = b.remains()
			}
			left.partial = left.partial || o.state != txnpb.StateNotLeader
			left.move(b, e, now)
		case o.state == txnpb.StateSessionOver:
			a.refuse(b, e, message.Unsigned, errOver.Error())
		default:
			a.answer(b, e, o.body)
		}
	}
	if stamp != 0 {
		q.g.ahead.Store(int64(stamp) - q.g.cfg.Wall())
	}
	if left == nil {
		return nil
	}
	q.g.counters.retries.Add(uint64(len(left.entries)))
	return []*batch{left}
}

// failure deals with a call that the service did not answer.
func (a *answers) failure(b *batch, r *engine.Reply) (rest []*batch) {
	now := a.q.g.host.Now()
	alone := false
	switch r.Code {
	case message.Overloaded:
		if !b.uncertain() {
			a.refuseAll(b, r.Code, r.Detail)
			return nil
		}
	case message.Denied, message.Invalid, message.NoMethod, message.Quarantined:
		if len(b.entries) == 1 && !b.uncertain() {
			a.refuseAll(b, r.Code, r.Detail)
			return nil
		}
		if len(b.entries) == 1 {
			// Some earlier sending may have been executed: this refusal is of the last one.
			a.refuseAll(b, message.Unknown, r.Detail)
			return nil
		}
		alone = true // one of them spoils it for the others
	}
	for i := range b.entries {
		e := &b.entries[i]
		if e.c == nil {
			continue
		}
		if len(rest) == 0 || alone {
			left := b.remains()
			left.partial = left.partial || !r.Code.NotExecuted()
			rest = append(rest, left)
		}
		rest[len(rest)-1].move(b, e, now)
		a.q.g.counters.retries.Add(1)
	}
	return rest
}

func (a *answers) refuseAll(b *batch, code message.Code, detail string) {
	for i := range b.entries {
		if e := &b.entries[i]; e.c != nil {
			a.refuse(b, e, code, detail)
		}
	}
}

// expire answers PENDING to what is overdue in b.
func (a *answers) expire(b *batch, now time.Duration) {
	earliest := forever
	for i := range b.entries {
		e := &b.entries[i]
		switch {
		case e.c == nil:
		case e.deadline <= now:
			a.q.g.counters.pending.Add(1)
			b.overdue++
			a.answer(b, e, message.Marshal(&txnpb.Outcome{Id: idOf(b.transaction(e)), State: txnpb.StatePending,
				Reason: "the deadline came before the outcome: ask again with the same id"}))
		default:
			earliest = min(earliest, e.deadline)
		}
	}
	b.earliest = earliest
}

// idOf returns the id of an encoded transaction, or 0 if it has none.
func idOf(tx []byte) u128.Int {
	raw, err := message.FindBytes(tx, 1)
	if err != nil {
		return u128.Int{}
	}
	id, err := u128.ParseWire(raw)
	if err != nil {
		return u128.Int{}
	}
	return id
}

// uncertain reports whether an earlier sending of b may have been executed.
func (b *batch) uncertain() bool { return b.partial || b.sent > 1 }

// remains returns an empty batch for what is left of b.
func (b *batch) remains() *batch {
	return &batch{pause: min(max(2*b.pause, retryFirst), retryMost), partial: b.uncertain()}
}

// timely returns b without what is overdue: expired work is not started. It is nil
// when nothing is left.
func (b *batch) timely(now time.Duration) *batch {
	switch b.overdue {
	case 0:
		return b
	case len(b.entries):
		return nil
	}
	left := &batch{pause: b.pause, partial: b.partial}
	for i := range b.entries {
		if e := &b.entries[i]; e.c != nil {
			left.move(b, e, now)
		}
	}
	return left
}

// move takes e over from b, under what is left of its time.
func (b *batch) move(from *batch, e *entry, now time.Duration) {
	s := txnpb.Submission{Transaction: from.transaction(e), Principal: e.in.user.number, Role: uint32(e.in.role),
		UserVersion: e.in.version, RemainingMillis: uint32(max((e.deadline - now).Milliseconds(), 1))}
	moved := *e
	moved.earlier += from.sent
	b.add(moved, &s)
	e.c = nil
}
