package cluster

import (
	"crypto/ecdh"
	cryptorand "crypto/rand"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime/debug"
	"time"

	"virtualservicesinc.com/comps/effects"
	"virtualservicesinc.com/comps/txn/roster"
	"virtualservicesinc.com/comps/txn/store/memstore"
	"virtualservicesinc.com/net/session"
	"virtualservicesinc.com/rrts/journal/keyring"
	"virtualservicesinc.com/rrts/schema/txnpb"
	"virtualservicesinc.com/rrts/sim"
)

// Config says what a run is made of. Everything else comes from the seed.
type Config struct {
	Seed uint64
	// Nodes is the size of the cluster; 0 lets the seed choose: three as a rule, of which
	// one may be a witness, at times five, and at times one.
	Nodes int
	// Witness makes the last of the nodes one, and lets the operator add others.
	Witness bool
	// Clients is the number of clients; 0 means 6.
	Clients int
	// Safety is the length of the safety phase; 0 means 3 s of virtual time.
	Safety time.Duration
	// Effects lets transactions owe effects. The seed chooses where Events is nil: those of
	// every other seed do.
	Effects bool
	// Force makes a cluster of two that loses one node for good: the other one goes on by
	// a forced recovery, and the first comes back, overruled, and is replaced.
	Force bool
	// Bug is planted, to see whether the run notices.
	Bug Bug
	// Events are what goes wrong, in the order of their times; nil lets the seed choose,
	// see Plan.
	Events []Event
	// during, if not nil, is called when the run begins.
	during func(w *world)
	// Trace, when set, gets a line for every event and what comes of it.
	Trace io.Writer
}

// Report is what a run did: enough to see that it tested something.
type Report struct {
	Committed, Aborted int
	Reads              int
	Retries            int // submissions of an id that had been submitted before
	Resolves           int
	Crashes, Cuts      int
	Pauses, Slow       int
	FailedSyncs        int
	ClocksApart        int           // times that a leader's clock was found to be wrong, or no majority's to agree
	Activated, Halted  int           // newer apply versions; nodes whose software was too old
	Transfers          int           // states installed by members that lagged
	Markers            int           // of them, those that witnesses installed without a row
	Lifted             int           // how often a witness led, to catch a voter up
	Full               int           // writes that a full disk put off
	Mended             int           // damaged journals that were made whole
	Fenced, Rebuilt    int           // states found rotten, and made anew from another's
	Damaged            int           // nodes whose journal could not be, and that took no part any more
	Added, Removed     int           // members
	Replaced           int           // of those that had lost their disk or their journal
	Promoted, Demoted  int           // to voters, to learners
	Forced             int           // recoveries
	Overruled          int           // nodes that heard that one went on without them
	Effects            int           // that were done and reported
	InDoubt            int           // attempts at effects that may have been done
	Refused            int           // changes of the members that would have broken a rule or endangered the quorum
	Settled            time.Duration // from the healing until everything was answered and agreed on
	Virtual            time.Duration
}

// sentState is a state that was sent, and whether it is what its sum says.
type sentState struct {
	rows  *memstore.Store
	holds bool
}

const (
	// liveness is how long a healed cluster may take to answer everything, to agree,
	// and to expire what pends. Pending transfers take a second for that, and a member
	// that missed much is sent the state.
	liveness = 6 * time.Second
	// epoch is where the clocks of a run begin: a time like today's.
	epoch = 1_790_000_000 * time.Second
)

// world is one run.
type world struct {
	sim.Scheduler
	cfg      Config
	rng      *rand.Rand
	networks [2]*sim.Network
	nodes    []*node
	pairs    map[uint64]session.KeyPair
	keys     *keyring.Ring
	clients  []*client
	operator *operator
	forcing  *forcing
	outside  *outside // nil: no effects are owed
	founders *txnpb.Roster
	report   Report
	err      error

	chains  map[uint64]string // digest by applied index, from the first replica that got there
	states  []sentState       // to members that lag
	group   roster.State      // the newest that any replica has applied
	groupAt uint64            // at that entry

	healed time.Duration // when everything was healed
	opened bool          // the accounts were created, as a client was told
	calm   bool          // the liveness phase: no faults
}

// Run runs one seed and checks it. It replaces crypto/rand.Reader while it runs.
func Run(cfg Config) (Report, error) {
	w := &world{
		cfg: Plan(cfg), rng: rand.New(rand.NewPCG(cfg.Seed, 0x72727473)),
		pairs: map[uint64]session.KeyPair{}, chains: map[uint64]string{},
	}
	if w.cfg.Effects {
		w.outside = &outside{first: map[effects.Key]time.Duration{}, reported: map[effects.Key]bool{}}
	}
	old := cryptorand.Reader
	cryptorand.Reader = w.random(cfg.Seed)
	defer func() { cryptorand.Reader = old }()

	w.play()
	w.report.Virtual = w.Now()
	return w.report, w.err
}

// play goes through both phases and the checks. A panic in a core ends the run
// like any other failure.
func (w *world) play() {
	defer func() {
		if v := recover(); v != nil {
			w.fail("panic: %v\n%s", v, debug.Stack())
		}
	}()
	if err := w.build(); err != nil {
		w.fail("%v", err)
		return
	}
	if w.outside != nil {
		w.activateEffects()
	}
	w.disturb()
	if w.cfg.Force {
		w.planForce()
	}
	if w.cfg.during != nil {
		w.cfg.during(w)
	}
	w.runUntil(w.cfg.Safety)
	w.heal()
	w.healed = w.Now()
	for w.err == nil && !w.settled() && w.Now() < w.healed+liveness {
		w.runUntil(w.Now() + 10*time.Millisecond)
	}
	w.report.Settled = w.Now() - w.healed
	if w.err == nil && !w.settled() {
		w.traceNodes()
		w.fail("not settled %v after everything was healed: %s", liveness, w.unsettled())
	}
	if w.err == nil {
		w.check()
	}
}

