package cluster

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"virtualservicesinc.com/comps/effects"
	"virtualservicesinc.com/comps/txn/entry"
	"virtualservicesinc.com/comps/txn/machine"
	"virtualservicesinc.com/comps/txn/replica"
	"virtualservicesinc.com/comps/txn/store"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/ledgerpb"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

const (
	// effectService and effectTarget name the one queue of a run.
	effectService, effectTarget = "sim", "outside"
	// effectLease is the shortest that the log takes: a holder that crashes is followed well
	// within the liveness phase.
	effectLease = time.Second
	// doTime is how long an effect takes at most, and listAgain how long a doer waits that
	// nobody has answered.
	doTime    = 30 * time.Millisecond
	listAgain = 20 * time.Millisecond
	// afterDone is what follows each effect: one moved from the first account, which may
	// go below zero, to the third.
	afterDebit, afterCredit, afterAmount = 1, 3, 1
)

// effectCluster is the cluster's id in the effects' keys.
var effectCluster = [16]byte{1}

// outside is the world outside the ledger. It counts an effect once under its key, as a
// payment provider does, and a data source by its row.
type outside struct {
	active   bool // the version that knows effects is, as somebody was told
	first    map[effects.Key]time.Duration
	reported map[effects.Key]bool // the log has it that they are done, as a doer was told
	times    int                  // how often anything was done
}

// effectKeys are the keys by which effects are done one after the other; none for "".
var effectKeys = [...]string{"", "a", "b", "c"}

// owes adds effects to a client's transaction.
func (c *client) owes(tx *txnpb.Transaction) {
	if c.w.outside == nil || !c.w.outside.active || tx.Mode != txnpb.ModeAtomic || len(tx.Transfers) == 0 || c.rng.IntN(2) == 0 {
		return
	}
	for range 1 + c.rng.IntN(3) {
		tx.Effects = append(tx.Effects, txnpb.Effect{Service: effectService, Target: effectTarget, Operation: "do", Key: effectKeys[c.rng.IntN(len(effectKeys))],
			Done: &txnpb.Continuation{Transfers: []ledgerpb.Transfer{{Id: c.newID(), Ledger: 1, Code: 1,
				DebitAccountId: u128.From64(afterDebit), CreditAccountId: u128.From64(afterCredit), Amount: u128.From64(afterAmount)}}}})
	}
}

// activateEffects asks for the version that knows effects, until it is active.
func (w *world) activateEffects() {
	if w.outside.active {
		return
	}
	w.After(100*time.Millisecond, w.activateEffects)
	all := w.members()
	n := all[w.rng.IntN(len(all))]
	l := n.life
	if l == nil || n.witness {
		return
	}
	c := &replica.Change{Wish: txnpb.RosterChange{Activate: entry.VersionEffects}, Deadline: w.Now() + operatorPatience}
	c.Origin = func(c *replica.Change) {
		if c.Failed == nil && (c.Refused == "" || c.Group.Version >= entry.VersionEffects) {
			w.outside.active = true
		}
	}
	n.run(l, func() { l.replica.Change(c) })
}

// doer is what does effects in one life of a node: the core of a Component, whose clock,
// transactions and goroutines the simulation is.
type doer struct {
	n      *node
	l      *life
	rng    *rand.Rand
	core   *effects.Core
	out    effects.Output
	gone   map[*effects.Job]bool  // abandoned
	keys   map[uint64]effects.Key // of effects that were listed, by their sequence
	awaits bool
	known  uint64 // the version of the outbox that the core knows
}

// newDoer returns a life's, nil where there is none. It is to be pumped at every tick.
func (n *node) newDoer(l *life) *doer {
	if n.w.outside == nil || n.witness {
		return nil
	}
	d := &doer{n: n, l: l, rng: rand.New(rand.NewPCG(n.w.cfg.Seed, 10_000+n.id<<32+n.incarnation)), gone: map[*effects.Job]bool{}, keys: map[uint64]effects.Key{}}
	d.core = effects.NewCore(effects.CoreConfig{
		Service: effectService, Target: effectTarget, SFU: uint32(n.id), Token: d.rng.Uint64(), Attempts: 1000, Parallel: 3, Batch: 3,
		Lease: effectLease, RetryFirst: 5 * time.Millisecond, RetryMost: 50 * time.Millisecond,
	})
	return d
}

// later lets the core go on, outside of whatever called.
func (d *doer) later(f func()) {
	d.n.w.After(time.Microsecond, func() {
		d.n.run(d.l, func() {
			f()
			d.pump()
		})
	})
}

