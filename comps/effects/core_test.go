package effects

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"virtualservicesinc.com/comps/effects/effectstest"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// epoch is the wall clock when a test begins.
const epoch = uint64(1_790_000_000 * time.Second)

// world is what effects are done in: a data source that keeps their keys and the greatest
// fence, as data sources do.
type world struct {
	t     testing.TB
	fence uint64
	done  map[Key]int
	order map[string][]uint64 // CSN and ordinal of what was done, by key
}

// do does one attempt as a data source does it: once, and not for who lost the queue.
func (w *world) do(a *Attempt) (ok bool) {
	if a.Fence < w.fence {
		return false
	}
	w.fence = a.Fence
	if w.done[a.Key] > 0 {
		if !a.InDoubt {
			w.t.Errorf("effect %v is done already, and the attempt is not in doubt", a.Key)
		}
		return true
	}
	w.done[a.Key]++
	if a.Order != "" {
		w.order[a.Order] = append(w.order[a.Order], a.CSN<<16|uint64(a.Key.Ordinal))
	}
	return true
}

// event is something that happens at a time.
type event struct {
	at time.Duration
	n  int
	f  func()
}

// sim is some SFUs with a Core each, and all that may go wrong between them and the log.
type sim struct {
	*effectstest.Cluster
	t      testing.TB
	rng    *rand.Rand
	now    time.Duration
	n      int
	events []event
	world  *world
	nodes  []*node
	calm   bool
	owed   int
}

// node is one SFU.
type node struct {
	s    *sim
	sfu  uint32
	core *Core
	life int
	cut  bool // from the log
	wake time.Duration
}

func (s *sim) after(d time.Duration, f func()) {
	s.n++
	s.events = append(s.events, event{s.now + d, s.n, f})
}

func (s *sim) step() {
	i := 0
	for j := range s.events {
		if e := &s.events[j]; e.at < s.events[i].at || e.at == s.events[i].at && e.n < s.events[i].n {
			i = j
		}
	}
	e := s.events[i]
	s.events = slices.Delete(s.events, i, i+1)
	s.now = e.at
	e.f()
}

func (s *sim) delay(most time.Duration) time.Duration {
	return time.Duration(s.rng.Int64N(int64(most)))
}

func (s *sim) list(from uint64, limit uint32) *txnpb.OutboxAnswer {
	return s.Outbox(&txnpb.OutboxFilter{Service: "sql", Sequence: from, Limit: limit})
}

// start begins a life of a node.
func (n *node) start() {
	n.life++
	n.core = NewCore(CoreConfig{Service: "sql", SFU: n.sfu, Token: n.s.rng.Uint64(), Attempts: 6, Parallel: 3, Batch: 2, RetryFirst: 100 * time.Millisecond})
	n.turn()
}

// later has f run if the node lives on until then.
func (n *node) later(d time.Duration, f func()) {
	life := n.life
	n.s.after(d, func() {
		if n.life == life {
			f()
			n.turn()
		}
	})
}

// turn does what the core wants.
func (n *node) turn() {
	s := n.s
	var out Output
	for n.core.Ready(s.now, &out) {
		if l := out.List; l != nil {
			n.later(s.delay(20*time.Millisecond), func() {
				if n.cut {
					n.core.ListFailed(s.now, 50*time.Millisecond)
					return
				}
				a := s.list(l.From, min(l.Limit, 5))
				n.later(s.delay(20*time.Millisecond), func() { n.core.Listed(s.now, epoch+uint64(s.now), a) })
			})
		}
		if ch := out.Change; ch != nil {
			n.submit(ch)
		}
		if out.Await {
			n.await(out.Version, s.now+5*time.Second)
		}
		for _, j := range out.Jobs {
			n.do(j)
		}
	}
	if out.Wake > 0 && out.Wake != n.wake {
		n.wake = out.Wake
		n.later(out.Wake-s.now, func() {})
	}
}

func (n *node) submit(ch *Change) {
	s := n.s
	n.later(s.delay(30*time.Millisecond), func() {
		if n.cut { // again until it is known
			n.submit(ch)
			return
		}
		statuses := s.Change(message.RoleSFU, ch.Changes...)
		n.later(s.delay(30*time.Millisecond), func() { n.core.Changed(s.now, ch, statuses) })
	})
}

func (n *node) await(version uint64, until time.Duration) {
	s := n.s
	n.later(100*time.Millisecond, func() {
		switch {
		case n.cut:
			n.core.AwaitFailed(s.now, 50*time.Millisecond)
		case s.OutboxVersion() != version || s.now >= until:
			n.core.Woken(s.OutboxVersion())
		default:
			n.await(version, until)
		}
	})
}

// counted is how many attempts the log has counted for an effect; what it does not hold any
// more has ended.
func (s *sim) counted(a *Attempt) uint32 {
	list := s.list(0, 1000)
	for i := range list.Effects {
		if e := &list.Effects[i]; e.TransactionId == a.Key.Transaction && e.Ordinal == a.Key.Ordinal {
			return e.Attempts
		}
	}
	return math.MaxUint32
}

