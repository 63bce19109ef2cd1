package cluster

import (
	"crypto/ecdh"
	cryptorand "crypto/rand"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime/debug"
	"time"

	"virtualservicesinc.com/comps/txn/machine"
	"virtualservicesinc.com/comps/txn/store/memstore"
	"virtualservicesinc.com/net/session"
	"virtualservicesinc.com/rrts/journal/keyring"
	"virtualservicesinc.com/rrts/sim"
	"virtualservicesinc.com/rrts/sim/disk"
)

// Config says what a run is made of. Everything else comes from the seed.
type Config struct {
	Seed uint64
	// Nodes is the size of the cluster; 0 means 3.
	Nodes int
	// Clients is the number of clients; 0 means 6.
	Clients int
	// Safety is the length of the safety phase; 0 means 3 s of virtual time.
	Safety time.Duration
	// AckBeforeSync is a seeded bug: what is acknowledged reaches the platter only
	// some milliseconds later.
	AckBeforeSync bool
	// Trace, when set, gets a line for every fault that the seed arranges.
	Trace io.Writer
}

// Report is what a run did: enough to see that it tested something.
type Report struct {
	Committed, Aborted int
	Retries            int // submissions of an id that had been submitted before
	Crashes, Cuts      int
	Pauses             int
	Transfers          int // states installed by members that lagged
	Virtual            time.Duration
}

// liveness is how long a healed cluster may take to answer everything.
const liveness = 20 * time.Second

// epoch is where the clocks of a run begin: a time like today's.
const epoch = 1_790_000_000 * time.Second

// errPower is the failure of a disk whose power goes in the middle of a write.
var errPower = errors.New("cluster: power failure")

// world is one run.
type world struct {
	sim.Scheduler
	cfg      Config
	rng      *rand.Rand
	start    time.Duration // wall clock at virtual time 0
	networks [2]*sim.Network
	nodes    []*node
	pairs    map[uint64]session.KeyPair
	keys     *keyring.Ring
	clients  []*client
	report   Report
	err      error

	chains map[uint64]string // digest by applied index, from the first replica that got there
	states []*memstore.Store // states that were sent to members that lag
	opened bool              // the accounts were created, as a client was told
	calm   bool              // the liveness phase: no faults
}