// pump does what the core wants done.
func (d *doer) pump() {
	w := d.n.w
	m, ok := d.l.machine.(*machine.Machine)
	if !ok || !w.outside.active || d.l.halted {
		return
	}
	if v := m.OutboxVersion(); d.awaits && v != d.known {
		d.awaits = false
		d.core.Woken(v)
	}
	for d.n.life == d.l && d.core.Ready(w.Now(), &d.out) {
		for _, j := range d.out.Abandon {
			d.gone[j] = true
		}
		for _, j := range d.out.Jobs {
			d.do(j)
		}
		if d.out.Await {
			d.awaits, d.known = true, d.out.Version
		}
		if ch := d.out.Change; ch != nil {
			d.submit(ch)
		}
		if list := d.out.List; list != nil {
			d.list(*list)
		}
	}
}

// list reads the outbox.
func (d *doer) list(list effects.List) {
	w := d.n.w
	rd := &replica.Read{Deadline: w.Now() + patience}
	rd.Origin = func(rd *replica.Read) {
		var a *txnpb.OutboxAnswer
		if !rd.Failed {
			var err error
			if a, err = machine.Outbox(d.n.state, &txnpb.OutboxFilter{Service: effectService, Target: effectTarget, Sequence: list.From, Limit: list.Limit}); err != nil {
				w.fail("node %d: %v", d.n.id, err)
				return
			}
			a.ClusterId = effectCluster[:]
		}
		d.later(func() {
			if a == nil {
				d.core.ListFailed(w.Now(), listAgain)
				return
			}
			for i := range a.Effects {
				e := &a.Effects[i]
				d.keys[e.Sequence] = effects.Key{Cluster: effectCluster, Transaction: e.TransactionId, Ordinal: e.Ordinal}
			}
			d.core.Listed(w.Now(), d.n.wall(), a)
		})
	}
	d.l.replica.Read(rd)
}

// submit submits a change until its outcome is final, by a client of its own: what was sent
// may be committed although who sent it is gone.
func (d *doer) submit(ch *effects.Change) {
	w := d.n.w
	c := newClient(w, len(w.clients))
	c.role, c.home = message.RoleSFU, d.n
	c.tx = txnpb.Transaction{Id: c.newID(), Mode: txnpb.ModeIndependent, EffectChanges: ch.Changes}
	c.over = func(o *txnpb.Outcome) {
		if o.State != txnpb.StateCommitted || o.Results == nil {
			w.fail("a change of effects is %v", o)
			return
		}
		statuses := make([]txnpb.EffectStatus, len(ch.Changes))
		for _, x := range o.Results.Exceptions {
			statuses[x.Index] = txnpb.EffectStatus(x.Status)
		}
		for i := range ch.Changes {
			if x := &ch.Changes[i]; x.Action == txnpb.EffectActionDone && statuses[i] == txnpb.EffectStatusChanged {
				if key := d.keys[x.Sequence]; w.outside.reported[key] {
					w.fail("effect %v is reported as done for the second time", key)
				} else {
					w.outside.reported[key] = true
					w.report.Effects++
				}
			}
		}
		d.later(func() { d.core.Changed(w.Now(), ch, statuses) })
	}
	w.clients = append(w.clients, c)
	c.open, c.since = true, w.Now()
	w.After(time.Microsecond, c.ask)
}

// do does a job's effects in the world outside, or does not, and says so, or does not. One
// whose process is gone meanwhile may be done all the same.
func (d *doer) do(j *effects.Job) {
	w := d.n.w
	for i := range j.Attempts {
		a := &j.Attempts[i]
		if w.outside.reported[a.Key] {
			w.fail("node %d attempts effect %v, which is reported as done", d.n.id, a.Key)
		}
		if _, done := w.outside.first[a.Key]; done && !a.InDoubt && a.Number == 1 {
			w.fail("node %d is not told that effect %v may have been done", d.n.id, a.Key)
		}
		if a.InDoubt {
			w.report.InDoubt++
		}
	}
	w.After(time.Duration(d.rng.Int64N(int64(doTime))), func() {
		if d.n.life != d.l && d.rng.IntN(2) == 0 {
			return // it went with the process
		}
		results := make([]effects.Result, len(j.Attempts))
		for i := range j.Attempts {
			fate := d.rng.IntN(10)
			if fate > 0 {
				w.outside.do(w.Now(), j.Attempts[i].Key)
			}
			if results[i] = effects.Done(""); fate <= 1 { // not done, or the answer is lost
				results[i] = effects.Result{Class: effects.ClassRetry, Reason: "no answer"}
			}
		}
		d.n.run(d.l, func() {
			if !d.gone[j] {
				d.core.Did(j, results)
			}
			d.pump()
		})
	})
}