// do does a job; what a crash cuts off may have been done or not.
func (n *node) do(j *Job) {
	s := n.s
	keys := map[string]bool{}
	for i := range j.Attempts {
		a := &j.Attempts[i]
		if keys[a.Order] && a.Order != "" {
			s.t.Errorf("a batch holds two effects with the key %q", a.Order)
		}
		keys[a.Order] = true
		if s.counted(a) < a.Number {
			s.t.Errorf("effect %v: the log does not count attempt %d", a.Key, a.Number)
		}
	}
	results := make([]Result, len(j.Attempts))
	s.after(s.delay(2*time.Second), func() { // whether the node lives or not
		for i := range j.Attempts {
			a := &j.Attempts[i]
			results[i] = Result{Class: ClassRetry, Reason: "busy"}
			switch s.rng.IntN(12) {
			case 0, 1:
			case 2:
				if !s.calm {
					results[i] = Result{Class: ClassQuarantine, Reason: "odd"}
				}
			default:
				if s.world.do(a) {
					results[i] = Done("")
				}
			}
		}
	})
	n.later(2*time.Second+s.delay(time.Second), func() { n.core.Did(j, results) })
}

// owe has a transaction owe some effects.
func (s *sim) owe() {
	var tx txnpb.Transaction
	for range 1 + s.rng.IntN(3) {
		e := txnpb.Effect{Service: "sql", Operation: "insert"}
		if k := s.rng.IntN(4); k > 0 {
			e.Key = string(rune('a' + k))
		}
		tx.Effects = append(tx.Effects, e)
		s.owed++
	}
	s.Owe(tx.Effects...)
}

// disturb does one of the things that go wrong.
func (s *sim) disturb() {
	n := s.nodes[s.rng.IntN(len(s.nodes))]
	switch s.rng.IntN(4) {
	case 0:
		n.life++ // killed
		s.after(s.delay(15*time.Second), n.start)
	case 1:
		n.cut = true
		s.after(s.delay(15*time.Second), func() { n.cut = false })
	case 2:
		s.requeue()
	case 3:
		n.core.Drain()
		n.later(5*time.Second, n.start)
	}
}

func (s *sim) requeue() {
	a := s.list(0, 1000)
	for i := range a.Effects {
		if e := &a.Effects[i]; e.State == txnpb.EffectStateQuarantined {
			s.Change(message.RoleOperator, txnpb.EffectChange{Action: txnpb.EffectActionRequeue, Service: "sql", Sequence: e.Sequence})
		}
	}
}

// TestCores: SFUs are killed, cut off and drained while they do effects. In the end every
// effect is done, once, in the order of its key, and nobody's report under an older fence
// was believed.
func TestCores(t *testing.T) {
	seeds := 40
	if testing.Short() {
		seeds = 10
	}
	for seed := range uint64(seeds) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { runSim(t, seed) })
	}
}

func runSim(t *testing.T, seed uint64) {
	s := &sim{t: t, rng: rand.New(rand.NewPCG(seed, 3))}
	s.Cluster = effectstest.NewAt(t, func() uint64 { return epoch + uint64(s.now) })
	s.world = &world{t: t, done: map[Key]int{}, order: map[string][]uint64{}}
	for i := range 3 {
		n := &node{s: s, sfu: uint32(i + 1)}
		s.nodes = append(s.nodes, n)
		n.start()
	}
	for range 40 {
		s.after(s.delay(60*time.Second), s.owe)
	}
	for range 15 {
		s.after(s.delay(60*time.Second), s.disturb)
	}
	s.after(80*time.Second, func() { s.calm = true })
	for s.now < 80*time.Second {
		s.step()
	}
	for again := s.now; len(s.list(0, 1000).Effects) > 0; again += 10 * time.Second {
		s.requeue()
		for s.now < again {
			s.step()
		}
		if s.now > 1000*time.Second {
			t.Fatalf("after %v there are still effects: %v", s.now, s.list(0, 1000))
		}
	}
	if len(s.world.done) != s.owed {
		t.Errorf("%d effects were owed and %d done", s.owed, len(s.world.done))
	}
	for key, list := range s.world.order {
		if !slices.IsSortedFunc(list, cmp.Compare[uint64]) {
			t.Errorf("key %q: not in the order in which they were owed: %v", key, list)
		}
	}
	for key := range s.world.done {
		if key.Cluster != effectstest.ID {
			t.Fatalf("key %v is of another cluster", key)
		}
	}
}

// TestBehind: an SFU whose clock is behind, and is set right later, waits for no longer than
// the log would have it.
func TestBehind(t *testing.T) {
	const now, stamp = time.Second, uint64(1_790_000_000 * time.Second)
	behind := stamp - uint64(time.Hour)
	mine := txnpb.EffectQueue{Service: "sql", Effects: 1, Fence: 1, Holder: 1, Token: 7, Until: stamp}
	theirs := mine
	theirs.Holder, theirs.Until = 2, stamp+uint64(time.Second)
	owed := txnpb.OwedEffect{Sequence: 1, State: txnpb.EffectStateOwed, Attempts: 1, Due: stamp + uint64(100*time.Millisecond), Effect: &txnpb.Effect{Service: "sql"}}
	for _, test := range []struct {
		name   string
		answer txnpb.OutboxAnswer
		within time.Duration
	}{
		{"an effect that is tried again", txnpb.OutboxAnswer{Queues: []txnpb.EffectQueue{mine}, Effects: []txnpb.OwedEffect{owed}}, 100 * time.Millisecond},
		{"a queue that another holds", txnpb.OutboxAnswer{Queues: []txnpb.EffectQueue{theirs}}, time.Second + 3*time.Second},
	} {
		c := NewCore(CoreConfig{Service: "sql", SFU: 1, Token: 7})
		var out Output
		if !c.Ready(now, &out) || out.List == nil {
			t.Fatal("the core does not look at its queue")
		}
		test.answer.Stamp = stamp
		c.Listed(now, behind, &test.answer)
		for c.Ready(now, &out) {
		}
		if out.Wake == 0 || out.Wake > now+test.within {
			t.Errorf("%s: waits until %v, it is %v", test.name, out.Wake, now)
		}
	}
}