// Run runs one seed and checks it. It replaces crypto/rand.Reader while it runs.
func Run(cfg Config) (Report, error) {
	if cfg.Nodes == 0 {
		cfg.Nodes = 3
	}
	if cfg.Clients == 0 {
		cfg.Clients = 6
	}
	if cfg.Safety == 0 {
		cfg.Safety = 3 * time.Second
	}
	w := &world{
		cfg: cfg, rng: rand.New(rand.NewPCG(cfg.Seed, 0x72727473)), start: epoch,
		pairs: map[uint64]session.KeyPair{}, chains: map[uint64]string{},
	}
	old := cryptorand.Reader
	cryptorand.Reader = w.random(cfg.Seed)
	defer func() { cryptorand.Reader = old }()

	w.play()
	w.report.Virtual = w.Now()
	for _, n := range w.nodes {
		w.report.Crashes += n.crashes
	}
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
	w.faults()
	w.runUntil(w.cfg.Safety)
	w.heal()
	deadline := w.Now() + liveness
	for w.err == nil && !w.settled() && w.Now() < deadline {
		w.runUntil(w.Now() + 50*time.Millisecond)
	}
	if w.err == nil && !w.settled() {
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
		n := &node{w: w, id: id, rng: rand.New(rand.NewPCG(w.cfg.Seed, 100+id)), state: memstore.New()}
		n.disk = disk.New(disk.Config{RNG: rand.New(rand.NewPCG(w.cfg.Seed, 200+id))})
		n.disk.Before(func(op disk.Op) error { return w.power(n, op) })
		n.skew = time.Duration(n.rng.Int64N(int64(400*time.Millisecond))) - 200*time.Millisecond
		w.nodes = append(w.nodes, n)
	}
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

// power lets the power of a node fail in the middle of a disk operation.
func (w *world) power(n *node, op disk.Op) error {
	if w.calm || n.life == nil || op.Kind == disk.OpRead || op.Kind == disk.OpOpen {
		return nil
	}
	if n.rng.IntN(400) == 0 {
		w.trace("node %d: power fails in a %v of %s", n.id, op.Kind, op.Name)
		w.restartLater(n)
		return errPower
	}
	return nil
}

// diskDelay is how long a disk takes for one sync: short as a rule, long at times.
func (w *world) diskDelay(rng *rand.Rand) time.Duration {
	d := 100*time.Microsecond + time.Duration(rng.Int64N(int64(400*time.Microsecond)))
	if !w.calm && rng.IntN(50) == 0 {
		d += time.Duration(rng.Int64N(int64(80 * time.Millisecond)))
	}
	return d
}

// faults lets the seed plan what goes wrong in the safety phase.
func (w *world) faults() {
	var again func()
	again = func() {
		if w.calm {
			return
		}
		w.fault()
		w.After(time.Duration(10+w.rng.IntN(150))*time.Millisecond, again)
	}
	w.After(500*time.Millisecond, again) // a quiet start, so that every run commits something
}

func (w *world) fault() {
	n := w.nodes[w.rng.IntN(len(w.nodes))]
	other := w.nodes[w.rng.IntN(len(w.nodes))]
	net := w.networks[w.rng.IntN(len(w.networks))]
	switch w.rng.IntN(9) {
	case 0:
		if n.life != nil {
			w.trace("node %d: crash", n.id)
			n.crash()
			w.restartLater(n)
		}
	case 1, 2:
		w.report.Cuts++
		w.trace("one network: %d → %d cut", n.id, other.id)
		net.Cut(int(n.id), int(other.id), true)
	case 3:
		w.report.Cuts++
		w.trace("both networks: %d cut off", n.id)
		for _, net := range w.networks {
			for _, m := range w.nodes {
				net.Cut(int(n.id), int(m.id), true)
				net.Cut(int(m.id), int(n.id), true)
			}
		}
	case 4:
		for _, net := range w.networks {
			net.Heal()
		}
		w.trace("networks healed")
	case 5:
		net.Weather.Loss = w.rng.Float64() * w.rng.Float64()
		net.Weather.Double = w.rng.Float64() * 0.2
		net.Weather.Corrupt = w.rng.Float64() * 0.05
		net.Weather.Jitter = time.Duration(w.rng.Int64N(int64(2*time.Millisecond)) + 1)
		w.trace("weather %+v", net.Weather)
	case 6:
		d := time.Duration(w.rng.Int64N(int64(600 * time.Millisecond)))
		w.report.Pauses++
		w.trace("node %d: paused for %v", n.id, d)
		n.pause(d)
	case 7:
		if n.life != nil && n.paused <= w.Now() {
			w.trace("node %d: hands over", n.id)
			n.run(n.life, func() { n.replica.HandOver() })
		}
	case 8:
		n.skew += time.Duration(w.rng.Int64N(int64(200*time.Millisecond))) - 100*time.Millisecond
		w.trace("node %d: clock is %v off", n.id, n.skew)
	}
}

// restartLater starts a node again after some time.
func (w *world) restartLater(n *node) {
	w.After(time.Duration(5+w.rng.IntN(800))*time.Millisecond, func() { w.restart(n) })
}

func (w *world) restart(n *node) {
	if n.life != nil {
		return
	}
	w.trace("node %d: starts", n.id)
	if err := n.start(); err != nil {
		if errors.Is(err, errPower) {
			n.crash()
			return // power planned the next start already
		}
		w.fail("%v", err)
	}
}

// heal begins the liveness phase.
func (w *world) heal() {
	w.trace("everything is healed")
	w.calm = true
	for _, net := range w.networks {
		net.Heal()
		net.Weather = sim.Weather{Delay: 50 * time.Microsecond, Jitter: 100 * time.Microsecond}
	}
	for _, n := range w.nodes {
		w.restart(n)
	}
}

// settled reports whether every client has its answers and the replicas agree on
// how far they are.
func (w *world) settled() bool { return w.unsettled() == "" }

func (w *world) unsettled() string {
	for _, c := range w.clients {
		if !c.idle() {
			return fmt.Sprintf("client %d waits for %v", c.id, c.tx.Id)
		}
	}
	var applied uint64
	for _, n := range w.nodes {
		if n.life == nil {
			return fmt.Sprintf("node %d is down", n.id)
		}
		index, _ := n.machine.Applied()
		if applied != 0 && index != applied {
			return fmt.Sprintf("node %d has applied %d entries, another %d", n.id, index, applied)
		}
		applied = index
	}
	return ""
}

// applied compares a replica that moved on with those that were there before.
func (w *world) applied(n *node, m *machine.Machine) {
	d := m.Digest()
	chain := string(d.Chain)
	if was, ok := w.chains[d.AppliedIndex]; ok && was != chain {
		w.fail("node %d has another state than an earlier one after entry %d", n.id, d.AppliedIndex)
	}
	w.chains[d.AppliedIndex] = chain
}