func (o *outside) do(now time.Duration, key effects.Key) {
	o.times++
	if _, again := o.first[key]; !again {
		o.first[key] = now
	}
}

// owed reports what still stands in the outbox, "" for nothing.
func (w *world) owed() string {
	if w.outside == nil {
		return ""
	}
	for _, n := range w.replicas() {
		a, err := machine.Outbox(n.rows, &txnpb.OutboxFilter{Service: effectService, Target: effectTarget})
		if err != nil {
			return err.Error()
		}
		for i := range a.Queues {
			if left := a.Queues[i].Effects; left > 0 {
				return fmt.Sprintf("%d effects are owed, as node %d has it", left, n.id)
			}
		}
	}
	return ""
}

// checkOutside holds the world outside against the transactions: each committed
// transaction's effects were done, those of no other, and by their keys one after
// the other; each is reported once, with what follows it.
func (w *world) checkOutside() {
	if w.outside == nil {
		return
	}
	type due struct {
		csn     uint64
		ordinal int
		order   string
		at      time.Duration
	}
	owed := map[effects.Key]bool{}
	var all []due
	for _, c := range w.clients {
		for i := range c.history {
			h := &c.history[i]
			for k := range h.tx.Effects {
				e := &h.tx.Effects[k]
				key := effects.Key{Cluster: effectCluster, Transaction: h.tx.Id, Ordinal: uint32(k)}
				at, done := w.outside.first[key]
				if committed := h.state == txnpb.StateCommitted; done != committed || w.outside.reported[key] && !committed {
					w.fail("effect %v is done: %v, reported: %v; its transaction is %v", key, done, w.outside.reported[key], h.state)
					return
				}
				if h.state != txnpb.StateCommitted {
					continue
				}
				owed[key] = true
				all = append(all, due{h.csn, k, e.Key, at})
				w.checkReported(h, key, e)
			}
		}
	}
	if len(w.outside.first) != len(owed) {
		w.fail("%d effects were done, transactions owe %d", len(w.outside.first), len(owed))
	}
	slices.SortFunc(all, func(a, b due) int { return cmp.Or(cmp.Compare(a.csn, b.csn), cmp.Compare(a.ordinal, b.ordinal)) })
	latest := map[string]due{}
	for _, d := range all {
		if before, ok := latest[d.order]; ok && d.order != "" && d.at <= before.at {
			w.fail("effects with the key %q: that of CSN %d was done at %v, that of CSN %d before it at %v", d.order, d.csn, d.at, before.csn, before.at)
		}
		latest[d.order] = d
	}
}

// checkReported looks for what follows an effect, on every replica.
func (w *world) checkReported(h *told, key effects.Key, e *txnpb.Effect) {
	for _, n := range w.replicas() {
		row, err := machine.Lookup(n.rows, h.tx.Id)
		if err != nil || row == nil {
			w.fail("node %d does not know %v: %v", n.id, h, err)
			return
		}
		c, err := machine.Completion(n.rows, row.Outcome)
		if err != nil || c.Owed != uint32(len(h.tx.Effects)) || c.Done != c.Owed {
			w.fail("node %d: of %d effects of %v are done: %v, %v", n.id, len(h.tx.Effects), h, c, err)
			return
		}
		if ts, known := n.rows.TransferID(e.Done.Transfers[0].Id); !known || ts == 0 {
			w.fail("node %d: what follows effect %v is not in the ledger", n.id, key)
			return
		}
	}
}

// unclaimed shows effects as if nobody had ever claimed them.
type unclaimed struct{ store.State }

func (u unclaimed) show(key, row []byte) []byte {
	var e txnpb.OwedEffect
	if len(key) == 0 || key[0] != 'e' || e.Parse(slices.Clone(row)) != nil {
		return row
	}
	e.State, e.Attempts, e.InDoubt = txnpb.EffectStateOwed, 0, false
	return message.Marshal(&e)
}

func (u unclaimed) Outbox(key []byte) ([]byte, bool) {
	row, ok := u.State.Outbox(key)
	if ok {
		row = u.show(key, row)
	}
	return row, ok
}

func (u unclaimed) OutboxRows(from, to []byte, f func(key, row []byte) bool) {
	u.State.OutboxRows(from, to, func(key, row []byte) bool { return f(key, u.show(key, row)) })
}
