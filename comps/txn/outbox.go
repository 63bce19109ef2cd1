package txn

import (
	"time"

	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

const (
	// maxAwait is the longest that a Component waits for work in one request: when the
	// leader's SFU is lost without a word, this is how long nobody notices here. The engine
	// tells earlier.
	maxAwait = 30 * time.Second
	// maxAwaits bounds those who wait: every queue of every SFU is a few hundred.
	maxAwaits = 1024
	// awaitsEvery is how often it is looked whether somebody has waited long enough.
	awaitsEvery = time.Second
)

// awaits are the requests of Components that wait for work in the outbox. They belong to
// the apply thread.
type awaits struct {
	list    []await
	version uint64 // that all in the list have seen
}

type await struct {
	r     message.Responder[*txnpb.EffectsReady]
	until time.Duration
}

// AwaitEffects implements txnpb.TxnHandler.
func (d txnService) AwaitEffects(r message.Responder[*txnpb.EffectsReady], in *txnpb.AwaitRequest) {
	c := d.c
	until := maxAwait
	if in.Millis != 0 {
		until = min(until, time.Duration(in.Millis)*time.Millisecond)
	}
	until += c.host.Now()
	d.add(func() {
		if !c.loop.leading {
			r.Fail(message.NotLeader, "")
			return
		}
		c.applier.do(func() { c.applier.await(r, in.Version, until) })
	})
}

// await answers at once where the outbox is not as the caller knows it.
func (a *applier) await(r message.Responder[*txnpb.EffectsReady], version uint64, until time.Duration) {
	now := a.machine.OutboxVersion()
	switch {
	case version != now:
		r.Reply(&txnpb.EffectsReady{Version: now})
	case len(a.awaits.list) == maxAwaits:
		r.Fail(message.Overloaded, "too many wait for effects")
	default:
		a.awaits.version = now
		a.awaits.list = append(a.awaits.list, await{r, until})
	}
}

// answer answers all when the outbox has changed.
func (w *awaits) answer(version uint64) {
	if len(w.list) == 0 || version == w.version {
		return
	}
	for _, a := range w.list {
		a.r.Reply(&txnpb.EffectsReady{Version: version})
	}
	w.forget()
}

func (w *awaits) forget() {
	clear(w.list)
	w.list = w.list[:0]
}

// sweep answers those who have waited long enough.
func (w *awaits) sweep(now time.Duration) {
	left := w.list[:0]
	for _, a := range w.list {
		if a.until <= now {
			a.r.Reply(&txnpb.EffectsReady{Version: w.version})
		} else {
			left = append(left, a)
		}
	}
	clear(w.list[len(left):])
	w.list = left
}

// refuse sends all to another leader.
func (w *awaits) refuse() {
	for _, a := range w.list {
		a.r.Fail(message.NotLeader, "")
	}
	w.forget()
}

// sweepAwaits looks now and then after those who wait. It belongs to the loop.
func (l *loop) sweepAwaits(now time.Duration) {
	if now-l.awaitsSwept < awaitsEvery {
		return
	}
	l.awaitsSwept = now
	a := l.c.applier
	a.do(func() { a.awaits.sweep(now) })
}