func (w *world) runUntil(t time.Duration) {
	for w.err == nil && w.Now() < t {
		// In slices, so that a failure stops the run soon.
		w.RunUntil(min(t, w.Now()+time.Millisecond))
	}
}

// fail ends the run with the first thing that went wrong.
func (w *world) fail(format string, a ...any) {
	if w.err == nil {
		w.err = fmt.Errorf("seed %d at %v: "+format, append([]any{w.cfg.Seed, w.Now()}, a...)...)
	}
}

func (w *world) trace(format string, a ...any) {
	if w.cfg.Trace != nil {
		fmt.Fprintf(w.cfg.Trace, "%12v  "+format+"\n", append([]any{w.Now()}, a...)...)
	}
}

// random is a stream of random bytes of its own.
func (w *world) random(seed uint64) io.Reader {
	var key [32]byte
	for i := range 8 {
		key[i] = byte(seed >> (8 * i))
	}
	return rand.NewChaCha8(key)
}

// build makes nodes, networks and clients.
func (w *world) build() error {
	var err error
	if w.keys, err = keyring.New(w.random(w.cfg.Seed + 1)); err != nil {
		return err
	}
	for i := range w.networks {
		w.networks[i] = sim.NewNetwork(&w.Scheduler, rand.New(rand.NewPCG(w.cfg.Seed, uint64(i)+1)))
		w.networks[i].Weather = sim.Weather{Delay: 50 * time.Microsecond, Jitter: 150 * time.Microsecond}
	}
	for i := range w.cfg.Nodes {
		id := uint64(i + 1)
		if w.pairs[id], err = keyPair(w.random(w.cfg.Seed<<8 + id)); err != nil {
			return err
		}
	}
	w.founders = w.founding()
	for i := range w.cfg.Nodes {
		n := newNode(w, uint64(i+1))
		n.founder, n.known = true, w.founders
		n.witness = w.founders.Members[i].Type == typeWitness
		w.nodes = append(w.nodes, n)
	}
	w.operator = newOperator(w)
	for _, n := range w.nodes {
		if err := n.start(); err != nil {
			return err
		}
	}
	for i := range w.cfg.Clients {
		c := newClient(w, i)
		w.clients = append(w.clients, c)
		w.After(time.Duration(w.rng.Int64N(int64(300*time.Millisecond))), c.next)
	}
	return nil
}

func keyPair(random io.Reader) (session.KeyPair, error) {
	var p session.KeyPair
	if _, err := io.ReadFull(random, p.Private[:]); err != nil {
		return p, err
	}
	key, err := ecdh.X25519().NewPrivateKey(p.Private[:])
	if err != nil {
		return p, err
	}
	copy(p.Public[:], key.PublicKey().Bytes())
	return p, nil
}

// there are the members that still take part.
func (w *world) there() []*node {
	var there []*node
	for _, n := range w.members() {
		if !n.lost {
			there = append(there, n)
		}
	}
	return there
}

// settled reports whether every client has its answers, the replicas agree on
// how far they are, and nothing pends.
func (w *world) settled() bool { return w.unsettled() == "" }

func (w *world) unsettled() string {
	for _, c := range w.clients {
		if !c.idle() {
			return fmt.Sprintf("client %d waits for %v", c.id, c.tx.Id)
		}
	}
	if f := w.forcing; f != nil && !f.done {
		return "the forced recovery is not over"
	}
	if w.operator.open {
		return fmt.Sprintf("the operator waits for %v", w.operator.wish.String())
	}
	if why := w.unseated(); why != "" {
		return why
	}
	if why := w.owed(); why != "" {
		return why
	}
	there := w.there()
	for _, n := range there {
		if n.life == nil {
			return fmt.Sprintf("node %d is down", n.id)
		}
		index, _ := n.machine.Applied()
		if first, _ := there[0].machine.Applied(); index != first {
			return fmt.Sprintf("node %d has applied %d entries, node %d %d", n.id, index, there[0].id, first)
		}
		if n.machine.NextExpiry() != 0 {
			return fmt.Sprintf("transfers pend on node %d", n.id)
		}
	}
	return ""
}

// traceNodes says how the members of a cluster stand that comes to no end.
func (w *world) traceNodes() {
	for _, n := range w.nodes {
		if n.life == nil {
			w.trace("node %d: down, lost %t, rotten %t, fenced %t, gone %t, off %t", n.id, n.lost, n.rotten, n.fenced, n.gone, n.off)
			continue
		}
		index, _ := n.machine.Applied()
		st := n.replica.Status()
		last, _ := n.log.LastIndex() // never fails
		w.trace("node %d: applied %d of %d, epoch %d, halted %t, %+v, group %v", n.id, index, last, n.epoch, n.halted, st, n.machine.Group().Conf)
	}
}

// applied compares a replica that moved on with those that were there before.
func (w *world) applied(n *node, m body) {
	d := m.Digest()
	chain := string(d.Chain)
	if was, ok := w.chains[d.AppliedIndex]; ok && was != chain {
		w.fail("node %d has another state than an earlier one after entry %d", n.id, d.AppliedIndex)
	}
	w.chains[d.AppliedIndex] = chain
}
